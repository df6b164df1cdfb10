"""What the command line says of mistakes: before any work, with both numbers, and with commands that can be typed."""

from __future__ import annotations

import pytest

from structure.cli import main
from structure.cli.advice import complete, given
from structure.cli.main import run


def test_commands_in_messages_say_where_the_store_and_the_data_are() -> None:
    with given(["align", "--store", "my store", "--data-root=/d"], main.app):
        assert complete("No aligner. Run: structure align --layers auto") == (
            "No aligner. Run: structure align --store 'my store' --data-root /d --layers auto"
        )
        assert complete("structure store verify K, then `structure models`") == (
            "structure store verify --store 'my store' K, then `structure models`"
        )
        assert complete("structure rank-layers --store other, structure report") == (
            "structure rank-layers --store other, structure report --store 'my store'"
        )
    assert complete("Run: structure align") == "Run: structure align"


@pytest.mark.parametrize(
    ("arguments", "code", "messages"),
    [
        (["align", "--layers", "auto"], 1, ["No ranking of", "structure rank-layers --store {store} --dataset cells"]),
        (
            ["align", "--method", "pal", "--layers", "a,b"],
            1,
            ["Run: structure import --store {store} FILE --model vit"],
        ),
        (["align", "--split", "val"], 1, ["no features of the split val; it has those of cells/train"]),
        (["align", "--dataset", "cells/train"], 1, ["Name the two apart: --dataset cells --split train."]),
        (["rank-layers", "--all", "--dataset", "coco"], 1, ["no features of the dataset coco; it has those of cells"]),
        (["align", "--seeds", "x"], 2, ["--seeds 'x'", "5 (that many) or 1,42,55 (these)"]),
        (["align", "--vision", "nosuch"], 1, ["Known: bert, vit. These are in {store}."]),
        (["status"], 0, ["structure rank-layers --store {store}"]),
        (["store", "gc", "--dry-run"], 0, ["would go with --yes"]),
        (["store", "gc", "--dry-run", "--yes"], 2, ["Leave one of them out"]),
    ],
)
def test_advice_names_the_store_that_was_given(
    arguments: list[str], code: int, messages: list[str], imported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--store", imported]) == code
    told = capsys.readouterr()
    for message in messages:
        assert message.format(store=imported) in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["align", "--pairs", "0"], 1, "--pairs 0 must be 1 or more"),
        (["align", "--pairs", "x"], 2, "write whole numbers from 0, with commas, such as 500"),
        (["align", "--layers", "a,b", "--memory", "0"], 2, "--memory 0 is 0 bytes; it must be 1 byte or more"),
        (["align", "--layers", "a,b", "--set", "=5"], 2, "write OPTION=VALUE"),
        (["align", "--layers", "a,b", "--set", "method=ridge"], 2, "write --method ridge"),
        (["align", "--layers", "a,b", "--device", "gpu"], 1, "'gpu' is not a device"),
        (["align", "--layers", "a,b", "--curve", "9,9"], 2, "names 9 twice"),
        (["align", "--layers", "a,b", "--method", "ridge", "--suite", "nosuch"], 1, "Unknown suite 'nosuch'"),
        (["align", "--layers", "a,b", "--method", "ridge", "--tensorboard", "x"], 2, "no method here trains in epochs"),
        (["align", "--layers", "block.00, block.01", "--dry-run"], 0, "cells/train/bert"),
        (["extract", "--model", "dinov2", "--dataset", "scenes", "--layers", ""], 1, "--layers names no layer"),
        (["rank-layers", "--seed", "-1"], 1, "--seed is -1; it must be at least 0"),
        (["rank-layers", "--all", "--seed", "-1"], 1, "--seed is -1; it must be at least 0"),
        (["eval", "--suite", "scenes", "--prompts", "nosuch"], 1, "Unknown prompt set 'nosuch'"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(
    arguments: list[str], code: int, message: str, imported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "--store", imported]) == code
    told = capsys.readouterr()
    assert message in " ".join((told.out + told.err).split())
    assert "Traceback" not in told.err


def test_an_empty_store_is_not_this_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--store", ""]) == 2
    assert "it is empty; it must be a path" in capsys.readouterr().err


@pytest.mark.parametrize("name", [".hidden", "-x", "../evil", "a/b", "..", "", "x" * 300, "größe", "a b"])
def test_a_name_that_cannot_be_is_told_first(name: str, imported: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["align", "--layers", "a,b", "--name", name, "--store", imported]) == 1
    told = capsys.readouterr().err
    assert "cannot be a name in the store" in told
    advised = told.split("Write --name ")[1].strip().removesuffix(".")
    assert run(["align", "--layers", "block.00,block.01", "--name", advised, "--dry-run", "--store", imported]) == 0


@pytest.mark.parametrize(
    ("words", "option", "follows"),
    [
        (["search", "x", "--hub", "--store", "S"], "--hub", "--store"),
        (["search", "x", "--index", "--store=S"], "--index", "--store"),
        (["eval", "--compare", "--suite", "scenes"], "--compare", "--suite"),
        (["store", "rm", "aligners/x", "--store", "--yes"], "--store", "--yes"),
        (["datasets", "check", "scenes", "--model", "--json"], "--model", "--json"),
    ],
)
def test_an_option_does_not_take_the_next_option_for_its_value(
    words: list[str], option: str, follows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert f"{option} takes a value, and {follows} follows it" in " ".join(capsys.readouterr().err.split())


def test_permute_is_of_groups(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("within", "whole"):
        assert run(["rank-layers", "--permute", value]) == 2
        assert f"--permute {value} is of groups: it changes nothing without --group COLUMN" in capsys.readouterr().err


def test_a_value_may_begin_with_a_dash_where_it_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "rm", "--store", "-5", "aligners/x"]) in (1, 2)
    assert "takes a value" not in capsys.readouterr().err
