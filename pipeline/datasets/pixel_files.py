"""Pixels and labels as CIFAR, MNIST, STL-10 and SVHN are published: `(images, height, width[, 3])` uint8."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from structure.pipeline.datasets.restricted_pickle import read_pickle
from structure.pipeline.datasets.text_lines import read_lines
from structure.store.errors import StructureError

Pixels = tuple[np.ndarray, np.ndarray]
"""uint8 images, and int64 labels `(images,)`."""


def read_cifar(files: Sequence[Path]) -> Pixels:
    """Batches of CIFAR-10 or CIFAR-100 (fine labels), pickled (`data_batch_1`, `test`) or binary (`.bin`)."""
    read = [_cifar_binary(file) if file.suffix == ".bin" else _cifar_pickle(file) for file in files]
    return np.concatenate([pixels for pixels, _ in read]), np.concatenate([labels for _, labels in read])


def cifar_names(file: Path) -> tuple[str, ...]:
    """Class names: `batches.meta`, `meta` (pickled), `batches.meta.txt` or `fine_label_names.txt` (a name a line)."""
    if file.suffix == ".txt":
        return tuple(line.strip() for line in read_lines(file) if line.strip())
    content = read_pickle(file)
    names = content.get("fine_label_names") or content.get("label_names") or []
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def read_idx(files: Sequence[Path]) -> Pixels:
    """MNIST: the idx file of images and the one of labels, plain or `.gz`."""
    images, labels = (_idx(file) for file in files)
    if images.ndim != 3 or labels.ndim != 1:
        raise StructureError(
            f"{files[0]} has {images.ndim} dimensions and {files[1]} {labels.ndim}; 3 and 1 are expected."
        )
    return images, labels.astype(np.int64)


def read_stl10(files: Sequence[Path]) -> Pixels:
    """STL-10: `*_X.bin` (96 x 96, colour by colour, column by column) and `*_y.bin` (labels from 1)."""
    images, labels = files
    size = 3 * 96 * 96
    data = np.fromfile(images, np.uint8)
    _whole(images, len(data), size)
    pixels = np.ascontiguousarray(data.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1))
    return pixels, np.fromfile(labels, np.uint8).astype(np.int64) - 1


def read_svhn(files: Sequence[Path]) -> Pixels:
    """SVHN's cropped digits (`*_32x32.mat`): X (32, 32, 3, n), y from 1 to 10 with 10 for the digit 0."""
    content = read_mat(files[0], "X", "y")
    pixels = np.ascontiguousarray(np.moveaxis(content["X"], -1, 0))
    return pixels, content["y"].astype(np.int64).reshape(-1) % 10


def read_mat(file: Path, *names: str) -> dict[str, np.ndarray]:
    """Arrays of a MATLAB file. Raises `StructureError` where it cannot be read or lacks one of `names`."""
    from scipy.io import loadmat

    try:
        content = loadmat(file, variable_names=list(names))
    except Exception as error:  # damaged bytes may raise anything
        raise StructureError(
            f"{file} is not a MATLAB file that can be read ({file.stat().st_size} bytes): {error}. Get the file again."
        ) from None
    for name in names:
        if name not in content:
            raise StructureError(f"{file} has no array {name!r}. Get the file again.")
    return {name: np.asarray(content[name]) for name in names}


def _cifar_pickle(file: Path) -> Pixels:
    content = read_pickle(file)
    data, labels = content.get("data"), content.get("fine_labels", content.get("labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise StructureError(f"{file} has no images of 32 x 32 x 3 (key data). Get the file again.")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise StructureError(f"{file} has {len(data)} images and no list of as many labels. Get the file again.")
    return _rows_to_images(data), np.asarray(labels, np.int64)


def _cifar_binary(file: Path) -> Pixels:
    """Rows of one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine) and 3,072 pixel bytes."""
    data = np.fromfile(file, np.uint8)
    width = 3074 if file.stem in ("train", "test") else 3073
    _whole(file, len(data), width)
    rows = data.reshape(-1, width)
    return _rows_to_images(rows[:, width - 3072 :]), rows[:, width - 3073].astype(np.int64)


def _rows_to_images(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _idx(file: Path) -> np.ndarray:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise StructureError(f"{file} is a damaged gzip file: {error}. Get the file again.") from None
    dimensions = data[3] if len(data) > 3 else 0
    if len(data) < 4 + 4 * dimensions or data[:2] != b"\0\0" or data[2] != 8 or not 1 <= dimensions <= 3:
        raise StructureError(f"{file} does not begin as an idx file of bytes: {data[:4]!r}. Get the file again.")
    shape = np.frombuffer(data, ">u4", dimensions, offset=4).astype(np.int64)
    rest = len(data) - 4 - 4 * dimensions
    if rest != int(shape.prod()):
        raise StructureError(f"{file} has {rest} bytes of data and says {int(shape.prod())}. Get the file again.")
    return np.frombuffer(data, np.uint8, rest, offset=4 + 4 * dimensions).reshape(tuple(shape))


def _whole(file: Path, count: int, size: int) -> None:
    if count == 0 or count % size:
        raise StructureError(
            f"{file} has {count} bytes; rows of {size} are expected, and {count % size} are left over. Get the file "
            f"again."
        )
