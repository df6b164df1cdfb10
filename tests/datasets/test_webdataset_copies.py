"""CLIP_benchmark's layout, read and written, and other tars: round trips, and every kind of damage by its message."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline.datasets import Dataset, Item, Task, open_dataset
from structure.pipeline.datasets.benchmark_copy import read_copy
from structure.pipeline.datasets.captions_text import join_captions, split_captions
from structure.pipeline.datasets.images import decode
from structure.pipeline.datasets.scenes import Scenes
from structure.pipeline.datasets.tar_index import index_tar
from structure.pipeline.datasets.webdataset import expand
from structure.pipeline.datasets.webdataset_export import export_webdataset
from structure.store.errors import BadSampleError, DamageError, NotPresentError, StructureError

Draw = Callable[..., bytes]
WriteTar = Callable[[Path, dict[str, bytes]], None]


def read(folder: Path, **options: str) -> Dataset:
    return read_copy(folder, name=folder.name, **options)


def test_a_copy_is_read_in_order_of_shards_and_members(copy_folder: Path) -> None:
    dataset = open_dataset("clip-benchmark:wds/vtab/tiny", data_root=copy_folder.parent)
    assert (dataset.name, dataset.split, dataset.kind, len(dataset)) == ("wds_vtab-tiny", "test", "classification", 5)
    assert dataset.tasks["label"].classes == ("ant", "bee", "cat")
    assert dataset.tasks["label"].templates == ("a photo of a {c}.", "a {c}")
    assert dataset.item(3) == Item("test/1/s0000003", (), {"label": 0})
    assert dataset.image(4).getpixel((0, 0)) == (4, 0, 4)
    assert dataset.stamp(0) == dataset.stamp(2) != dataset.stamp(3)


def test_a_copy_is_found_by_each_of_its_names(copy_folder: Path) -> None:
    for name in ("wds/vtab/tiny", "vtab/tiny", "wds_vtab-tiny", str(copy_folder)):
        assert len(open_dataset(f"clip-benchmark:{name}", data_root=copy_folder.parent)) == 5
    with pytest.raises(StructureError, match="Unknown split 'train'"):
        open_dataset("clip-benchmark:vtab/tiny", split="train", data_root=copy_folder.parent)
    with pytest.raises(NotPresentError, match=r"Did you mean clip-benchmark:wds/vtab-tiny"):
        open_dataset("clip-benchmark:vtab/tinny", data_root=copy_folder.parent)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def overwrite(file: Path, offset: int, data: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[offset : offset + len(data)] = data
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda f: cut(f / "test/0.tar", 1600),
            DamageError,
            r"test/0.tar is (damaged or )?cut short: .*after 2 members",
        ),
        (lambda f: cut(f / "test/0.tar", 2048), DamageError, r"test/0.tar is .*cut short"),
        (lambda f: cut(f / "test/0.tar", 0), DamageError, r"test/0.tar is damaged or cut short: empty"),
        (lambda f: cut(f / "test/0.tar", 100), DamageError, r"test/0.tar is damaged or cut short"),
        (
            lambda f: overwrite(f / "test/0.tar", 1024, b"\xff" * 512),
            DamageError,
            r"after 1 members there are bytes at 1024",
        ),
        (lambda f: overwrite(f / "test/1.tar", 0, b"\x1f\x8b\x08"), DamageError, r"test/1.tar is compressed"),
        (lambda f: (f / "test/nshards.txt").unlink(), StructureError, r"nshards.txt is missing.*2 are there.*echo 2 >"),
        (lambda f: (f / "test/nshards.txt").write_text("two"), StructureError, r"nshards.txt holds 'two'"),
        (lambda f: (f / "test/nshards.txt").write_text("3"), NotPresentError, r"lacks 1 of 3 tars, the first is 2.tar"),
        (
            lambda f: (f / "test/nshards.txt").write_text("1"),
            StructureError,
            r"has 2 tars and nshards.txt says 1: 1.tar",
        ),
        (
            lambda f: (f / "classnames.txt").write_text("ant\nbee\n"),
            StructureError,
            r"0.tar, member s0000002: label 2 .*2 names",
        ),
        (
            lambda f: (f / "classnames.txt").write_text("ant\n\ncat\n"),
            StructureError,
            r"classnames.txt, line 2 is empty",
        ),
        (
            lambda f: (f / "zeroshot_classification_templates.txt").write_text("a {c}\na photo\n"),
            StructureError,
            r"templates.txt, line 2: the template 'a photo' has no \{c\}",
        ),
        (lambda f: (f / "dataset_type.txt").write_text("retreival\n"), StructureError, r"Did you mean retrieval"),
    ],
)
def test_damage_is_refused_with_file_and_member(
    copy_folder: Path, damage: Callable[[Path], object], error: type[StructureError], message: str
) -> None:
    damage(copy_folder)
    with pytest.raises(error, match=message):
        read(copy_folder)


def test_a_tar_glued_to_another_is_not_read_by_half(copy_folder: Path) -> None:
    first, second = copy_folder / "test/0.tar", copy_folder / "test/1.tar"
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(DamageError, match="tars glued together"):
        read(copy_folder)


def test_repeated_class_names_are_noted_with_their_lines(copy_folder: Path) -> None:
    (copy_folder / "classnames.txt").write_text("ant\nbee\nant\n")
    dataset = read(copy_folder)
    assert dataset.tasks["label"].classes == ("ant", "bee", "ant")
    assert [note.partition("classnames.txt: ")[2] for note in dataset.notes] == [
        "lines 1 and 3 name the same class 'ant'"
    ]


def link(kind: bytes) -> Callable[[tarfile.TarInfo], None]:
    def make(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname, entry.size = kind, "/etc/passwd", 0

    return make


def rename(name: str) -> Callable[[tarfile.TarInfo], None]:
    def make(entry: tarfile.TarInfo) -> None:
        entry.name = name

    return make


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("../../evil.png"), r"member '../../evil.png' points outside"),
        (rename("/etc/evil.png"), r"member '/etc/evil.png' points outside"),
        (rename("a/../../evil.png"), r"points outside"),
        (rename("s0000000.cls"), r"member s0000000.cls is there twice"),
        (link(tarfile.SYMTYPE), r"member x.png is a link"),
        (link(tarfile.LNKTYPE), r"member x.png is a link"),
        (link(tarfile.FIFOTYPE), r"member x.png is a device or a pipe"),
    ],
)
def test_unsafe_members_are_refused(tmp_path: Path, change: Callable[[tarfile.TarInfo], None], message: str) -> None:
    file = tmp_path / "0.tar"
    with tarfile.open(file, "w") as tar:
        first = tarfile.TarInfo("s0000000.cls")
        first.size = 1
        tar.addfile(first, io.BytesIO(b"0"))
        entry = tarfile.TarInfo("x.png")
        entry.size = 3
        change(entry)
        tar.addfile(entry, io.BytesIO(b"abc"[: entry.size]))
    with pytest.raises(StructureError, match=message):
        index_tar(file)


def test_long_and_foreign_names_folders_and_hidden_files(tmp_path: Path) -> None:
    """Against tarfile's own reading, which sees pax and GNU headers through."""
    file = tmp_path / "0.tar"
    names = ["sub/" + "x" * 150 + ".png", "фото.txt", "._s1.png", "README", "./s2.seg.png"]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(file, "w", format=form) as tar:
            folder = tarfile.TarInfo("sub")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(name.encode())
                tar.addfile(entry, io.BytesIO(name.encode()))
        groups = index_tar(file)
        assert [(group.key, *group.members) for group in groups] == [
            ("sub/" + "x" * 150, "png"),
            ("фото", "txt"),
            ("s2", "seg.png"),
        ]
        data = file.read_bytes()
        for group, name in zip(groups, (names[0], names[1], names[4]), strict=True):
            (member,) = group.members.values()
            assert data[member.offset : member.offset + member.size].decode() == name


def test_bad_samples_name_file_and_member(copy_folder: Path, write_tar: WriteTar, draw: Draw) -> None:
    whole = draw(9)
    write_tar(
        copy_folder / "test/1.tar",
        {"a.png": whole, "b.cls": b"1", "c.cls": b"1", "c.jpg": b"no picture", "d.cls": b" 2\n", "d.PNG": whole},
    )
    dataset = read(copy_folder)
    for index, message in {
        3: r"1.tar, a has no .cls, only png",
        4: r"1.tar, b has no picture \(.webp, .png, .jpg, .jpeg\), only cls",
    }.items():
        with pytest.raises(BadSampleError, match=message) as caught:
            dataset.item(index)
        assert caught.value.item == f"test/1/{'ab'[index - 3]}"
    assert dataset.item(5).labels == {"label": 1}
    with pytest.raises(BadSampleError, match=r"^test/1/c: .*1.tar, member c.jpg: not a picture"):
        dataset.image(5)
    assert dataset.item(6).labels == {"label": 2}
    os.truncate(copy_folder / "test/1.tar", 512)
    with pytest.raises(BadSampleError, match=r"member d.PNG: 0 of \d+ bytes are there"):
        dataset.payload(6)


@pytest.mark.parametrize(
    ("ending", "kind", "data", "message"),
    [
        ("cls", "", b"dog", r"member s.cls is not a whole number: b'dog'"),
        ("npy", "multilabel", b"\x93NUMPY\x01\x00", r"member s.npy is not a NumPy vector"),
        ("txt", "retrieval", b"\xff\xfe", r"member s.txt is not captions in UTF-8"),
    ],
)
def test_a_label_that_cannot_be_read(
    tmp_path: Path, write_tar: WriteTar, draw: Draw, ending: str, kind: str, data: bytes, message: str
) -> None:
    write_tar(tmp_path / "test/0.tar", {"s.png": draw(), f"s.{ending}": data})
    (tmp_path / "test/nshards.txt").write_text("1")
    if kind:
        (tmp_path / "dataset_type.txt").write_text(kind)
    with pytest.raises(StructureError, match=message):
        read(tmp_path)


class Given(Dataset):
    """Pictures and texts as a test gives them."""

    name, split = "given", "test"

    def __init__(self, kind: str, pictures: list[bytes], items: list[Item], task: Task | None = None) -> None:
        self.kind, self.pictures, self.items = kind, pictures, items
        self.tasks = {"label": task} if task else {}

    def __len__(self) -> int:
        return len(self.items)

    def item(self, index: int) -> Item:
        return self.items[index]

    def payload(self, index: int) -> bytes:
        return self.pictures[index]

    def image(self, index: int) -> Image.Image:
        return decode(self.pictures[index], item=self.items[index].id)


def same_pictures(one: Dataset, other: Dataset) -> bool:
    return all(np.array_equal(np.asarray(one.image(i)), np.asarray(other.image(i))) for i in range(len(one)))


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    form, mode = (("PNG", "RGB"), ("JPEG", "L"), ("PNG", "RGBA"), ("BMP", "RGB"))[number % 4]
    Image.new(mode, (3, 2), number * 40).save(buffer, format=form)
    return buffer.getvalue()


PICTURES = [picture(number) for number in range(5)]
line = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20).filter(
    lambda text: text.strip()
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(line, min_size=1, max_size=4), min_size=1, max_size=7), st.integers(1, 4))
def test_captions_survive_export_and_reading(captions: list[list[str]], shard_items: int) -> None:
    items = [Item(str(i), tuple(text.strip() for text in texts)) for i, texts in enumerate(captions)]
    original = Given("retrieval", [PICTURES[i % len(PICTURES)] for i in range(len(items))], items)
    with tempfile.TemporaryDirectory() as folder:
        export = export_webdataset(original, Path(folder, "wds_given"), shard_items=shard_items)
        copy = read(export.folder)
        assert [copy.item(i).captions for i in range(len(copy))] == [item.captions for item in items]
        assert (export.items, export.shards, copy.kind) == (len(items), -(-len(items) // shard_items), "retrieval")
        assert same_pictures(original, copy)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("n\\\nab "), min_size=1, max_size=8), min_size=1, max_size=3))
def test_newlines_and_backslashes_are_told_apart(captions: list[str]) -> None:
    stripped = tuple(caption.strip() or "x" for caption in captions)
    assert split_captions(join_captions(stripped)) == stripped


def test_captions_are_written_as_clip_benchmark_writes_them() -> None:
    assert join_captions(["a\nb", "¯\\_(ツ)_/¯ no", "c"]) == "a\\nb\n¯\\_(ツ)_/¯ no\nc"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=6), st.booleans())
def test_labels_survive_export_and_reading(labels: list[set[int]], several: bool) -> None:
    given_labels = [tuple(sorted(one)) if several else max(one, default=0) for one in labels]
    items = [Item(str(i), (), {"label": label}) for i, label in enumerate(given_labels)]
    task = Task(("ant", "bee", "кот", "dog house"), ("a {c}.",))
    original = Given("multilabel" if several else "classification", [PICTURES[0]] * len(items), items, task)
    with tempfile.TemporaryDirectory() as folder:
        copy = read(export_webdataset(original, Path(folder, "wds_given"), split="val").folder, split="val")
        assert [copy.item(i).labels["label"] for i in range(len(copy))] == given_labels
        assert copy.tasks["label"].classes == task.classes
        assert copy.tasks["label"].templates == task.templates
        assert copy.kind == original.kind


def test_plain_pictures_keep_their_bytes_and_others_become_png(tmp_path: Path, draw: Draw) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = [
        draw(1, form="JPEG"),
        draw(2, mode="RGBA"),
        draw(3, form="JPEG", exif=turned),
        draw(4, form="GIF"),
        draw(5, mode="L"),
    ]
    items = [Item(str(i), (), {"label": 0}) for i in range(len(pictures))]
    original = Given("classification", pictures, items, Task(("thing",)))
    export = export_webdataset(original, tmp_path / "wds_given")
    copy = read(export.folder)
    assert same_pictures(original, copy)
    assert [copy.payload(i) == pictures[i] for i in range(5)] == [True, False, False, False, True]
    assert [next(iter(group.members)) for group in index_tar(export.folder / "test/0.tar")] == [
        "jpg",
        "png",
        "png",
        "png",
        "png",
    ]


def test_scenes_export_as_captions_and_as_any_of_their_tasks(tmp_path: Path) -> None:
    scenes = Scenes("test", 12)
    captions = read(export_webdataset(scenes, tmp_path / "wds_scenes").folder)
    assert captions.item(3).captions == scenes.item(3).captions
    assert same_pictures(scenes, captions)
    export = export_webdataset(scenes, tmp_path / "wds_scenes-shape", task="shape")
    labelled = [i for i in range(12) if "shape" in scenes.item(i).labels]
    assert (export.items, export.unlabelled) == (len(labelled), 12 - len(labelled))
    shapes = read(export.folder)
    assert [shapes.item(i).labels["label"] for i in range(len(shapes))] == [
        scenes.item(i).labels["shape"] for i in labelled
    ]
    with pytest.raises(StructureError, match="Did you mean colour"):
        export_webdataset(scenes, tmp_path / "x", task="color")


def test_an_export_is_the_same_bytes_again_and_never_mixes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_webdataset(Scenes("val", 5), tmp_path / name, shard_items=2)
    for file in ("test/0.tar", "test/2.tar", "test/nshards.txt", "dataset_type.txt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with pytest.raises(StructureError, match="has tars already"):
        export_webdataset(Scenes("val", 5), tmp_path / "one")


def test_an_export_that_stops_cannot_pass_for_a_whole_one(tmp_path: Path, draw: Draw) -> None:
    items = [Item(str(i), (), {"label": 0}) for i in range(3)]
    broken = Given("classification", [draw(0), draw(1), b"no picture"], items, Task(("thing",)))
    with pytest.raises(BadSampleError, match="not a picture"):
        export_webdataset(broken, tmp_path / "wds_given", shard_items=1)
    assert sorted(path.name for path in (tmp_path / "wds_given/test").iterdir()) == ["0.tar", "1.tar"]
    with pytest.raises(StructureError, match="nshards.txt is missing"):
        read(tmp_path / "wds_given")


def test_wds_patterns(tmp_path: Path, write_tar: WriteTar, draw: Draw) -> None:
    for shard in (0, 1, 2):
        members = {
            f"{shard}{i}.{end}": draw(i) if end == "jpg" else f"caption {i}\nmore".encode()
            for i in range(4)
            for end in ("jpg", "txt")
        }
        write_tar(tmp_path / "laion" / f"part-{shard:03d}.tar", members)
    root = str(tmp_path / "laion")
    for pattern in (f"{root}/part-{{000..002}}.tar", f"{root}/*.tar", root, f"{root}/part-00{{0,1,2}}.tar"):
        dataset = open_dataset(f"wds:{pattern}", data_root=".")
        assert (len(dataset), dataset.name, dataset.split, dataset.kind) == (12, "laion", "all", "retrieval")
        assert dataset.item(5) == Item("all/part-001/11", ("caption 1", "more"))
    assert len(open_dataset("wds:laion/*.tar", data_root=tmp_path)) == 12
    train = open_dataset(f"wds:{root}", split="train", data_root=".")
    assert 0 < len(train) < 12
    with pytest.raises(NotPresentError, match=r"1 of the 4 tars .*part-003.tar"):
        open_dataset(f"wds:{root}/part-{{000..003}}.tar", data_root=".")
    with pytest.raises(NotPresentError, match="names no tar that is there; looked from"):
        open_dataset("wds:nothing/*.tar", data_root=tmp_path)
    write_tar(tmp_path / "other/part-000.tar", {"x.png": draw(), "x.cls": b"1"})
    with pytest.raises(StructureError, match="have the same name"):
        expand(f"{tmp_path}/{{laion,other}}/part-000.tar")
    (tmp_path / "other/classnames.txt").write_text("no\nyes\n")
    labelled = open_dataset(f"wds:{tmp_path}/other", data_root=".")
    assert (labelled.kind, labelled.tasks["label"].classes) == ("classification", ("no", "yes"))
