"""CLIP_benchmark's layout, read, and other tars: what a copy holds, and every kind of damage by its message."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from structure.pipeline.datasets import Dataset, Item, open_dataset
from structure.pipeline.datasets.benchmark_copy import read_copy
from structure.pipeline.datasets.tar_index import index_tar
from structure.pipeline.datasets.webdataset import expand
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
        {"a.png": whole, "b.cls": b"1", "c.cls": b"1", "c.jpg": b"no image", "d.cls": b" 2\n", "d.PNG": whole},
    )
    dataset = read(copy_folder)
    for index, message in {
        3: r"1.tar, a has no .cls, only png",
        4: r"1.tar, b has no image \(.webp, .png, .jpg, .jpeg\), only cls",
    }.items():
        with pytest.raises(BadSampleError, match=message) as caught:
            dataset.item(index)
        assert caught.value.item == f"test/1/{'ab'[index - 3]}"
    assert dataset.item(5).labels == {"label": 1}
    with pytest.raises(BadSampleError, match=r"^test/1/c: .*1.tar, member c.jpg: not an image"):
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


def test_splits_in_the_names_of_tars_are_not_drawn_anew(tmp_path: Path, write_tar: WriteTar, draw: Draw) -> None:
    for name in ("photos-train-000", "photos-train-001", "photos-val-000"):
        write_tar(tmp_path / f"set/{name}.tar", {"0.png": draw(1), "0.txt": name.encode()})
    train = open_dataset(f"wds:{tmp_path}/set", data_root=".")
    assert [train.item(i).captions for i in range(len(train))] == [("photos-train-000",), ("photos-train-001",)]
    assert (train.split, train.splits, train.item(0).id) == ("train", ("train", "val"), "train/photos-train-000/0")
    assert open_dataset(f"wds:{tmp_path}/set", split="val", data_root=".").item(0).captions == ("photos-val-000",)
    assert len(open_dataset(f"wds:{tmp_path}/set?splits=none", data_root=".")) == 3
    assert open_dataset(f"wds:{tmp_path}/set/photos-train-*.tar", data_root=".").split == "all"
    for part in ("train", "test"):
        write_tar(tmp_path / f"parts/{part}/0.tar", {"0.png": draw(1), "0.txt": part.encode()})
    parts = open_dataset(f"wds:{tmp_path}/parts", split="test", data_root=".")
    assert (parts.name, parts.item(0)) == ("parts", Item("test/0/0", ("test",)))
    assert open_dataset(f"wds:{tmp_path}/parts/*/*.tar", data_root=".").item(0).captions == ("train",)
    write_tar(tmp_path / "set/more.tar", {"0.png": draw(1), "0.txt": b"x"})
    with pytest.raises(StructureError, match=r"photos-train-000.tar is named as train and more.tar as no split"):
        open_dataset(f"wds:{tmp_path}/set", data_root=".")
