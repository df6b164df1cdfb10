"""Small images and folders that the dataset tests share."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def draw(
    number: int = 0, *, mode: str = "RGB", size: tuple[int, int] = (6, 4), form: str = "PNG", **options: Any
) -> bytes:
    """A gradient that differs by `number`, as the bytes of a file."""
    image = Image.new("RGB", size)
    image.putdata(
        [((x * 40 + number) % 256, (y * 60) % 256, number % 256) for y in range(size[1]) for x in range(size[0])]
    )
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, format=form, **options)
    return buffer.getvalue()


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


@pytest.fixture(name="draw")
def drawing() -> Callable[..., bytes]:
    return draw


@pytest.fixture(name="write_tar")
def tar_writing() -> Callable[[Path, dict[str, bytes]], None]:
    return write_tar


@pytest.fixture
def pairs_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows to `<folder>/pairs.jsonl` with an image for each `image` that ends in .png."""

    def write(rows: list[Any], *, name: str = "pairs.jsonl", images: bool = True) -> Path:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        for number, row in enumerate(rows):
            image = row.get("image") if isinstance(row, dict) else None
            if images and isinstance(image, str) and image.endswith(".png"):
                (folder / image).parent.mkdir(parents=True, exist_ok=True)
                (folder / image).write_bytes(draw(number))
        file = folder / name
        file.write_text(
            "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8"
        )
        return file

    return write


@pytest.fixture
def copy_folder(tmp_path: Path) -> Path:
    """A copy in CLIP_benchmark's layout: 5 images of 3 classes in 2 tars."""
    folder = tmp_path / "wds_vtab-tiny"
    for shard, numbers in enumerate(([0, 1, 2], [3, 4])):
        members = {}
        for number in numbers:
            members[f"s{number:07d}.cls"] = str(number % 3).encode()
            members[f"s{number:07d}.png"] = draw(number)
        write_tar(folder / "test" / f"{shard}.tar", members)
    (folder / "test" / "nshards.txt").write_text("2\n")
    (folder / "classnames.txt").write_text("ant\nbee\ncat\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na {c}\n")
    return folder
