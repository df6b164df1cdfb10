"""What is handed on names no folder of this machine: paths in pages, names and exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from structure.pipeline.shown_paths import (
    name_beside,
    name_from,
    shown_command,
    shown_name,
    shown_path,
    shown_text,
)

OWNER = "/home/somebody"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_path_is_seen_from_here_or_is_its_last_part(here: Path) -> None:
    assert shown_path(f"{here}/runs/store") == "runs/store"
    assert shown_path(str(here)) == "."
    assert shown_path(f"{OWNER}/runs/store/") == "store"
    assert shown_path(f"{here}-other/store") == "store"  # not in this folder, though its name begins the same
    assert shown_path("s3://bucket/store") == "s3://bucket/store"
    assert shown_path("runs/store") == "runs/store"


def test_names_keep_what_is_no_path(here: Path) -> None:
    assert shown_name(f"pairs:{OWNER}/my pairs.csv?sep=;&image=a/b") == "pairs:my pairs.csv?sep=;&image=a/b"
    assert shown_name(f"timm:vit_tiny@{here}/weights/vit") == "timm:vit_tiny@weights/vit"
    for plain in ("hf:org/model", "scenes:100", "clip-benchmark:wds/vtab/dtd", "pairs:s3://bucket/p.csv"):
        assert shown_name(plain) == plain


def test_commands_and_sentences(here: Path) -> None:
    command = (
        f"structure extract --model hf:{OWNER}/models/minilm --dataset 'pairs:{OWNER}/a b.csv' --store={here}/store"
    )
    assert shown_command(command) == "structure extract --model hf:minilm --dataset 'pairs:a b.csv' --store=store"
    assert shown_text(f"{OWNER}/a/b.png cannot be read, and/or (see {here}/log.txt).") == (
        "b.png cannot be read, and/or (see log.txt)."
    )
    assert shown_text("https://example.org/a/b or 3/4 of them") == "https://example.org/a/b or 3/4 of them"


def test_an_encoder_is_named_from_a_folder_and_found_from_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", OWNER)
    model, out = here / "models" / "minilm", here / "out" / "export"
    assert name_beside(f"hf:{model}?prompt=none", out) == "hf:../../models/minilm?prompt=none"
    assert name_from("hf:../../models/minilm?prompt=none", out) == f"hf:{model}?prompt=none"
    assert name_beside(f"hf:{OWNER}/models/minilm", out) == "hf:./minilm"
    assert name_beside(f"hf:{OWNER}/models/minilm", f"{OWNER}/out") == "hf:../models/minilm"
    assert name_from("hf:./minilm", out) == f"hf:{out}/minilm"
    for plain in ("bundled:scenes-vit", "hf:org/model", "timm:vit_tiny"):
        assert name_beside(plain, out) == name_from(plain, out) == plain
