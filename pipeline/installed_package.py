"""Packages of the registry that bring weights or data: where their files are, and what installs them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

NAME = "structure-align"


def is_installed(package: str) -> bool:
    """Whether a package is installed, by its name in the registry. Nothing is imported."""
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def installed_file(package: str, path: str) -> Path | None:
    """The file or folder `path` of an installed package; None where it is not there. Nothing is imported."""
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        return None
    return found if found.exists() else None


def install_command(package: str) -> str:
    """What installs a package: with the extra of this one that has it, where one does."""
    extra = extra_of(package)
    return f"pip install '{NAME}[{extra}]'" if extra else f"pip install {package}"


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
