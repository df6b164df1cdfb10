"""`structure plan`: parsing, the JSON document, refused input, and that it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from structure.cli.main import run
from structure.cli.plan import amount
from structure.store.errors import UsageError
from tests.cost_model.page_tables import PAGE, filled


@pytest.mark.parametrize(
    ("text", "value"),
    [("15M", 15e6), ("400k", 4e5), ("400K", 4e5), ("1.5b", 1.5e9), ("12", 12), ("1,000,000", 1e6), ("300T", 3e14)],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    assert amount("--rows", text) == value


@pytest.mark.parametrize("text", ["", "M", "-5", "15X", "0", "1.2.3", "0.2", "nan", "1e999"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--rows"):
        amount("--rows", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "many"], "--rows 'many' is not a number. Write 15000000, 15M or 400k."),
        (["--rows", "2.5"], "must be a whole number"),
        (["--model", "dinov5"], "dinov2"),
        (["--layers", "first"], "--layers 'first'"),
        (["--layers", "99"], "--layers 99 is more than the 27 layers of dinov2"),
        (["--rate", "dinov2"], "Write --rate dinov2=250"),
        (["--rate", "dinov2=0"], "is not MODEL=SAMPLES_PER_SECOND"),
        (["--rate", "minilm=3"], "Add --model minilm"),
        (["--model", "dinov2", "--model", "dinov2"], "name each model once"),
        (["--device", "gpu"], "'gpu' is not a device"),
        (["--memory", "lots"], "--memory 'lots' is not a size"),
        (["--flops", "fast"], "--flops 'fast'"),
        (["--price-per-hour", "inf"], "--price-per-hour inf"),
        (["--price-per-hour", "1e308"], "--price-per-hour 1e+308 must be from 0 to 1,000,000,000"),
        (["--rate", "dinov2=1e-320"], "must be 1e-06 samples a second or more"),
        (["--workers", f"1{'0' * 400}"], "must be from 1 to 1,000,000"),
        (["--rows", "1e30"], "must be from 1 to"),
    ],
)
def test_refused_input_says_what_to_type(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", *arguments]) in (1, 2)
    assert message in capsys.readouterr().err


def test_the_document_says_of_every_number_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--rows", "15M", "--price-per-hour", "2.5", "--rate", "dinov2=250", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (plan,) = document["plans"]
    assert plan["rows"] == 15_000_000
    assert [model["name"] for model in document["models"]] == ["dinov2", "roberta"]
    assert set(document["measured"]) == {"processor", "date", "command"}
    bases = {"measured", "formula", "assumed", "unknown"}
    for step in plan["steps"]:
        assert {step[name]["basis"] for name in ("disk", "memory", "seconds", "money")} <= bases
    first = plan["steps"][0]
    assert first["seconds"]["value"] == 60_000
    assert first["money"]["value"] == pytest.approx(60_000 * 2.5 / 3600)
    assert plan["changes"]


def test_without_rows_four_numbers_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--model", "minilm", "--model", "vit-small"]) == 0
    told = capsys.readouterr()
    head = told.out.splitlines()[0]
    for rows in ("100,000 pairs", "1,000,000 pairs", "15,000,000 pairs", "400,000,000 pairs"):
        assert rows in head
    assert (
        "time unknown, give --rate vit-small=SAMPLES_PER_SECOND, or --flops of the device: extract vit-small."
        in told.err
    )


def test_a_plan_is_a_table_with_its_bases_and_what_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "--rows", "400M", "--memory", "16GB", "--workers", "8"]) == 0
    told = capsys.readouterr()
    assert "disk formula, memory formula, time unknown" in told.out
    assert "--samples all takes" in told.err


def test_it_loads_no_heavy_library_and_touches_no_store(tmp_path: Path) -> None:
    code = (
        "import sys; from structure.cli.main import run; code = run(['plan', '--rows', '15M', '--json']);"
        "heavy = {'torch', 'transformers', 'timm', 'open_clip', 'zarr', 'dask', 'xarray', 'pandas', 'faiss', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_the_rates_of_the_package() -> None:
    """`python -m tests.cost_model.page_tables` writes them."""
    assert PAGE.read_text() == filled(PAGE.read_text())
