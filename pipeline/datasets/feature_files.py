"""Arrays of precomputed features from the files that people have: layers by name, and the ids of their rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from structure.pipeline.datasets.arrays_in_place import npz_array, safetensors_arrays
from structure.pipeline.datasets.row_blocks import bounds, row_blocks
from structure.store.errors import NotPresentError, StructureError

IDS = ("ids", "id")
FLOAT32_MAX = float(np.finfo(np.float32).max)

ONLY = "features"
"""The layer's name in a file that gives it none."""


@dataclass(frozen=True)
class FeatureFile:
    """`layers`: name -> `(rows, width)` of native float16, float32 or float64; `ids`: one a row, where the file has
    some; `notes`: what was left out."""

    layers: Mapping[str, np.ndarray]
    ids: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows of every layer."""
        return len(next(iter(self.layers.values())))


@dataclass
class _Contents:
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    ids: Any = None
    notes: list[str] = field(default_factory=list)

    def leave_out(self, what: str) -> None:
        self.notes.append(f"left out: {what}")

    def leave_out_what_is_no_layer(self) -> None:
        """Arrays such as labels and scales, where there are layers beside them."""
        layers = {name for name, values in self.arrays.items() if values.ndim > 1 and values.dtype.kind in "fV"}
        for name in [name for name in self.arrays if layers and name not in layers]:
            values = self.arrays.pop(name)
            self.leave_out(f"{name} ({values.dtype} of shape {values.shape}), which is no layer")


def read_feature_file(path: Path) -> FeatureFile:
    """The `(rows, width)` arrays of a `.npz`, `.safetensors`, `.npy`, `.pt`, `.pth` or `.parquet` file.

    A key names a layer; a `(rows, layers, width)` array is several, `KEY.00`, `KEY.01`, ... in order. Rows are named by
    `ids` (or `id`): text, bytes in UTF-8 or whole numbers. bfloat16 and 8-bit floats become float32, exactly. Nothing
    is unpickled but tensors, numbers and text. Raises `NotPresentError` without the file, `StructureError` for one
    that does not read, for arrays of other shapes or types, of different numbers of rows, for values that are no
    numbers or beyond float32, and for ids that repeat.
    """
    if not path.is_file():
        raise NotPresentError(f"There is no file {path.absolute()}.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        *most, last = _READERS
        raise StructureError(
            f"{path.name}: features are imported from {', '.join(most)} or {last}, not {path.suffix!r}."
        )
    try:
        read = reader(path)
    except (StructureError, ModuleNotFoundError):
        raise
    except Exception as error:  # damaged bytes may raise anything
        raise StructureError(f"{path} does not read as {path.suffix}: {error or type(error).__name__}") from None
    read.leave_out_what_is_no_layer()
    layers = dict(pair for name, values in read.arrays.items() for pair in _layers(path, name, values))
    if not layers:
        raise StructureError(
            f"{path.name} holds no array that is a layer. It needs one (rows, width) array a layer"
            f"{'; ' if read.notes else ''}{'; '.join(read.notes)}."
        )
    ids = None if read.ids is None else _ids(path, np.asarray(read.ids))
    counts = {name: len(values) for name, values in layers.items()} | ({IDS[0]: len(ids)} if ids is not None else {})
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise StructureError(f"{path.name}: the arrays have different numbers of rows ({told}).")
    return FeatureFile(layers, ids, tuple(read.notes))


def _layers(path: Path, name: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if values.ndim not in (2, 3) or not np.issubdtype(values.dtype, np.floating) or 0 in values.shape:
        raise StructureError(
            f"{path.name}: {name!r} is {values.dtype} of shape {values.shape}; a layer is a (rows, width) array of "
            "floating-point numbers, and several layers are (rows, layers, width)."
        )
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    if values.ndim == 3:
        for layer in range(values.shape[1]):
            yield from _layers(path, f"{name}.{layer:02d}", values[:, layer])
        return
    low, high = bounds(values)
    if not np.isfinite(low) or not np.isfinite(high):
        broken = np.concatenate(
            [start + np.flatnonzero(~np.isfinite(block).all(axis=1)) for start, block in row_blocks(values)]
        )
        raise StructureError(
            f"{path.name}: {name!r} holds a NaN or an infinity in {len(broken):,} of {len(values):,} rows, first in "
            f"row {broken[0]}. Such a row spoils every head and every similarity. Leave it out of every array."
        )
    if max(-low, high) > FLOAT32_MAX:
        row = int(np.flatnonzero((np.abs(values) > FLOAT32_MAX).any(axis=1))[0])
        raise StructureError(
            f"{path.name}: {name!r} holds {high if high >= -low else low:.6g}, first in row {row}, beyond float32's "
            f"{FLOAT32_MAX:.4g}, the widest type that features are saved in. Divide the whole array by one number "
            "before: cosine similarities stay as they are."
        )
    yield name, values


def _ids(path: Path, values: np.ndarray) -> tuple[str, ...]:
    if values.ndim != 1:
        values = values.reshape(-1) if values.size == max(values.shape, default=0) else values
    if values.ndim != 1 or values.dtype.kind not in "USOiuf":
        raise StructureError(
            f"{path.name}: the ids are {values.dtype} of shape {values.shape}; they are text, one a row."
        )
    try:
        ids = tuple(map(_text, values.tolist()))
    except (UnicodeDecodeError, ValueError) as error:
        raise StructureError(f"{path.name}: an id is neither text in UTF-8 nor a whole number: {error}.") from None
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise StructureError(f"{path.name}: the id {twice!r} stands twice in {IDS[0]!r}.")
    return ids


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(value)
        return str(int(value))
    return str(value)


def _npz(path: Path) -> _Contents:
    read = _Contents()
    with np.load(path, allow_pickle=False) as archive, path.open("rb") as file:
        for name in archive.files:
            try:
                values = npz_array(archive, name, file)
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                raise StructureError(
                    f"{path.name} does not read: {name!r} holds Python objects, which are never unpickled. Save ids as "
                    "text, np.array(ids, dtype=str), and features as numbers."
                ) from None
            if name in IDS:
                read.ids = values
            else:
                read.arrays[name] = values
    return read


def _npy(path: Path) -> _Contents:
    try:
        return _Contents({ONLY: np.load(path, mmap_mode="r", allow_pickle=False)})
    except ValueError as error:
        if "allow_pickle" not in str(error) and "Python objects" not in str(error):
            raise
        raise StructureError(
            f"{path.name} does not read: it holds Python objects, which are never unpickled. Save the array of numbers "
            "itself."
        ) from None


def _safetensors(path: Path) -> _Contents:
    from safetensors import safe_open

    arrays: dict[str, Any] = safetensors_arrays(path)
    if lacking := [name for name, values in arrays.items() if values is None]:
        with safe_open(path, framework="pt") as file:  # NumPy has no bfloat16
            arrays |= {name: _array(file.get_tensor(name)) for name in lacking}
    ids = [arrays.pop(name) for name in IDS if name in arrays]
    return _Contents(arrays, ids[0] if ids else None)


def _torch(path: Path) -> _Contents:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file raises differs by version
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise
        raise StructureError(
            f"{path.name} does not read: it is damaged, or holds more than tensors, numbers and text, which would need "
            "unpickling, and that may run code. Save the tensors alone: torch.save({'block.00': tensor, 'ids': [...]}, "
            "'features.pt')."
        ) from None
    if isinstance(content, torch.Tensor):
        content = {ONLY: content}
    if isinstance(content, list | tuple) and content and all(isinstance(part, torch.Tensor) for part in content):
        parts = dict(enumerate(content))
        content = (
            {ONLY: torch.stack(list(content))} if _are_rows(parts) else {f"{ONLY}.{n:02d}": parts[n] for n in parts}
        )
    if not isinstance(content, Mapping):
        raise StructureError(
            f"{path.name} holds a {type(content).__name__}; it needs a tensor, a list of tensors or a dict of tensors."
        )
    if _are_rows(content):  # a vector for each id
        stacked = _array(torch.stack(list(content.values())))
        return _Contents({ONLY: stacked}, [str(name) for name in content])
    read = _Contents()
    for name, value in _flat(content):
        if name in IDS:
            read.ids = value.tolist() if isinstance(value, torch.Tensor) else list(value)
        elif isinstance(value, torch.Tensor) and value.ndim >= 2:
            read.arrays[name] = _array(value)
        else:
            kind = f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            read.leave_out(f"{name} ({kind}), which is no layer")
    return read


def _flat(content: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of a dict and of the dicts in it, by their names with a dot between."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _are_rows(parts: Mapping[Any, Any]) -> bool:
    """Whether these are vectors of one length, of two samples or more."""
    shapes = {
        (tuple(part.shape), part.is_floating_point()) if hasattr(part, "shape") else None for part in parts.values()
    }
    (shape,) = shapes if len(shapes) == 1 else (None,)
    return len(parts) > 1 and shape is not None and len(shape[0]) == 1 and shape[0][0] > 1 and shape[1]


def _array(tensor: Any) -> np.ndarray:
    """NumPy's form of a tensor; floats that NumPy lacks (bfloat16, 8 bits) as float32, which holds them exactly."""
    import torch

    plain = tensor.dtype in (torch.float16, torch.float32, torch.float64) or not tensor.is_floating_point()
    array: np.ndarray = (tensor if plain else tensor.to(torch.float32)).detach().numpy()
    return array


def _parquet(path: Path) -> _Contents:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, read = pq.read_table(path), _Contents()
    numbers: dict[str, np.ndarray] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        kind = column.type
        if name in IDS:
            read.ids = column.to_pylist()
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            read.arrays[name] = _matrix(path, name, column)
        elif pa.types.is_floating(kind):
            numbers[name] = column.to_numpy(zero_copy_only=False)
        else:
            read.leave_out(f"the column {name} ({kind}), which is no layer")
    widest = max(Counter(map(_stem, numbers)).items(), key=lambda found: found[1], default=("", 0))[0]
    row = [name for name in numbers if _stem(name) == widest] if not read.arrays else []
    for name in numbers:
        if name not in row:
            read.leave_out(f"the column {name}, one number a row")
    if len(row) == 1:
        raise StructureError(
            f"{path.name}: {row[0]} is one number a row. A layer is a column of lists, or columns that differ by a "
            "number alone: 0, 1, 2, or f0, f1, f2."
        )
    if row:
        read.arrays[ONLY] = np.stack([numbers[name] for name in row], axis=1)
    return read


def _stem(name: str) -> str:
    """A column's name without its numbers, which columns of one layer share."""
    return re.sub("[0-9]+", "#", name)


def _matrix(path: Path, name: str, column: Any) -> np.ndarray:
    """`(rows, width)` of a column of lists of one length, `(rows, layers, width)` of lists of lists."""
    lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
    sizes = {column.type.list_size} if lengths is None else set(lengths.to_pylist())
    if len(sizes) != 1 or column.null_count:
        shown = ", ".join(map(str, sorted(size for size in sizes if size is not None)[:3]))
        raise StructureError(
            f"{path.name}: the lists of {name!r} are not all of one length ({shown}, ...), or some are missing; a "
            "layer has as many numbers in each row."
        )
    inner = column.flatten()
    shape = (len(column), next(iter(sizes)))
    if hasattr(inner.type, "value_type"):  # lists of lists: (rows, layers, width)
        return _matrix(path, name, inner).reshape(*shape, -1)
    values: np.ndarray = inner.to_numpy(zero_copy_only=False)
    return values.reshape(shape)


_READERS: Mapping[str, Callable[[Path], _Contents]] = {
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".pt": _torch,
    ".pth": _torch,
    ".parquet": _parquet,
}
