"""Multinomial logistic regression on frozen rows, as scikit-learn defines it, with gradients summed block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from structure.pipeline.metrics.matrices import Array, as_labels, as_numpy, blocks, unit_rows
from structure.store.errors import StructureError

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Inverse strengths C of the penalty that are tried, weakest fit first; Radford et al. 2021, A.3, sweep as far."""
FEW = 5
"""Below this many training samples a class none is held out, and C is `FIXED`."""
FIXED = 10.0
HELD_OUT = 0.2
_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Probe:
    """`(n, dim)` unit rows -> logits `rows @ weight + bias`; `weight` (dim, classes) and `bias` (classes,) float64.

    `strength` is the C it was fitted with; `chosen` whether a held-out part of the training rows chose it.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    chosen: bool

    def logits(self, rows: Array) -> torch.Tensor:
        """(n, classes) float32 scores of rows of any length; they are brought to unit length here."""
        unit = unit_rows(rows, name="rows of the linear probe")
        weight, bias = (torch.from_numpy(values).to(unit) for values in (self.weight, self.bias))
        return unit @ weight + bias


def fit_probe(rows: Array, labels: Array, *, classes: int, seed: int = 0) -> Probe:
    """Fit on unit rows. C is the one of `STRENGTHS` with the best accuracy on a seeded fifth of every class; the probe
    is then fitted to all rows. With fewer than `FEW` samples a class on average nothing is held out and C is `FIXED`.

    Raises StructureError unless at least two classes occur.
    """
    unit = unit_rows(rows, name="training rows of the linear probe")
    truth = as_labels(labels, rows=len(unit), classes=classes)
    occurring = int((torch.bincount(truth, minlength=classes) > 0).sum())
    if occurring < 2:
        raise StructureError(f"{occurring} class(es) occur in the {len(unit)} training rows: a linear probe needs two.")
    held = _held_out(truth.numpy(), seed=seed)
    if len(unit) < FEW * occurring or not held.any():
        return _fit(unit, truth, classes, FIXED, start=None, chosen=False)
    kept, out = torch.from_numpy(~held), torch.from_numpy(held)
    best, most, probe = FIXED, -1.0, None
    for strength in STRENGTHS:
        probe = _fit(unit[kept.to(unit.device)], truth[kept], classes, strength, start=probe, chosen=True)
        said = probe.logits(unit[out.to(unit.device)]).argmax(dim=1).cpu()
        right = float((said == truth[out]).float().mean())
        if right > most:
            best, most = strength, right
    return _fit(unit, truth, classes, best, start=probe, chosen=True)


def draw_shots(labels: np.ndarray, shots: int, *, seed: int) -> np.ndarray:
    """Row numbers of `shots` samples of every class that occurs, drawn by `seed`; ascending.

    Raises StructureError where a class has fewer: a mean over unequal classes would not be that many shots.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        if len(rows) < shots:
            raise StructureError(f"Class {label} has {len(rows)} training samples; {shots} shots were asked for.")
        chosen.append(random.permutation(rows)[:shots])
    return np.sort(np.concatenate(chosen))


def _held_out(labels: np.ndarray, *, seed: int) -> np.ndarray:
    """(n,) bool: a fifth of every class, none of a class with fewer than two samples."""
    random = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        held[rows[: round(HELD_OUT * len(rows))] if len(rows) > 1 else rows[:0]] = True
    return held


def _fit(
    unit: torch.Tensor, labels: torch.Tensor, classes: int, strength: float, *, start: Probe | None, chosen: bool
) -> Probe:
    """Minimise mean cross-entropy + |W|^2 / (2 C n), without a penalty on the bias (scikit-learn's definition)."""
    from scipy.optimize import minimize

    n, dim = unit.shape
    rows, truth = unit.double(), labels.to(unit.device)
    penalty = 1 / (strength * n)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat[:-classes].reshape(dim, classes)).to(rows)
        bias = torch.from_numpy(flat[-classes:]).to(rows)
        value, slope, drift = 0.0, torch.zeros_like(weight), torch.zeros_like(bias)
        for part in blocks(n, classes, at_once=_AT_ONCE):
            logits = rows[part] @ weight + bias
            over = logits.logsumexp(dim=1)
            value += float((over - logits.gather(1, truth[part, None])[:, 0]).sum())
            wrong = (logits - over[:, None]).exp_()
            wrong.scatter_add_(1, truth[part, None], -torch.ones_like(wrong[:, :1]))
            slope += rows[part].T @ wrong
            drift += wrong.sum(dim=0)
        value = value / n + penalty / 2 * float((weight**2).sum())
        slope = slope / n + penalty * weight
        return value, np.concatenate([as_numpy(slope).ravel(), as_numpy(drift / n)])

    first = np.zeros((dim + 1) * classes) if start is None else np.concatenate([start.weight.ravel(), start.bias])
    options = {"maxiter": 1000, "gtol": 1e-5, "ftol": 1e-9}
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options=options)
    return Probe(found.x[:-classes].reshape(dim, classes), found.x[-classes:], strength, chosen)
