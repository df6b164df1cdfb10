from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.pipeline.aligners import square_blocks
from structure.pipeline.aligners.losses import structure_gradients as module
from structure.pipeline.aligners.losses.similarity_space import SimilaritySpace
from structure.pipeline.aligners.losses.structure_loss import freeze, structure_loss
from structure.store.errors import StructureError


@pytest.fixture(params=["held", "tiled"])
def small_tiles(monkeypatch, request):
    """Tiles of 64 rows, so that a batch of 150 takes three and the last is short; squares held, and not."""
    monkeypatch.setitem(module._TILE, "cpu", 1)
    for by_blocks in (module, square_blocks):
        monkeypatch.setattr(by_blocks, "BLOCK", 48)
    if request.param == "tiled":
        monkeypatch.setattr(module, "_HELD", 0)


def pair(rows=150, width=20, dim=12, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(rows, width, generator=generator, dtype=dtype)
    return before, torch.randn(rows, dim, generator=generator, dtype=dtype).requires_grad_()


def plain(
    before,
    after,
    *,
    temperature=0.05,
    levels=1,
    divergence="js",
    centring="mean",
    first=False,
    uniform=False,
    similarity="cosine",
    gamma=1.0,
):
    """The formula written out, with autograd through everything."""

    def matrix(x):
        def centred(z):
            z = z if centring == "none" else z - z.mean(0)
            return z / z.std(0, correction=0) if centring == "standard" else z

        z = F.normalize(centred(x), dim=1) if first else centred(F.normalize(x, dim=1))
        if similarity == "rbf":
            return torch.softmax(torch.exp(-gamma * (z[:, None] - z).square().sum(2)) / temperature, dim=1)
        return torch.softmax(z @ z.T / temperature, dim=1)

    p, q = matrix(before), matrix(after)
    total = 0
    for level in range(1, levels + 1):
        a, b = torch.matrix_power(p, level), torch.matrix_power(q, level)
        m = (a + b) / 2
        if divergence == "js":
            rows = (a * (a / m).log() + b * (b / m).log()).sum(1) / 2
        else:
            a, b, m = a + 1e-12, b + 1e-12, m + 1e-12
            rows = (m * (m / a).log() + m * (m / b).log()).sum(1) / 2
        total = total + rows.mean() / (1 if uniform else level)
    return total / levels


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("divergence", ["js", "released"])
def test_golden_values_and_gradients(golden: Path, dtype, divergence):
    file = np.load(golden / "structure_loss.npz")
    exact = dtype == torch.float64
    for t, temperature in enumerate(file["taus"]):
        for index, levels in enumerate(file["levels"]):
            after = torch.tensor(file["after"], dtype=dtype, requires_grad=True)
            value = structure_loss(
                file["before"], after, levels=int(levels), temperature=float(temperature), divergence=divergence
            )
            expected = file[f"expected_{divergence}"][t, index]
            assert value.ndim == 0
            assert value.item() == pytest.approx(expected, rel=1e-6 if exact else 1e-4)
            if levels == 1:
                value.backward()
                wanted = file[f"grad_{divergence}_level1"][t]
                error = np.abs(after.grad.numpy() - wanted).max() / np.abs(wanted).max()
                assert error <= (1e-6 if exact else 1e-3)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("options", [
    {},
    {"divergence": "released"},
    {"centring": "none"},
    {"centring": "standard", "temperature": 1.0},
    {"first": True},
    {"levels": 2},
    {"levels": 3, "uniform": True},
    {"levels": 2, "divergence": "released", "temperature": 0.2},
    {"similarity": "rbf", "gamma": 0.7},
    {"similarity": "rbf", "levels": 2, "centring": "none"},
])  # fmt: skip
def test_tiles_match_the_plain_formula(options):
    before, after = pair()
    expected = plain(before, after, **options)
    (wanted,) = torch.autograd.grad(expected, after)
    named = dict(options)
    named["centre_first"] = named.pop("first", False)
    named["weighting"] = "uniform" if named.pop("uniform", False) else "inverse"
    value = structure_loss(before, after, **named)
    (gradient,) = torch.autograd.grad(value, after)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-7, atol=1e-10)


def test_spearman_is_the_rank_correlation_and_has_no_gradient():
    from scipy.stats import spearmanr

    before, after = pair(rows=40)
    value = structure_loss(before, after, similarity="spearman", temperature=0.3)
    p, q = (
        torch.softmax(torch.from_numpy(spearmanr(z.detach().numpy(), axis=1).statistic) / 0.3, dim=1)
        for z in ((F.normalize(x, dim=1) - F.normalize(x, dim=1).mean(0)) for x in (before, after))
    )
    m = (p + q) / 2
    wanted = ((p * (p / m).log() + q * (q / m).log()).sum(1) / 2).mean()
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)
    assert not value.requires_grad


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("levels", [1, 3])
def test_gradcheck(levels):
    before, after = pair(rows=70 if levels == 1 else 9, width=5, dim=2)
    assert torch.autograd.gradcheck(lambda a: structure_loss(before, a, levels=levels, temperature=0.3), (after,))


@pytest.mark.parametrize("levels", [1, 2])
def test_margin_is_a_floor_with_no_gradient_below(levels):
    before, after = pair(rows=30)
    value = structure_loss(before, after, levels=levels)
    assert structure_loss(before, after, levels=levels, margin=1.0).item() == 0
    less = structure_loss(before, after, levels=levels, margin=0.001, weighting="uniform")
    assert less.item() == pytest.approx(
        structure_loss(before, after, levels=levels, weighting="uniform").item() - 0.001, rel=1e-9
    )
    (gradient,) = torch.autograd.grad(structure_loss(before, after, levels=levels, margin=1.0), after)
    assert value.item() > 0
    assert gradient.abs().max() == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 90), scale=st.floats(0.01, 100), levels=st.integers(1, 3))
def test_invariants(seed, rows, scale, levels):
    before, after = pair(rows=rows, seed=seed)
    after = after.detach()
    value = structure_loss(before, after, levels=levels)
    assert -1e-12 <= value.item() <= math.log(2)
    rotation = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))[0]
    order = torch.randperm(rows)
    moved = structure_loss(before[order], (scale * after @ rotation)[order], levels=levels)
    torch.testing.assert_close(moved, value, rtol=1e-8, atol=1e-10)
    assert abs(structure_loss(after, after * scale, levels=levels).item()) < 1e-10


@pytest.mark.parametrize("levels", [1, 2])
def test_collapsed_and_zero_rows_stay_finite_in_float32(levels):
    before, _ = pair(dtype=torch.float32)
    for rows in (torch.ones(150, 12), torch.zeros(150, 12), 1e4 * torch.eye(150, 12) + 1e-6):
        after = rows.clone().requires_grad_()
        value = structure_loss(before, after, levels=levels, temperature=0.01)
        value.backward()
        assert 0 <= value.item() <= math.log(2)
        assert torch.isfinite(after.grad).all()


def test_released_is_not_bounded():
    before, _ = pair()
    assert structure_loss(before, torch.ones(150, 4, dtype=torch.float64), divergence="released").item() > math.log(2)


@pytest.mark.usefixtures("small_tiles")
def test_kept_frozen_side_is_the_same():
    before, after = pair()
    for levels in (1, 2):
        kept = structure_loss(freeze(before), after, levels=levels)
        torch.testing.assert_close(kept, structure_loss(before, after, levels=levels), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="another temperature"):
        structure_loss(freeze(before, SimilaritySpace(0.1)), after, temperature=0.2)


def test_numpy_half_and_autocast_compute_in_float32():
    before, after = pair(dtype=torch.float32)
    wanted = structure_loss(before, after)
    given_numpy = structure_loss(before.numpy(), after.detach().numpy())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = structure_loss(before, after)
    assert wanted.dtype == given_numpy.dtype == cast.dtype == torch.float32
    assert given_numpy.item() == cast.item() == wanted.item()
    assert structure_loss(before.half(), after.half()).item() == pytest.approx(wanted.item(), rel=1e-2)
    assert not structure_loss(before, after.detach()).requires_grad


def test_level_1_holds_no_square_buffer(monkeypatch):
    """Largest allocation of forward and backward at 2,048 rows: a tile and the inputs, far below N x N."""
    monkeypatch.setattr(module, "_HELD", 0)
    rows = 2048
    before, after = pair(rows=rows, width=8, dim=8, dtype=torch.float32)
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                Largest.elements = max(Largest.elements, out.numel())
            return out

    with Largest():
        structure_loss(before, after).backward()
    assert Largest.elements <= rows * rows // 8


def test_unknown_options_and_wrong_shapes():
    before, after = pair(rows=10)
    with pytest.raises(StructureError, match="Did you mean released"):
        structure_loss(before, after, divergence="release")
    with pytest.raises(StructureError, match="Did you mean cosine"):
        structure_loss(before, after, similarity="cosin")
    with pytest.raises(StructureError, match="weighting"):
        structure_loss(before, after, weighting="linear")
    with pytest.raises(ValueError, match="9 rows"):
        structure_loss(before[:9], after)
    with pytest.raises(ValueError, match="temperature"):
        structure_loss(before, after, temperature=0)
