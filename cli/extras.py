"""Which extra of this package brings a package that is not installed."""

from __future__ import annotations

import re

from structure.pipeline.installed_package import NAME, install_command

CALLED = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "open_clip": "open_clip_torch",
    "vl_convert": "vl-convert-python",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
}
"""What is installed for a package that is imported under another name; - and _ are the same to an installer."""


def lacking(error: ImportError) -> str:
    """What is not installed, and what installs it, as sentences."""
    package = (error.name or "").partition(".")[0]
    if not package:
        said = re.search(r"[Ii]nstall (\w+)", str(error))  # fsspec names what it lacks in its message alone
        package = said[1] if said else ""
    if not package or package == "structure":
        return f"{error}. The installation is not whole: pip install --force-reinstall {NAME}"
    wanted = install_command(CALLED.get(package, package))
    return f"The package {package} is not installed, and this needs it. Run: {wanted}"
