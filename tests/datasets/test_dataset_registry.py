"""The kinds of datasets: what each says of itself, and one that another package adds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from structure.pipeline.datasets import get_dataset, list_datasets, open_dataset
from structure.pipeline.datasets.kind import DatasetKind
from structure.pipeline.datasets.registry import DATASET_KINDS
from structure.store.errors import NotPresentError, StructureError
from tests.plugin import install_plugin

TOY = """
from structure.pipeline.datasets.dataset import Dataset, Item, within
from structure.pipeline.datasets.kind import DatasetKind

class Words(Dataset):
    kind, tasks = "retrieval", {}

    def __init__(self, name, split, words):
        self.name, self.split, self.words = name, split, words

    def __len__(self):
        return len(self.words)

    def item(self, index):
        return Item(self.words[within(index, len(self))], (f"the word {self.words[index]}",))

    def payload(self, index):
        return self.words[index].encode()

    def image(self, index):
        from PIL import Image
        return Image.new("RGB", (len(self.words[index]), 8))

class Toy(DatasetKind):
    form, summary, how = "toy:A+B", "words as images", "nothing to get"

    def open(self, argument, *, split, data_root, seed):
        return Words("toy", split or self.default_split, argument.split("+"))
"""


@pytest.mark.parametrize("name", list(DATASET_KINDS))
def test_every_kind_keeps_the_contract(name: str, tmp_path: Path) -> None:
    kind = DATASET_KINDS[name](name)
    assert isinstance(kind, DatasetKind)
    assert re.match(rf"{name}($|:|\[)", kind.form)
    assert kind.argument != "none" or kind.form == name
    assert kind.summary
    assert kind.how
    assert len(set(kind.splits)) == len(kind.splits) > 0
    assert kind.default_split in kind.splits or name == "coco"  # train is train2014, or train2017 where that is there
    listings = kind.listings(tmp_path)
    assert listings
    for listing in listings:
        assert listing.name.startswith(name)
        assert listing.splits
        assert listing.how
    assert all(full.partition(":")[0] == name for full in kind.gettable())
    if kind.argument == "required":
        with pytest.raises(StructureError, match=f"names no data. Type {re.escape(kind.form)}"):
            open_dataset(name, data_root=tmp_path)
    elif name not in ("scenes", "icons"):
        with pytest.raises(NotPresentError, match="To get it"):
            open_dataset(name, data_root=tmp_path)
        with pytest.raises(StructureError, match=f"split of {name}"):
            open_dataset(name, split="nonsense", data_root=tmp_path)
        with pytest.raises(StructureError, match="takes nothing after a colon"):
            open_dataset(f"{name}:x", data_root=tmp_path)


def test_a_kind_of_another_package_works_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(DATASET_KINDS, source=TOY, member="toy", monkeypatch=monkeypatch, folder=tmp_path)
    dataset = open_dataset("toy:ant+bee", data_root=tmp_path)
    assert (len(dataset), dataset.split, dataset.item(1).captions) == (2, "all", ("the word bee",))
    assert dataset.image(0).size == (3, 8)
    listing = list_datasets(tmp_path)[-1]
    assert (listing.name, listing.summary, listing.default_split) == ("toy:A+B", "words as images", "all")
    with pytest.raises(StructureError, match="names no data. Type toy:A"):
        open_dataset("toy", data_root=tmp_path)
    with pytest.raises(StructureError, match="toy is read from where it lies"):
        get_dataset("toy:ant", data_root=tmp_path)
    with pytest.raises(StructureError, match="Did you mean toy"):
        open_dataset("toys", data_root=tmp_path)


def test_wrong_names_are_refused_without_a_deep_learning_library() -> None:
    code = (
        "import sys\n"
        "from structure.pipeline.datasets import get_dataset, open_dataset\n"
        "from structure.store.errors import StructureError\n"
        "for call in (open_dataset, get_dataset):\n"
        "    for name in ('coc', 'cifar11', 'imagenett', 'folders:x', 'gtsrb'):\n"
        "        try:\n"
        "            call(name, data_root='nowhere')\n"
        "        except StructureError as error:\n"
        "            print(error)\n"
        "heavy = {'torch', 'timm', 'transformers', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10
