"""Whether the summary, the correlations and the page of a recipe are still what its report step wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from structure.pipeline.stages.report import PAGE, is_whole_page
from structure.store.files import Files
from structure.store.seals import LISTED, SealError, read_listed

SUMMARY = "summary.json"


def is_report_whole(folder: Files, written: Mapping[str, Any]) -> bool:
    """Of the folder of a recipe's report, and the result of the step. Raises FileNotFoundError for a missing file."""
    data = folder.read(SUMMARY)
    if hashlib.sha256(data).hexdigest() != written.get("summary"):
        return False
    listed = json.loads(data).get(LISTED)
    try:
        for name in listed or ():
            read_listed(folder, name, listed)
    except SealError:
        return False
    return not folder.exists(PAGE) or is_whole_page(folder.read(PAGE), folder.key(PAGE))
