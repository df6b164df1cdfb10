"""Published classification sets, from tiny folders in their true formats."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from structure.pipeline.datasets.catalogue import raw_sets
from structure.pipeline.datasets.labelled import LabelledArrays
from structure.pipeline.datasets.loading import list_datasets, open_dataset
from structure.pipeline.datasets.published_classification import ARRAYS
from structure.pipeline.datasets.restricted_pickle import read_pickle
from structure.pipeline.datasets.split_lists import LISTS
from structure.pipeline.datasets.webdataset_export import export_webdataset
from structure.store.errors import NotPresentError, StructureError

RANDOM = np.random.default_rng(0)


def colours(count: int, side: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def jpeg(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours(1, 16)[0]).save(path)


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def cifar_rows(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(0, 3, 1, 2).reshape(len(pixels), 3072)


def old_pickle(value: dict[Any, Any]) -> bytes:
    """As Python 2 and NumPy 1 wrote it: protocol 2, and the old name of NumPy's module."""
    return pickle.dumps(value, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def test_pickled_cifar(tmp_path: Path) -> None:
    pixels, folder = colours(4, 32), tmp_path / "cifar10" / "cifar-10-batches-py"
    write(folder / "test_batch", old_pickle({"data": cifar_rows(pixels), "labels": [3, 0, 9, 1], "batch_label": "b"}))
    names = [f"name_{number}" for number in range(10)]
    write(folder / "batches.meta", old_pickle({"label_names": names, "num_vis": 3072}))
    found = open_dataset("cifar10", data_root=tmp_path)
    assert [found.item(index).labels["label"] for index in range(4)] == [3, 0, 9, 1]
    assert found.tasks["label"].classes[9] == "name 9"
    np.testing.assert_array_equal(np.asarray(found.image(2)), pixels[2])
    again = pickle.loads(pickle.dumps(found))  # a worker's copy reads the file again
    assert isinstance(again, LabelledArrays)
    assert again.payload(2) == found.payload(2) != found.payload(1)


def test_binary_cifar_and_fine_labels(tmp_path: Path) -> None:
    pixels = colours(3, 32)
    rows = np.concatenate([np.array([[7, 42], [1, 0], [2, 99]], np.uint8), cifar_rows(pixels)], axis=1)
    write(tmp_path / "cifar-100-binary" / "test.bin", rows.tobytes())
    write(tmp_path / "cifar-100-binary" / "fine_label_names.txt", "\n".join(f"fine{n}" for n in range(100)))
    found = open_dataset("cifar100", data_root=tmp_path)
    assert [found.item(index).labels["label"] for index in range(3)] == [42, 0, 99]
    np.testing.assert_array_equal(np.asarray(found.image(1)), pixels[1])
    pickled = tmp_path / "pickled" / "cifar-100-python"
    content = {b"data": cifar_rows(pixels), b"fine_labels": [42, 0, 99], b"coarse_labels": [7, 1, 2]}
    write(pickled / "test", old_pickle(content))
    write(pickled / "meta", old_pickle({b"fine_label_names": [f"fine{n}".encode() for n in range(100)]}))
    other = open_dataset("cifar100", data_root=tmp_path / "pickled")
    assert [other.digest(index) for index in range(3)] == [found.digest(index) for index in range(3)]
    assert other.tasks["label"].classes == found.tasks["label"].classes


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(Malice.mark),)

    mark: Path


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_a_program_is_not_read(tmp_path: Path, protocol: int) -> None:
    Malice.mark = tmp_path / "was-here"
    write(tmp_path / "bad", pickle.dumps({"data": Malice()}, protocol=protocol))
    with pytest.raises(StructureError, match=r"asks for \w+.mkdir.*could run a program"):
        read_pickle(tmp_path / "bad")
    assert not Malice.mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy\nndarray.tofile\n.",
        b"c_codecs\nencode\n(S'a'\nS'zlib_codec'\ntR.",
        b"cnumpy\ndtype\n(S'O'\ntR.",
        b"Pjust-an-id\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000\ntS'b'\ntR.",
    ],
)
def test_names_that_an_array_does_not_need(tmp_path: Path, program: bytes) -> None:
    write(tmp_path / "bad", program)
    with pytest.raises(StructureError, match="Get the file again"):
        read_pickle(tmp_path / "bad")


def test_arrays_pass_with_every_protocol_and_either_name_of_numpy(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for protocol in (0, 2, 4):
        for data in (
            pickle.dumps({"data": array}, protocol=protocol),
            pickle.dumps({"data": array}, protocol=protocol).replace(b"numpy._core.", b"numpy.core.")
            if protocol < 4
            else pickle.dumps({"data": array}, protocol=protocol),
        ):
            write(tmp_path / "good", data)
            np.testing.assert_array_equal(read_pickle(tmp_path / "good")["data"], array)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_mnist_plain_and_compressed(tmp_path: Path) -> None:
    grey = RANDOM.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    folder = tmp_path / "MNIST" / "raw"
    write(folder / "t10k-images-idx3-ubyte", idx(grey))
    write(folder / "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.array([7, 2, 0], np.uint8))))
    found = open_dataset("mnist", data_root=tmp_path)
    assert [found.item(index).labels["label"] for index in range(3)] == [7, 2, 0]
    np.testing.assert_array_equal(np.asarray(found.image(0))[..., 1], grey[0])
    write(folder / "t10k-images-idx3-ubyte", idx(grey)[:-5])
    with pytest.raises(StructureError, match=r"has 2347 bytes of data and says 2352"):
        open_dataset("mnist", data_root=tmp_path)
    write(folder / "t10k-images-idx3-ubyte", idx(grey[:2]))
    with pytest.raises(StructureError, match="2 images and 3 labels"):
        open_dataset("mnist", data_root=tmp_path)


def test_stl10(tmp_path: Path) -> None:
    pixels, folder = colours(2, 96), tmp_path / "stl10_binary"
    write(folder / "test_X.bin", pixels.transpose(0, 3, 2, 1).tobytes())
    write(folder / "test_y.bin", bytes([10, 1]))
    write(folder / "class_names.txt", "\n".join(f"class{n}" for n in range(10)))
    found = open_dataset("stl10", data_root=tmp_path)
    assert [found.item(index).labels["label"] for index in range(2)] == [9, 0]
    np.testing.assert_array_equal(np.asarray(found.image(1)), pixels[1])
    write(folder / "test_y.bin", bytes([11, 1]))
    with pytest.raises(StructureError, match="labels from 0 to 10.*10 classes"):
        open_dataset("stl10", data_root=tmp_path)


def test_svhn(tmp_path: Path) -> None:
    pixels = colours(3, 32)
    (tmp_path / "svhn").mkdir()
    savemat(tmp_path / "svhn" / "test_32x32.mat", {"X": np.moveaxis(pixels, 0, -1), "y": [[10], [1], [9]]})
    found = open_dataset("svhn", data_root=tmp_path)
    assert [found.item(index).labels["label"] for index in range(3)] == [0, 1, 9]
    np.testing.assert_array_equal(np.asarray(found.image(2)), pixels[2])
    write(tmp_path / "svhn" / "test_32x32.mat", b"MATLAB 5.0 MAT-file, or not")
    with pytest.raises(StructureError, match="is not a MATLAB file"):
        open_dataset("svhn", data_root=tmp_path)


def test_flowers(tmp_path: Path) -> None:
    root = tmp_path / "flowers-102"
    for number in (1, 2, 3):
        jpeg(root / "jpg" / f"image_{number:05d}.jpg")
    savemat(root / "imagelabels.mat", {"labels": [[77, 1, 102]]})
    savemat(root / "setid.mat", {"trnid": [[2]], "valid": [[1]], "tstid": [[3, 1]]})
    found = open_dataset("flowers102", data_root=tmp_path)
    assert [(found.item(i).id, found.item(i).labels["label"]) for i in range(2)] == [
        ("jpg/image_00003.jpg", 101),
        ("jpg/image_00001.jpg", 76),
    ]
    assert found.tasks["label"].classes[0] == "pink primrose"
    assert len(found.tasks["label"].classes) == 102
    savemat(root / "setid.mat", {"trnid": [[2]], "valid": [[1]], "tstid": [[4]]})
    with pytest.raises(StructureError, match="image 4 and imagelabels.mat has 3 labels"):
        open_dataset("flowers102", data_root=tmp_path)


def test_pets(tmp_path: Path) -> None:
    root = tmp_path / "oxford-iiit-pet"
    lines = "# a comment\nAbyssinian_201 1 1 1\nBritish_Shorthair_3 2 1 2\nAbyssinian_9 1 1 1\n"
    write(root / "annotations" / "test.txt", lines)
    for name in ("Abyssinian_201", "British_Shorthair_3", "Abyssinian_9"):
        jpeg(root / "images" / f"{name}.jpg")
    found = open_dataset("pets", data_root=tmp_path)
    assert found.tasks["label"].classes == ("Abyssinian", "British Shorthair")
    assert [found.item(i).labels["label"] for i in range(3)] == [0, 1, 0]
    assert found.image(1).size == (16, 16)
    write(root / "annotations" / "test.txt", "../../etc/x_1 1 1 1\n")
    with pytest.raises(StructureError, match="line 1 is not 'Breed_1"):
        open_dataset("pets", data_root=tmp_path)


def test_food101_and_dtd(tmp_path: Path) -> None:
    food = tmp_path / "food-101"
    write(food / "meta" / "classes.txt", "apple_pie\nwaffles\n")
    write(food / "meta" / "labels.txt", "Apple pie\nWaffles\n")
    write(food / "meta" / "test.txt", "waffles/12\napple_pie/3\n")
    (food / "images").mkdir()
    found = open_dataset("food101", data_root=tmp_path)
    assert [(found.item(i).id, found.item(i).labels["label"]) for i in range(2)] == [
        ("images/waffles/12.jpg", 1),
        ("images/apple_pie/3.jpg", 0),
    ]
    assert found.tasks["label"].classes == ("Apple pie", "Waffles")
    textures = tmp_path / "dtd" / "dtd"
    for name in ("banded/banded_0001.jpg", "woven/woven_0002.jpg", "zigzagged/z.jpg"):
        jpeg(textures / "images" / name)
    write(textures / "labels" / "test1.txt", "woven/woven_0002.jpg\nbanded/banded_0001.jpg\n")
    listed = open_dataset("dtd", data_root=tmp_path)
    assert listed.tasks["label"].classes == ("banded", "woven", "zigzagged")
    assert [listed.item(i).labels["label"] for i in range(2)] == [1, 0]
    write(textures / "labels" / "test1.txt", "../woven/woven_0002.jpg\n")
    with pytest.raises(StructureError, match="line 1 is not <class>/<image>"):
        open_dataset("dtd", data_root=tmp_path)


def test_eurosat_has_seeded_splits(tmp_path: Path) -> None:
    for number in range(30):
        for name in ("AnnualCrop", "SeaLake"):
            jpeg(tmp_path / "2750" / name / f"{name}_{number}.jpg")
    whole = open_dataset("eurosat", data_root=tmp_path)
    assert whole.split == "all"
    assert whole.tasks["label"].classes == ("Annual Crop", "Sea Lake")
    parts = [open_dataset("eurosat", split=part, data_root=tmp_path) for part in ("train", "val", "test")]
    ids = [part.item(i).id for part in parts for i in range(len(part))]
    assert sorted(ids) == sorted(whole.item(i).id for i in range(60))


def test_imagenet_and_ucf101(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / "imagenet" / "val" / f"n{1440764 + number:08d}").mkdir(parents=True)
    jpeg(tmp_path / "imagenet" / "val" / "n01440767" / "ILSVRC2012_val_00000001.JPEG")
    found = open_dataset("imagenet", data_root=tmp_path)
    assert (found.split, found.item(0).labels["label"], found.tasks["label"].classes) == ("val", 3, ())
    (tmp_path / "imagenet" / "val" / "extra").mkdir()
    with pytest.raises(StructureError, match="1001 class folders, one of them called extra"):
        open_dataset("imagenet", data_root=tmp_path)
    videos = tmp_path / "ucf101"
    write(videos / "ucfTrainTestlist" / "classInd.txt", "1 ApplyEyeMakeup\n2 YoYo\n")
    write(videos / "ucfTrainTestlist" / "testlist01.txt", "YoYo/v_YoYo_g01_c01.avi\n")
    write(videos / "ucfTrainTestlist" / "trainlist01.txt", "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n")
    jpeg(videos / "UCF-101-midframes" / "Apply_Eye_Makeup" / "v_ApplyEyeMakeup_g08_c01.jpg")
    jpeg(videos / "UCF-101-midframes" / "Yo_Yo" / "v_YoYo_g01_c01.jpg")
    for split, label in (("test", 1), ("train", 0)):
        frames = open_dataset("ucf101", split=split, data_root=tmp_path)
        assert frames.item(0).labels["label"] == label
        assert frames.image(0).size == (16, 16)
    assert frames.tasks["label"].classes == ("Apply Eye Makeup", "Yo Yo")


def test_a_raw_folder_stands_in_for_the_copy_and_can_be_exported(tmp_path: Path) -> None:
    pixels, folder = colours(2, 96), tmp_path / "stl10_binary"
    write(folder / "test_X.bin", pixels.transpose(0, 3, 2, 1).tobytes())
    write(folder / "test_y.bin", bytes([10, 1]))
    write(folder / "class_names.txt", "\n".join(f"class{n}" for n in range(10)))
    raw = open_dataset("clip-benchmark:wds/stl10", split="test", data_root=tmp_path)
    assert raw.name == "stl10"
    export_webdataset(raw, tmp_path / "wds_stl10")
    copy = open_dataset("clip-benchmark:wds/stl10", split="test", data_root=tmp_path)
    assert (copy.name, len(copy), copy.tasks["label"].classes) == ("wds_stl10", 2, raw.tasks["label"].classes)
    np.testing.assert_array_equal(np.asarray(copy.image(1)), pixels[1])
    here = {listing.name: listing for listing in list_datasets(tmp_path)}
    assert here["stl10"].splits == ("test",)
    assert not here["cifar10"].present


def test_what_is_absent_says_how_to_get_it(tmp_path: Path) -> None:
    assert set(raw_sets()) == {*LISTS, *ARRAYS}
    for name in raw_sets():
        with pytest.raises(NotPresentError, match=rf"Dataset {name} split .* it needs .*To get it: ") as told:
            open_dataset(name, data_root=tmp_path)
        assert (f"structure datasets get {name}" in str(told.value)) == (name not in ("imagenet", "ucf101"))
    with pytest.raises(StructureError, match="split of cifar10.*'tset'"):
        open_dataset("cifar10", split="tset", data_root=tmp_path)
