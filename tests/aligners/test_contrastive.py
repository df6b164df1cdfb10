from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from structure.pipeline import float32_products as products
from structure.pipeline.aligners.losses import contrastive as module
from structure.pipeline.aligners.losses.contrastive import info_nce, sigmoid_loss


def embeddings(rows=150, dim=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(rows, dim, generator=generator, dtype=torch.float64) for _ in "ab"]
    return [side.requires_grad_() for side in made]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden_info_nce(golden: Path, dtype):
    file = np.load(golden / "info_nce.npz")
    exact = dtype == torch.float64
    a, b = (torch.tensor(file[side], dtype=dtype, requires_grad=True) for side in "ab")
    loss = info_nce(a, b, temperature=float(file["tau"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(file["loss"]), rel=1e-9 if exact else 1e-5)
    for side, name in ((a, "grad_a"), (b, "grad_b")):
        wanted = file[name]
        assert np.abs(side.grad.numpy() - wanted).max() <= (1e-8 if exact else 1e-4) * np.abs(wanted).max()


@pytest.mark.parametrize("held", [0, 1 << 24])
def test_info_nce_tiles_and_learnt_temperature(monkeypatch, held):
    monkeypatch.setitem(module._TILE, "cpu", 1)
    monkeypatch.setattr(module, "_HELD", held)
    a, b = embeddings()
    temperature = torch.tensor(0.07, dtype=torch.float64, requires_grad=True)
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    target = torch.arange(len(a))
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    wanted = torch.autograd.grad(expected, (a, b, temperature))
    value = info_nce(a, b, temperature=temperature)
    torch.testing.assert_close(value, expected)
    for got, want in zip(torch.autograd.grad(value, (a, b, temperature)), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)


def test_logits_too_far_apart_for_one_exponential():
    """The first row has no logit within e^-200 of the largest: its sum would be 0."""
    a, b = torch.eye(8), torch.eye(8)
    b[0] = -1
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.005
    expected = (F.cross_entropy(logits, torch.arange(8)) + F.cross_entropy(logits.T, torch.arange(8))) / 2
    torch.testing.assert_close(info_nce(a, b, temperature=0.005), expected)


@pytest.mark.parametrize("tile", [1, 1 << 22])
def test_sigmoid_loss_against_the_formula(monkeypatch, tile):
    monkeypatch.setitem(module._TILE, "cpu", tile)
    a, b = embeddings()
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (20.0, -10.0))
    logits = scale * F.normalize(a, dim=1) @ F.normalize(b, dim=1).T + bias
    signs = 2 * torch.eye(len(a), dtype=torch.float64) - 1
    expected = -F.logsigmoid(signs * logits).sum() / len(a)
    wanted = torch.autograd.grad(expected, (a, b, scale, bias))
    value = sigmoid_loss(a, b, scale=scale, bias=bias)
    torch.testing.assert_close(value, expected)
    for got, want in zip(torch.autograd.grad(value, (a, b, scale, bias)), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-12)


@pytest.mark.skipif(not products._mkl_is_slow(), reason="this processor takes MKL")
@pytest.mark.parametrize("turned", [False, True])
def test_both_libraries_give_the_same_product(monkeypatch, turned):
    monkeypatch.setattr(products, "LEAST", 1 << 20)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(300, 200, generator=generator) for _ in "ab")
    a, b = (a.T.contiguous().T, b.T.contiguous().T) if turned else (a, b)
    assert len(a) * b.numel() >= products.LEAST
    exact = (a.double() @ b.double().T).float()
    torch.testing.assert_close(products.by_transpose(a, b), exact, rtol=1e-5, atol=1e-4)


def test_known_values():
    same = torch.eye(8)
    assert info_nce(torch.ones(8, 3), torch.ones(8, 3), temperature=0.05).item() == pytest.approx(math.log(8), rel=1e-5)
    assert info_nce(same, same, temperature=0.01).item() == pytest.approx(0, abs=1e-6)
    assert sigmoid_loss(same.numpy(), same.numpy(), scale=100.0, bias=-50.0).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        info_nce(same, same[:4])
