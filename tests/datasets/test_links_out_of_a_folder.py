"""Links in a folder of images: followed to images; of any other file nothing but its name is kept or said."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from structure.cli.main import run

SECRET = b"-----BEGIN PRIVATE KEY-----"


def test_no_byte_of_a_linked_file_that_is_no_image_is_kept_or_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    album, store = tmp_path / "album", tmp_path / "store"
    album.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(album / f"{number}.png")
    (tmp_path / "key").write_bytes(SECRET)
    (tmp_path / "outside.png").write_bytes((album / "3.png").read_bytes())
    (album / "key.png").symlink_to(tmp_path / "key")
    (album / "lost.png").symlink_to(tmp_path / "nowhere")
    (album / "round.png").symlink_to(album / "round.png")
    (album / "again").symlink_to(album)
    (album / "linked.png").symlink_to(tmp_path / "outside.png")
    options = ["--dataset", f"images:{album}", "--split", "all", "--layers", "block.00", "--store", str(store)]
    assert run(["extract", "--model", "bundled:scenes-vit", *options]) == 0
    said = capfd.readouterr()
    assert re.search(r"complete +3$", said.out, flags=re.MULTILINE)  # skipped: the key, and links to nothing
    kept = b"".join(Path(folder, name).read_bytes() for folder, _, names in os.walk(store) for name in names)
    assert len(kept) > 1000
    for text in (kept, said.out.encode(), said.err.encode()):
        assert SECRET not in text
        assert b"PRIVATE" not in text
