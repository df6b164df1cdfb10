"""Neighbour tables are exact: equal to an oracle in integers, whatever the tiles, precision, source or threads."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from math import isqrt
from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.similarity.knn import candidates as sweep
from structure.pipeline.similarity.knn import neighbour_tables as tables
from structure.pipeline.similarity.knn import neighbours as module
from structure.pipeline.similarity.knn import products_with_error_bounds as products
from structure.pipeline.similarity.knn import refine_order as order
from structure.pipeline.similarity.knn import search_radii as radii
from structure.pipeline.similarity.knn.neighbour_tables import neighbour_tables
from structure.pipeline.similarity.knn.neighbours import Neighbours, neighbours, search
from structure.pipeline.similarity.knn.products_with_error_bounds import BFloat16, Float32, Precision, factor
from structure.pipeline.similarity.knn.unit_rows import UnitRows
from structure.store.errors import StructureError

GRID = 50


def rounded_cosine(x: np.ndarray, y: np.ndarray) -> int:
    """2**50 cos(x, y) to the nearest integer, from rational arithmetic."""
    a, b = ([Fraction(float(value)) for value in side] for side in (x, y))
    product = sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))
    squares = sum(p * p for p in a) * sum(q * q for q in b)
    if squares == 0:
        return 0
    ratio = product * product / squares
    extra = 30
    root = isqrt((ratio.numerator << (2 * (GRID + extra))) // ratio.denominator)
    size = (root + (1 << (extra - 1))) >> extra
    return size if product >= 0 else -size


def integer_oracle(x: np.ndarray, k: int) -> np.ndarray:
    rows = len(x)
    cosines = [[rounded_cosine(x[i], x[j]) for j in range(rows)] for i in range(rows)]
    return np.array(
        [sorted((j for j in range(rows) if j != i), key=lambda j: (-cosines[i][j], j))[:k] for i in range(rows)]
    )


def dense_oracle(x: np.ndarray, k: int) -> np.ndarray:
    unit = np.asarray(x, dtype=np.float64)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


KINDS = (
    "random",
    "clustered",
    "duplicated",
    "cone",
    "constant",
    "constant features",
    "near-tied",
    "signs",
    "small integers",
)


def data(kind: str, rows: int, width: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, width))
    few = random.normal(size=(max(rows // 5, 1), width))
    which = random.integers(0, len(few), rows)
    if kind == "clustered":
        return few[which] + 1e-2 * x
    if kind == "duplicated":
        return few[which] * np.exp2(random.integers(-3, 3, (rows, 1)))
    if kind == "cone":
        return 1e-3 * x + random.normal(size=width)
    if kind == "constant":
        return np.tile(few[0], (rows, 1))
    if kind == "constant features":
        return np.where(np.arange(width) < (width + 1) // 2, 3.0, x)
    if kind == "near-tied":
        return few[which] * (1 + 10.0 ** -random.integers(4, 9, (rows, 1)) * x)
    if kind == "signs":
        return random.choice([-1.0, 1.0], (rows, width))
    if kind == "small integers":
        return random.integers(-1, 2, (rows, width)).astype(np.float64)
    return x


@pytest.fixture
def every_path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forces one of the ways to candidates: bfloat16, float32, or those of an accelerator run on the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "worth_narrowing", lambda *_: request.param == "bfloat16")
        if request.param == "device":
            patch.setattr(radii, "_kth", radii._kth_on_device)
            patch.setattr(radii, "_within", radii._within_on_device)
            patch.setattr(order, "sampled", order.gathered)
        yield


PATHS = pytest.mark.parametrize("every_path", ["bfloat16", "float32", "device"], indirect=True)


@PATHS
@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    rows=st.integers(3, 14),
    width=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    k=st.integers(1, 13),
    memory=st.sampled_from([1, 1 << 30]),
)
@pytest.mark.usefixtures("every_path")
def test_equals_integers(kind: str, rows: int, width: int, seed: int, dtype: Any, k: int, memory: int) -> None:
    x = data(kind, rows, width, seed).astype(dtype)
    k = min(k, rows - 1)
    np.testing.assert_array_equal(neighbours(x, k=k, memory=memory), integer_oracle(x, k))


@PATHS
@pytest.mark.parametrize("kind", ["random", "clustered", "cone", "constant features", "near-tied"])
@pytest.mark.usefixtures("every_path")
def test_equals_dense_float64(kind: str) -> None:
    x = data(kind, 900, 48, 1).astype(np.float32)
    if kind == "near-tied":  # rows with gaps that float64 resolves and float32 does not
        x = data("random", 900, 48, 1).astype(np.float32)
        x[450:] = x[:450] * (1 + 1e-4 * data("random", 450, 48, 2)).astype(np.float32)
    np.testing.assert_array_equal(neighbours(x, k=20), dense_oracle(x, 20))


@pytest.mark.parametrize("memory", [1 << 15, 1 << 19, 1 << 22])
def test_blocks_change_nothing(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = data("near-tied", 700, 40, 3).astype(np.float32)
    whole = neighbours(x, k=12)
    monkeypatch.setattr(products, "TILE_BYTES", 1 << 16)
    monkeypatch.setattr(sweep, "PANEL", 100)
    for user in (sweep, module):  # at the smallest memory the layer is swept in parts of one strip
        monkeypatch.setattr(user, "STRIP", 32)
    np.testing.assert_array_equal(neighbours(x, k=12, memory=memory), whole)


def test_threads_change_nothing() -> None:
    x = data("clustered", 800, 64, 4).astype(np.float32)
    before = torch.get_num_threads()
    tables = []
    for count, memory in ((1, 1 << 30), (2, 1 << 30), (2, 1 << 20)):  # the last in two parts, side by side
        torch.set_num_threads(count)
        tables.append(neighbours(x, k=17, memory=memory))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(tables[0], tables[1])
    np.testing.assert_array_equal(tables[0], tables[2])


def test_sources() -> None:
    x = data("random", 300, 24, 5).astype(np.float16)
    expected = neighbours(x, k=9)
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=x.shape, dtype=x.dtype, chunks=(64, 24))
    array[:] = x
    forms = [x.astype(np.float64), torch.from_numpy(x), array, dask.array.from_array(x, chunks=(77, 24))]
    for form in forms:
        table = neighbours(form, k=9, memory=1 << 14)
        assert table.dtype == np.int32
        np.testing.assert_array_equal(table, expected)
    half = torch.from_numpy(x).bfloat16()
    np.testing.assert_array_equal(neighbours(half, k=9), neighbours(half.double(), k=9))


def test_scales_from_tiny_to_huge() -> None:
    x = data("random", 60, 8, 6)
    for scale in (1e-300, 1e-30, 1e300):
        np.testing.assert_array_equal(neighbours(x * scale, k=7), neighbours(x, k=7))
    rows = np.exp2(np.random.default_rng(0).integers(-400, 400, (60, 1)))
    np.testing.assert_array_equal(neighbours(x * rows, k=7), neighbours(x, k=7))


def test_zero_rows_have_cosine_zero() -> None:
    x = np.array([[0, 0], [1, 0], [0, 0], [-1, 0], [1, 1]], np.float32)
    expected = [[1, 2, 3, 4], [4, 0, 2, 3], [0, 1, 3, 4], [0, 2, 4, 1], [1, 0, 2, 3]]
    np.testing.assert_array_equal(neighbours(x, k=4), expected)


def test_many_copies_stay_cheap() -> None:
    """3,000 equal rows: each is compared with k + 1 of them, not with 3,000."""
    x = np.concatenate([np.tile(data("random", 1, 16, 7), (3000, 1)), data("random", 50, 16, 8)]).astype(np.float32)
    found = search(x, k=5)
    assert len(UnitRows(x, k=5, memory=1 << 30, name="x").eligible) == 56
    np.testing.assert_array_equal(found.table[:7, 0], [1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(found.table[2999], [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(found.table[3000:], dense_oracle_last(x, 50, 5))
    assert not found.constant


def dense_oracle_last(x: np.ndarray, last: int, k: int) -> np.ndarray:
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    cosines = np.round(np.einsum("id,jd->ij", unit[-last:], unit), 12)
    cosines[np.arange(last), len(x) - last + np.arange(last)] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def test_nearly_equal_rows_are_split_into_smaller_parts() -> None:
    x = 1.0 + 1e-9 * data("random", 200, 6, 9)
    np.testing.assert_array_equal(neighbours(x, k=3, memory=1), neighbours(x, k=3))


def test_constant_layers_are_flagged() -> None:
    assert search(np.ones((20, 4), np.float32), k=3).constant
    assert search(np.zeros((20, 4), np.float32), k=3).constant
    assert search(np.ones((20, 4)) * np.arange(1, 21)[:, None], k=3).constant
    assert not search(data("cone", 20, 4, 1), k=3).constant


@pytest.mark.parametrize("kind", ["random", "cone", "near-tied"])
@pytest.mark.parametrize("precision", [BFloat16, Float32])
def test_products_stay_within_the_proved_bound(kind: str, precision: Precision) -> None:
    x = data(kind, 500, 300, 10)
    (block,) = UnitRows(x, k=10, memory=1 << 30, name="x").blocks()
    rounded, own = factor(block, precision, torch.device("cpu"))
    out = torch.empty(500, 500, dtype=precision.dtype)
    found = rounded.strip(slice(0, 500)).distances(rounded, slice(0, 500), out).double().numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    true = 1.0 - unit @ unit.T
    allowed = own[:, None] + own
    rounding = np.abs(true) * 2.0**-8 if precision is BFloat16 else 0.0
    error = np.abs(found + allowed - true)
    assert (error <= allowed + rounding + 1e-13).all()
    assert error.max() > 1e-3 * allowed.max()  # the bound is about this arithmetic, not a guess far above it


@pytest.mark.parametrize("coarse", [torch.bfloat16, torch.float32])
def test_products_coarser_than_assumed_are_noticed(coarse: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that multiplies more coarsely than its type says: bfloat16 is given up, float32 is an error."""
    true = {name: getattr(torch, name) for name in ("mm", "addmm")}

    def blurred(name: str, *factors: torch.Tensor, out: torch.Tensor, **scale: float) -> torch.Tensor:
        product: torch.Tensor = true[name](*factors, **scale, out=out)
        return product.mul_(1.02) if out.dtype == coarse else product

    for name in true:
        monkeypatch.setattr(torch, name, partial(blurred, name))
    monkeypatch.setattr(module, "worth_narrowing", lambda *_: True)
    x = data("random", 300, 40, 11)
    if coarse == torch.bfloat16:
        np.testing.assert_array_equal(neighbours(x, k=5), dense_oracle(x, 5))
    else:
        monkeypatch.setattr(module, "worth_narrowing", lambda *_: False)
        with pytest.raises(StructureError, match="set_float32_matmul_precision"):
            neighbours(x, k=5)


@pytest.mark.parametrize("way", ["side by side", "dask", "dask tiles"])
def test_layers_side_by_side_and_as_tasks(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    layers = {f"block.{i:02}": data(kind, 120, 10, i).astype(np.float32) for i, kind in enumerate(KINDS)}
    layers["zeros"] = np.where(np.arange(120)[:, None] % 3 == 0, 0, data("duplicated", 120, 10, 2)).astype(np.float32)
    plain = {name: search(layer, k=6, name=name) for name, layer in layers.items()}
    told: list[str] = []
    options: dict[str, Any] = {} if way == "side by side" else {"compute": dask.compute}
    if way == "side by side":
        monkeypatch.setattr(tables, "searches_at_once", lambda *_: 3)
    if way == "dask tiles":
        options["task_rows"] = 47
    found = neighbour_tables(layers, k=6, on_table=lambda name, _: told.append(name), **options)
    assert torch.get_num_threads() == 1  # as this folder's tests set it
    assert list(found) == told == list(layers)
    for name in layers:
        np.testing.assert_array_equal(plain[name].table, found[name].table)
        assert plain[name].constant == found[name].constant


def test_how_many_layers_fit_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    small, large = np.empty((5000, 768), np.float16), np.empty((100_000, 384), np.float16)
    assert tables.searches_at_once(dict.fromkeys("abcd", small), 1 << 30) == 4
    assert tables.searches_at_once(dict.fromkeys("abcdefghijkl", small), 1 << 30) == 8
    assert tables.searches_at_once(dict.fromkeys("abcd", large), 1 << 30) == 1
    assert tables.searches_at_once({}, 1 << 30) == 1


@pytest.mark.parametrize(
    ("x", "k", "words"),
    [
        (np.ones((5, 3)), 5, ["5 rows", "at least 6", "--k 4"]),
        (np.ones((5, 3)), 0, ["k is 0"]),
        (np.ones((5, 3, 2)), 2, ["block.07", "(5, 3, 2)", "--pool"]),
        (np.array([[1, 2], [np.nan, 1], [3, 4]]), 1, ["block.07", "nan at row 1"]),
        (np.array([[1, 2], [3, 4], [1, np.inf]], np.float16), 1, ["block.07", "inf at row 2"]),
    ],
)
def test_errors_name_layer_numbers_and_remedy(x: np.ndarray, k: int, words: list[str]) -> None:
    with pytest.raises(StructureError) as error:
        neighbours(x, k=k, name="block.07")
    for word in words:
        assert word in str(error.value)


def test_a_table_is_int32() -> None:
    with pytest.raises(TypeError, match="int32"):
        Neighbours(np.zeros((3, 2)))
