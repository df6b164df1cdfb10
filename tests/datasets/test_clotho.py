"""Clotho's own folder: tables of captions, folders of audio clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from structure.pipeline.datasets.loading import open_dataset
from structure.store.errors import NotPresentError, StructureError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "clotho"
    for part, count in (("development", 3), ("evaluation", 2)):
        (folder / part).mkdir(parents=True)
        lines = ["file_name,caption_1,caption_2"]
        for number in range(count):
            samples = np.full(800, 0.25 * number, dtype=np.float32)
            wavfile.write(folder / part / f"rain, {number}.wav", 8000, samples)
            lines.append(f'"rain, {number}.wav","Rain falls, softly",It rains {number} times')
        (folder / f"clotho_captions_{part}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_recordings_come_with_all_their_captions(root: Path) -> None:
    train, test = open_dataset("clotho", data_root=root), open_dataset("clotho", split="test", data_root=root)
    assert (len(train), len(test), train.split, test.split) == (3, 2, "train", "test")
    assert train.item(1).captions == ("Rain falls, softly", "It rains 1 times")
    heard = train.audio(2)
    assert (heard.rate, heard.samples.tolist()) == (8000, [0.5] * 800)
    with pytest.raises(StructureError, match="a vision encoder cannot read it"):
        train.image(0)


def test_what_is_missing_is_told(root: Path) -> None:
    with pytest.raises(NotPresentError, match=r"split val needs clotho_captions_validation.csv"):
        open_dataset("clotho", split="val", data_root=root)
    with pytest.raises(StructureError, match="Did you mean test"):
        open_dataset("clotho", split="tests", data_root=root)
    with pytest.raises(NotPresentError, match="zenodo"):
        open_dataset("clotho", data_root=root / "nothing")
    table = root / "clotho" / "clotho_captions_development.csv"
    table.write_text("file,text\na,b\n")
    with pytest.raises(StructureError, match="has the columns file, text; Clotho's table has file_name"):
        open_dataset("clotho", data_root=root)
    table.write_text("file_name,caption_1\na,b,c\n")
    with pytest.raises(StructureError, match="line 2 has 3 cells and its header 2"):
        open_dataset("clotho", data_root=root)
