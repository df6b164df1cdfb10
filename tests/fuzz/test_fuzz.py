"""A short campaign: readers of damaged and hostile files refuse them with a StructureError, and do nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from structure.store.errors import StructureError

from . import hostile, watch
from .campaign import campaign
from .mutations import Reader
from .readers import readers


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.addaudithook(watch.hook)  # does nothing outside `watched`; a hook cannot be taken away
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def found(home: Path) -> list[Reader]:
    return readers(home)


def test_every_reader_refuses_what_is_hostile_or_damaged(found: list[Reader], home: Path) -> None:
    assert len(found) >= 20
    for reader in found:
        line = campaign(reader, len(reader.seeds) + len(reader.attacks) + 10, home, seed=1)
        assert line["faults"] == 0, line
        assert line["read"] >= len(reader.seeds), line


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: Path("/tmp/structure-fuzz-outside").write_bytes(b"x"),
        lambda path: (path.parent / ".." / "outside").mkdir(),
        lambda path: os.system("true"),
        lambda path: subprocess.run(["true"], check=False),
        lambda path: __import__("pickle").loads(hostile.cifar().replace(b"x", b"x")),
        lambda path: [][1],
    ],
)
def test_the_campaign_would_notice(harm: Any, home: Path) -> None:
    """Writing elsewhere, running a program, unpickling a name, any other exception: each is a fault."""
    assert campaign(Reader("harm", "", (b"x",), harm), 1, home, seed=0)["faults"] == 1
    assert not Path("/tmp/structure-fuzz-outside").exists()


def test_a_refusal_is_no_fault(home: Path) -> None:
    def refuse(path: Path) -> None:
        raise StructureError("no")

    line = campaign(Reader("refusal", "", (b"x",), refuse), 5, home, seed=0)
    assert (line["refused"], line["faults"]) == (5, 0)
