"""A short version of the campaign of `tests/benchmarks/fault_campaign`: signals at random moments of an import, two
imports at once; and the campaign sees what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

from tests.benchmarks.fault_campaign.normal_form import differences, normal
from tests.benchmarks.fault_campaign.outcome import Cell, table
from tests.warm import Warm

ROOT = Path(__file__).resolve().parents[2]
SHORT = """
import sys
sys.path.insert(0, sys.argv.pop(1))
sys.stdout = sys.stderr
from tests.benchmarks.fault_campaign.__main__ import main
sys.exit(main())
"""


def test_a_short_campaign_finds_nothing_wrong(warm: Warm, tmp_path: Path) -> None:
    counts = ["--kills", "3", "--pairs", "1", "--damages", "0", "--remote", "0"]
    counts += ["--environment", "0", "--only", "import"]
    ran = warm.start(SHORT, str(ROOT), *counts, "--out", str(tmp_path / "table.md"), stderr=tmp_path / "stderr")
    assert ran.wait() == 0, (tmp_path / "stderr").read_text()
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert re.fullmatch(r"\| kill \| import \| SIGKILL \d+, SIGTERM \d+, SIGINT \d+ \| \d+ \| 0 \| 0 \|", rows[2])
    assert rows[-1].startswith("| **pair** | all | all | 1 | 0 | 0 |")


def test_stores_are_compared_without_times_and_with_every_number() -> None:
    first = {"a.json": normal("a.json", b'{"seconds": 1.5, "scores": [{"recall": 0.25}]}')}
    later = {"a.json": normal("a.json", b'{"seconds": 2.5, "scores": [{"recall": 0.25}]}')}
    wrong = {"a.json": normal("a.json", b'{"seconds": 1.5, "scores": [{"recall": 0.26}]}'), "b.npz": ""}
    assert differences(later, first) == []
    assert differences(wrong, first) == ["b.npz is too much", "a.json is another: .scores[0].recall 0.26 for 0.25"]
    assert differences({}, first) == ["a.json is missing"]


def test_the_table_sums_each_part() -> None:
    cells = [Cell("kill", "eval", "SIGKILL", 8), Cell("kill", "eval", "SIGINT", 4)]
    cells[1].wrong_at("try 3", ["exit 1"])
    assert table(cells).splitlines()[2:] == [
        "| kill | eval | SIGKILL 8, SIGINT 4 | 12 | 1 | 0 |",
        "| **kill** | all | all | 12 | 1 | 0 |",
    ]
    assert cells[1].notes == ["eval, SIGINT, try 3: exit 1"]
