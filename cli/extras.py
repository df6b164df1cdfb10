"""Which extra of this package brings a package that is not installed."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

NAME = "structure-align"

CALLED = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "open_clip": "open_clip_torch",
    "vl_convert": "vl-convert-python",
    "sklearn": "scikit-learn",
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
    extra = extra_of(package)
    wanted = f"'{NAME}[{extra}]'" if extra else CALLED.get(package, package)
    return f"The package {package} is not installed, and this needs it. Run: pip install {wanted}"


def extra_of(package: str) -> str:
    """The extra that requires the package; "" where none does."""
    try:
        lines = requires(NAME) or []
    except PackageNotFoundError:
        return ""
    for line in lines:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if found and found[2] != "test" and _plain(found[1]) == _plain(package):
            return found[2]
    return ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
