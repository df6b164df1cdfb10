"""Paths as documents that are handed on show them: none says where a folder lies on this machine, or whose it is."""

from __future__ import annotations

import os
import re
import shlex

_IN_NAME = re.compile(r"(^|[:@=])(/(?!/)[^?]*)")
"""An absolute path in a name: of a dataset or encoder, or the value of an option."""

_FROM_FOLDER = re.compile(r"(^|[:@=])(\.\.?/[^?]*)")
_IN_TEXT = re.compile(r"(?<![\w./~:-])/(?:[^\s/:;,'\"<>|()]+/)+[^\s/:;,'\"<>|()]*[^\s/:;,.'\"<>|()]")


def shown_path(path: str) -> str:
    """An absolute path from the current folder where it lies in it, else its last part; others, and URLs, as they
    are."""
    if not os.path.isabs(path):
        return path
    inside = os.path.relpath(path)
    if inside == os.curdir or not inside.startswith(os.pardir):
        return inside
    return os.path.basename(path.rstrip("/")) or os.sep


def shown_name(name: str) -> str:
    """The name of a dataset or an encoder, `pairs:/home/me/my.csv?sep=;`, with its path as `shown_path` says."""
    return _IN_NAME.sub(lambda found: found[1] + shown_path(found[2]), name)


def name_beside(name: str, folder: str | os.PathLike[str]) -> str:
    """The name of an encoder, with an absolute path in it as seen from `folder`, where that says no more than how the
    two lie to each other; of one in another home the last part, as if it lay in `folder`."""

    def beside(found: re.Match[str]) -> str:
        path = found[2]
        seen, home = os.path.relpath(path, folder), os.path.expanduser("~")
        is_home_named = _is_in(path, home) and not _is_in(os.path.abspath(folder), home)
        seen = os.path.basename(path.rstrip("/")) if is_home_named else seen
        return found[1] + (seen if seen.startswith(os.pardir) else os.path.join(os.curdir, seen))

    return _IN_NAME.sub(beside, name)


def name_from(name: str, folder: str | os.PathLike[str]) -> str:
    """A name of `name_beside`, with the absolute path of what it names from `folder`."""
    return _FROM_FOLDER.sub(lambda found: found[1] + os.path.abspath(os.path.join(folder, found[2])), name)


def _is_in(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def shown_command(command: str) -> str:
    """A command, with all paths in it as `shown_path` says."""
    return shlex.join(shown_name(word) for word in shlex.split(command))


def shown_text(text: str) -> str:
    """A sentence, with the absolute paths in it as `shown_path` says."""
    return _IN_TEXT.sub(lambda found: shown_path(found[0]), text)
