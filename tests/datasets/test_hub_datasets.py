"""`hf:`: folders that the library `datasets` saved, and the answer where the library or the name is not here."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structure.pipeline.datasets import open_dataset
from structure.store.errors import BadSampleError, NotPresentError, StructureError

Draw = Callable[..., bytes]


def test_without_the_library_the_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(NotPresentError, match=r'pip install "structure-align\[hub\]"'):
        open_dataset("hf:some/name", data_root="data")


def test_a_name_out_of_reach_is_answered_without_asking_again_and_again(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    class Session:
        def head(self, *address: str, **options: Any) -> None:
            asked.append(address)
            raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "get_session", Session)
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    with pytest.raises(
        NotPresentError, match=r"hf:nobody/nothing is not here.*does not answer \(no network\).*save_to_disk"
    ):
        open_dataset("hf:nobody/nothing", data_root="data")
    assert len(asked) == 1
    assert huggingface_hub.constants.HF_HUB_OFFLINE is before


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("datasets")


def table(library: Any, draw: Draw, **columns: list[Any]) -> Any:
    rows = len(next(iter(columns.values())))
    images = [{"bytes": draw(number), "path": None} for number in range(rows)]
    made = library.Dataset.from_dict({"image": images, **columns})
    return made.cast_column("image", library.Image())


def test_a_saved_folder_with_splits(library: Any, draw: Draw, tmp_path: Path) -> None:
    parts = {
        "train": table(library, draw, caption=["a", " b "], id=["x", "y"]),
        "test": table(library, draw, caption=["c"], id=["z"]),
    }
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    train = open_dataset("hf:saved", data_root=tmp_path)
    assert (train.name, train.split, train.kind) == ("saved", "train", "retrieval")
    assert [train.item(i).id for i in range(2)] == ["x", "y"]
    assert train.item(1).captions == ("b",)
    assert train.payload(1) == draw(1)
    assert train.image(1).size == (6, 4)
    assert open_dataset("hf:saved", split="test", data_root=tmp_path).item(0).captions == ("c",)
    copy = pickle.loads(pickle.dumps(train))
    assert (copy.item(0), copy.digest(0)) == (train.item(0), train.digest(0))
    with pytest.raises(StructureError, match="Unknown split 'tst'.*Did you mean test"):
        open_dataset("hf:saved", split="tst", data_root=tmp_path)


def test_a_single_table_with_class_labels(library: Any, draw: Draw, tmp_path: Path) -> None:
    made = table(library, draw, label=[1, 0, -1] * 20).cast_column("label", library.ClassLabel(names=["ant", "bee"]))
    made.save_to_disk(tmp_path / "saved")
    whole = open_dataset(f"hf:{tmp_path}/saved", data_root=".")
    assert (whole.split, whole.kind, whole.tasks["label"].classes) == ("all", "classification", ("ant", "bee"))
    assert [dict(whole.item(i).labels) for i in range(3)] == [{"label": 1}, {"label": 0}, {}]
    val = open_dataset(f"hf:{tmp_path}/saved", split="val", data_root=".")
    assert 0 < len(val) < 60
    index = whole.ids.index(val.ids[0])  # type: ignore[attr-defined]
    assert (val.item(0), val.payload(0)) == (whole.item(index), whole.payload(index))


def test_what_cannot_be_used(library: Any, draw: Draw, tmp_path: Path) -> None:
    table(library, draw, captions=[["a", ""], [], ["b"]]).save_to_disk(tmp_path / "blank")
    blank = open_dataset("hf:blank", data_root=tmp_path)
    for index, reason in {0: "an empty caption", 1: "no caption in column captions"}.items():
        with pytest.raises(BadSampleError, match=f"blank, row {index}: {reason}"):
            blank.item(index)
    assert blank.item(2).captions == ("b",)
    table(library, draw, words=["a"]).save_to_disk(tmp_path / "wordless")
    with pytest.raises(StructureError, match="has no captions .* its columns are image, words"):
        open_dataset("hf:wordless", data_root=tmp_path)
    table(library, draw, text=["a", "b"], id=[1, 1]).save_to_disk(tmp_path / "twice")
    with pytest.raises(StructureError, match="has the id '1' twice"):
        open_dataset("hf:twice", data_root=tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(
        StructureError,
        match="is not a folder that the library datasets saved, nor a repository.*Write it with save_to_disk",
    ):
        open_dataset("hf:other", data_root=tmp_path)


def saved(library: Any, draw: Draw, folder: Path, **columns: list[Any]) -> None:
    table(library, draw, **columns).save_to_disk(folder)


def captions_of(spec: str, root: Path, **options: Any) -> list[tuple[str, ...]]:
    dataset = open_dataset(spec, data_root=root, **options)
    return [dataset.item(index).captions for index in range(len(dataset))]


def test_a_cell_that_is_an_object_gives_its_text(library: Any, draw: Draw, tmp_path: Path) -> None:
    """The name of a field is not a caption; tokens are no text."""
    sentences = [{"tokens": ["a", "dog"], "raw": "A dog.", "sentid": 1}, {"tokens": ["b"], "raw": "B", "sentid": 2}]
    saved(library, draw, tmp_path / "one", sentences=sentences)
    saved(library, draw, tmp_path / "many", captions=[sentences, sentences[:1]])
    assert captions_of("hf:one", tmp_path) == [("A dog.",), ("B",)]
    assert captions_of("hf:many", tmp_path) == [("A dog.", "B"), ("A dog.",)]
    saved(library, draw, tmp_path / "other", caption=[{"en": "a dog", "de": "ein Hund"}])
    with pytest.raises(StructureError, match=r"objects with the fields .*Say where the text is: 'hf:.*\?caption="):
        open_dataset("hf:other", data_root=tmp_path)
    assert captions_of("hf:other?caption=caption.de", tmp_path) == [("ein Hund",)]


def test_numbered_columns_are_captions_in_the_order_of_their_numbers(library: Any, draw: Draw, tmp_path: Path) -> None:
    saved(library, draw, tmp_path / "set", caption_10=["k"], caption_0=["a"], caption_2=["c"], other=["x"])
    assert captions_of("hf:set", tmp_path) == [("a", "c", "k")]


def test_a_split_column_wins_over_the_parts_of_the_table(library: Any, draw: Draw, tmp_path: Path) -> None:
    """Some copies hold every row in one part called test, and say in a column what is held out."""
    whole = table(library, draw, caption=list("abcd"), split=["train", "Val", "train", "test"])
    library.DatasetDict({"test": whole}).save_to_disk(tmp_path / "set")
    assert captions_of("hf:set", tmp_path) == [("a",), ("c",)]
    assert captions_of("hf:set", tmp_path, split="test") == [("d",)]
    assert captions_of("hf:set", tmp_path, split="val") == [("b",)]
    assert len(captions_of("hf:set", tmp_path, split="all")) == 4
    dataset = open_dataset("hf:set", split="test", data_root=tmp_path)
    assert (dataset.split, dataset.item(0).id, dataset.splits) == ("test", "test/3", ("train", "val", "test"))
    table(library, draw, caption=["a", "b"], split=["train", None]).save_to_disk(tmp_path / "gap")
    with pytest.raises(StructureError, match="row 1 has no split, and 1 of 2 rows have one"):
        open_dataset("hf:gap", data_root=tmp_path)


def test_columns_of_any_name_are_named_in_the_datasets_name(library: Any, draw: Draw, tmp_path: Path) -> None:
    made = table(library, draw, words=["a", "b"], kind=["x", "y"], caption=["no", "no"], text=["n", "n"])
    made.save_to_disk(tmp_path / "set")
    dataset = open_dataset("hf:set?caption=words&label=kind", data_root=tmp_path)
    assert [dataset.item(i).captions for i in range(2)] == [("a",), ("b",)]
    assert [dict(dataset.item(i).labels) for i in range(2)] == [{"label": 0}, {"label": 1}]
    assert dataset.tasks["label"].classes == ("x", "y")
    assert open_dataset("hf:set", data_root=tmp_path).notes == (
        "captions are those of the column caption; text not read (?caption=)",
    )
    with pytest.raises(StructureError, match="Unknown column 'wrds'. Did you mean words"):
        open_dataset("hf:set?caption=wrds", data_root=tmp_path)


@pytest.mark.parametrize("readme", [True, False])
def test_a_repositorys_folder_is_read_as_it_was_copied(
    library: Any, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readme: bool
) -> None:
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "repo/data").mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "repo/README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
    )
    table(library, draw, caption=["a", "b"]).to_parquet(tmp_path / "blobs/0f3a")
    (tmp_path / "repo/data/train-00000-of-00001.parquet").symlink_to(tmp_path / "blobs/0f3a")  # as in a cache
    if not readme:
        (tmp_path / "repo/README.md").unlink()
    dataset = open_dataset("hf:repo", data_root=tmp_path)
    assert (dataset.name, dataset.split, dataset.item(1).captions) == ("repo", "train", ("b",))
    assert dataset.payload(1) == draw(1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["car/0.png", "bus/1.png", "train/2.png"], r"leaves out 2 of 3 files, the first is bus/1.png"),
        (
            ["Training/ill/0.png", "Testing/ill/1.png"],
            r"puts 1 files of another split into train.* Testing",
        ),
        (["a/0.png", "a/contest-test-1.png"], "leaves out 1 of 2 files, the first is a/0.png"),
    ],
)
def test_what_the_library_guesses_from_names_is_not_taken_in_silence(
    library: Any, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    """A class folder that is called train hides all other classes; Testing is read as training data."""
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number, name in enumerate(names):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(draw(number))
    with pytest.raises(StructureError, match=rf"{message}.* type folder:.*/set for images") as refused:
        open_dataset("hf:set", data_root=tmp_path)
    assert not isinstance(refused.value, NotPresentError)
