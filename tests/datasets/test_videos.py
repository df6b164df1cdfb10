"""Video files as samples: which frames are read, whatever the file is, and what is never opened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from structure.pipeline.datasets import decode_video, open_dataset
from structure.pipeline.datasets.decode_image import decode
from structure.pipeline.datasets.decode_video import decode_frames, is_video
from structure.pipeline.datasets.webdataset_export import export_webdataset
from structure.pipeline.stages.check_data import check_data
from structure.store.errors import BadSampleError, StructureError
from tests.videos import number_of, video


def numbers(data: bytes, count: int) -> list[int]:
    return [number_of(frame) for frame in decode_frames(data, count, item="a.mp4")]


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("mp4", "libx264"),
        ("mp4", "mpeg4"),
        ("mov", "libx264"),
        ("matroska", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("avi", "libx264"),
    ],
)
def test_frames_are_the_centres_of_equal_segments(form: str, codec: str) -> None:
    data = video(10, form=form, codec=codec)
    for count in (1, 3, 4, 10):
        assert numbers(data, count) == [(2 * i + 1) * 10 // (2 * count) for i in range(count)]


def test_with_a_variable_frame_rate_the_times_count() -> None:
    data = video(10, times=[0, 10, 20, 30, 40, 1000, 2000, 3000, 4000, 5000])
    assert numbers(data, 3) == [4, 6, 8]  # shown at 0.85, 2.55 and 4.25 s of 5.1


def test_frames_after_a_jump_are_those_of_decoding_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    data = video(20)
    jumped = [np.asarray(frame) for frame in decode_frames(data, 4, item="a")]
    monkeypatch.setattr(decode_video, "_SEEKABLE", ("nothing",))
    for frame, straight in zip(jumped, decode_frames(data, 4, item="a"), strict=True):
        np.testing.assert_array_equal(frame, np.asarray(straight))


def test_a_turned_video_is_upright() -> None:
    turned = next(decode_frames(video(3, turn=90), 1, item="a"))
    assert turned.size == (48, 64)
    corners = np.asarray(turned)[[8, 8, -8, -8], [8, -8, 8, -8], 0] > 200
    assert corners.tolist() == [False, False, True, False]  # upper left went to lower left, against the clock


def test_an_image_reader_sees_the_middle_frame() -> None:
    assert number_of(decode(video(9), item="a")) == 4


BAD = {
    "fewer frames": (lambda: video(3), "has 3 frames, and 4 are asked for"),
    "no frame": (lambda: video(0, codec="mpeg4"), "no frame|not a video|no video stream"),
    "empty": (lambda: b"", "0 bytes"),
    "another format": (lambda: b"neither image nor video" * 40, "not a video that can be read"),
    "a cut index": (lambda: video(10)[:-300], "not a video|no decoder|damaged|no frame"),
    "cut off": (lambda: video(40, form="matroska", codec="mpeg4")[:2500], "cut off: its frames last 1|cut off"),
    "turned askew": (lambda: video(8, turn=30), "turned by (29|30) degrees"),
    "a list of other files": (lambda: b"ffconcat version 1.0\nfile /etc/hostname\n", "not a video that can be read"),
    "a playlist": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "not a video that can be"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_video_that_cannot_be_read_is_told_by_name(kind: str) -> None:
    make, told = BAD[kind]
    with pytest.raises(BadSampleError, match=told) as raised:
        list(decode_frames(make(), 4, item="clips/a.mp4", source="/data/clips/a.mp4"))
    assert raised.value.item == "clips/a.mp4"
    assert raised.value.reason.startswith("/data/clips/a.mp4: ")


def test_a_list_of_files_opens_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its format nor any protocol is open: with either of the two bounds alone nothing is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").write_bytes(video(8))
    for name in ("a.mp4", str(tmp_path / "a.mp4"), f"file:{tmp_path / 'a.mp4'}"):
        with pytest.raises(BadSampleError, match="not a video that can be read"):
            list(decode_frames(f"ffconcat version 1.0\nfile '{name}'\n".encode(), 2, item="a"))


@pytest.mark.parametrize(("bound", "most"), [("MOST_PIXELS", 3000), ("MOST_DECODED", 10_000), ("MOST_BYTES", 100)])
def test_what_a_video_may_take_is_bounded(bound: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = video(10)
    monkeypatch.setattr(decode_video, bound, most)
    with pytest.raises(BadSampleError, match=f"at most.*{most:,}"):
        list(decode_frames(data, 2, item="a"))


def test_a_file_name_is_never_an_address(tmp_path: Path) -> None:
    names = ["http:.mp4", "concat:a.mp4", "pipe:0.mp4", "-i.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(video(4))
    rows = [{"video": name, "caption": name} for name in names]
    rows.append({"video": "concat:http:.mp4|pipe:0.mp4", "caption": "two at once"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = open_dataset(f"pairs:{tmp_path / 'pairs.jsonl'}", data_root=tmp_path)
    assert [len(list(data.frames(number, 2))) for number in range(4)] == [2] * 4
    with pytest.raises(BadSampleError, match="there is no file"):
        list(data.frames(4, 2))


def test_folders_and_tables_take_videos_where_there_is_no_image(tmp_path: Path) -> None:
    for name in ("run", "jump"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        (tmp_path / "clips" / name / "a.mp4").write_bytes(video(4))
        (tmp_path / "clips" / name / "a.txt").write_text(f"they {name}\n")
    for spec in ("folder:clips", "images:clips", "sidecar:clips"):
        data = open_dataset(spec.replace("clips", str(tmp_path / "clips")), data_root=tmp_path, split="all")
        assert (data.ids, data.videos) == (("jump/a.mp4", "run/a.mp4"), 2)
        assert number_of(data.image(0)) == 2
        assert [number_of(frame) for frame in data.frames(0, 2)] == [1, 3]
    Image.new("RGB", (8, 8)).save(tmp_path / "clips/run/b.png")
    beside = open_dataset(f"folder:{tmp_path / 'clips'}", data_root=tmp_path, split="all")
    assert (beside.ids, beside.videos) == (("run/b.png",), 0)
    assert any("4 files that are no images left out" in note for note in beside.notes)


def test_videos_are_not_exported_as_images(tmp_path: Path) -> None:
    (tmp_path / "clips" / "run").mkdir(parents=True)
    (tmp_path / "clips" / "run" / "a.mp4").write_bytes(video(4))
    data = open_dataset(f"folder:{tmp_path / 'clips'}", data_root=tmp_path, split="all")
    with pytest.raises(StructureError, match="1 videos among its 1 samples"):
        export_webdataset(data, tmp_path / "wds")
    assert not (tmp_path / "wds").exists()


def test_a_check_lists_each_bad_video(tmp_path: Path) -> None:
    (tmp_path / "good.mp4").write_bytes(video(4))
    (tmp_path / "bad.mp4").write_bytes(b"ftyp")
    (tmp_path / "pairs.csv").write_text("video,caption\ngood.mp4,one\nbad.mp4,two\n")
    found = check_data(f"pairs:{tmp_path / 'pairs.csv'}", splits=["all"])
    assert [problem.kind for problem in found.problems] == ["file missing or not readable"]
    assert "bad.mp4" in found.problems[0].examples[0]


def test_images_are_no_videos() -> None:
    for head in (b"\x00\x00\x00\x1cftypavif", b"\x00\x00\x00\x18ftypheic", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"):
        assert not is_video(head)
