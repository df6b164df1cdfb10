"""The STRUCTURE regulariser R_S: how far the aligned space has moved from the neighbourhoods of the frozen one.

Source: "With Limited Data for Multimodal Alignment, Let the STRUCTURE Guide You", arXiv 2506.16895, section 3.2. For
N rows: unit rows, minus their mean; S = Z Z^T / temperature; P = row softmax of S, diagonal kept; P^l its matrix power;
R_S = (1/L) sum_l w_l mean_rows JS(P_before^l, P_after^l), with w_l = 1/l ("inverse") or 1 ("uniform").

At level 1 value and gradient come from one pass over row tiles. With G_ij = q_ij (g_ij - sum_k q_ik g_ik) / N and g
the slope of the divergence in q, the gradient in Z is (G + G^T) Z / temperature. Above 4,096 rows nothing of size N x N
is held: a tile of G gives its rows of the first product and its share of the second. Up to 4,096 rows S of `after` is
held, and the upper half of the frozen S (96 MB at most): symmetry then halves the products, half of each S and one
product with G + G^T instead of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F

from structure.pipeline.aligners.arrays import Array, as_tensor, computing_dtype
from structure.store.errors import unknown

Divergence = Literal["js", "released"]
Weighting = Literal["inverse", "uniform"]
Centring = Literal["mean", "none", "standard"]

LogRows = Callable[[slice], torch.Tensor]

RELEASED_EPS = 1e-12
_TILE = {"cpu": 1 << 19}
"""Elements of one tile: on a CPU a few tiles must fit the cache, elsewhere they should fill the device."""

_HELD = 1 << 24
"""Elements of a square matrix that may be held at level 1."""
_STRIP = 256


@dataclass(frozen=True)
class Frozen:
    """The frozen side of R_S, kept: `log_p` (N, N) is the log of its row softmax. For a batch that never changes."""

    log_p: torch.Tensor
    temperature: float
    centring: Centring
    centre_first: bool


def structure_loss(
    before: Array | Frozen,
    after: Array,
    *,
    levels: int = 1,
    temperature: float = 0.05,
    divergence: Divergence = "js",
    weighting: Weighting = "inverse",
    centring: Centring = "mean",
    centre_first: bool = False,
    margin: float = 0.0,
) -> torch.Tensor:
    """R_S of one modality: a 0-d tensor on the device of `after`, the mean over rows, differentiable in `after`.

    `before` (N, d) are the frozen features, `after` (N, e) the aligned ones, raw: rows are normalised here. `before`
    is a constant, and may be what `freeze` kept of it. float64 if `after` is, else float32, whatever autocast says.

    `divergence`: "js" is Jensen-Shannon with natural logs, in [0, log 2]. "released" is what the authors' code
    computes, 1/2 [KL(M || P_after) + KL(M || P_before)] with 1e-12 added to each probability: not bounded.
    `centring`: subtract the column mean, nothing, or also divide by the (population) standard deviation; after the
    rows are normalised, or before it with `centre_first`. `margin` is subtracted from each level, floor 0.
    Raises StructureError for an unknown option, ValueError where shapes or numbers make no sense.
    """
    for kind, value, known in (
        ("divergence", divergence, Divergence),
        ("weighting", weighting, Weighting),
        ("centring", centring, Centring),
    ):
        if value not in get_args(known):
            raise unknown(kind, value, get_args(known))
    aligned = as_tensor(after)
    dtype = computing_dtype(aligned)
    rows = len(before.log_p) if isinstance(before, Frozen) else len(before)
    if aligned.ndim != 2 or rows != len(aligned) or not rows:
        raise ValueError(f"before has {rows} rows, after has shape {tuple(aligned.shape)}: row i must be row i")
    if levels < 1 or temperature <= 0:
        raise ValueError(f"levels={levels} must be at least 1 and temperature={temperature} positive")
    with torch.autocast(aligned.device.type, enabled=False):
        z = _space(aligned.to(dtype), centring, centre_first)
        if isinstance(before, Frozen):
            if (before.temperature, before.centring, before.centre_first) != (temperature, centring, centre_first):
                raise ValueError("the frozen side was kept for another temperature or centring")
            log_p: LogRows = before.log_p.__getitem__
        else:
            with torch.no_grad():
                features = as_tensor(before).detach().to(aligned.device, dtype)
                log_p = _log_rows(_space(features, centring, centre_first), temperature)
        weights = [1 / (levels * (level if weighting == "inverse" else 1)) for level in range(1, levels + 1)]
        loss: torch.Tensor = (_Tiled if levels == 1 else _Powers).apply(
            z, log_p, temperature, divergence, weights, margin
        )
    return loss


@torch.no_grad()
def freeze(
    before: Array, *, temperature: float = 0.05, centring: Centring = "mean", centre_first: bool = False
) -> Frozen:
    """The frozen side computed once: N x N numbers, worth it where the batch is the whole set and fits."""
    features = as_tensor(before)
    z = _space(features.to(computing_dtype(features)), centring, centre_first)
    log_p = _gram(z, temperature)
    for start, stop in _tiles(z):
        log_p[start:stop] = torch.log_softmax(log_p[start:stop], dim=1)
    return Frozen(log_p, temperature, centring, centre_first)


def _space(x: torch.Tensor, centring: Centring, centre_first: bool) -> torch.Tensor:
    """Unit rows, centred; the order matters because rows are not normalised again."""

    def centred(rows: torch.Tensor) -> torch.Tensor:
        if centring == "none":
            return rows
        moved = rows - rows.mean(dim=0)
        if centring == "mean":
            return moved
        spread = moved.square().mean(dim=0).sqrt()
        return moved / spread.clamp_min(1e-12)

    return F.normalize(centred(x), dim=1) if centre_first else centred(F.normalize(x, dim=1))


def _tiles(z: torch.Tensor) -> Iterator[tuple[int, int]]:
    rows = len(z)
    step = max(64, min(rows, _TILE.get(z.device.type, 1 << 25) // rows))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def _log_rows(z: torch.Tensor, temperature: float) -> LogRows:
    """Rows of the log of the row softmax of S, tile by tile on demand; where it may be held, from its upper half."""
    if len(z) ** 2 > _HELD:
        return lambda mine: torch.log_softmax((z[mine] / temperature) @ z.T, dim=1)
    starts = [start for start, _ in _tiles(z)]
    strips = [(z[start:stop] / temperature) @ z[start:].T for start, stop in _tiles(z)]

    def rows(mine: slice) -> torch.Tensor:
        at = starts.index(mine.start)
        left = [
            strip[:, mine.start - start : mine.stop - start].T
            for start, strip in zip(starts[:at], strips, strict=False)
        ]
        return torch.log_softmax(torch.cat([*left, strips[at]], dim=1), dim=1)

    return rows


def _gram(z: torch.Tensor, temperature: float) -> torch.Tensor:
    """Z Z^T / temperature (N, N), strip by strip above the diagonal and mirrored: half the work of the product."""
    out = torch.empty(len(z), len(z), dtype=z.dtype, device=z.device)
    for start in range(0, len(z), _STRIP):
        stop = start + _STRIP
        torch.mm(z[start:stop] / temperature, z[start:].T, out=out[start:stop, start:])
        out[stop:, start:stop] = out[start:stop, stop:].T
    return out


def _add_transpose(square: torch.Tensor) -> torch.Tensor:
    """G + G^T, in place."""
    for start in range(0, len(square), _STRIP):
        stop = start + _STRIP
        # A new strip: adding in place would read what it has already written.
        strip = square[start:stop, start:] + square[start:, start:stop].T
        square[start:stop, start:] = strip
        square[start:, start:stop] = strip.T
    return square


def _compare(
    log_p: torch.Tensor, log_q: torch.Tensor, divergence: Divergence, *, slope: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Sum over all entries of the divergence, q, and its derivative in q entry by entry.

    Jensen-Shannon through log(q / m) = log 2 - softplus(log p - log q), m = (p + q) / 2: exact where p and q are
    close, finite where one of them is 0 in floating point. d JS / d q = log(q / m) / 2.
    """
    p, q = log_p.exp(), log_q.exp()
    if divergence == "js":
        gap = log_p - log_q
        q_over_m = F.softplus(gap, threshold=40).neg_().add_(math.log(2))
        p_over_m = gap.add_(q_over_m)
        total = (torch.vdot(p.view(-1), p_over_m.view(-1)) + torch.vdot(q.view(-1), q_over_m.view(-1))) / 2
        return total, q, q_over_m.div_(2) if slope else None
    p.add_(RELEASED_EPS)
    raised = q + RELEASED_EPS
    m = (p + raised).div_(2)
    excess = m.log().sub_(p.log_(), alpha=0.5).sub_(raised.log(), alpha=0.5)
    total = torch.vdot(m.view(-1), excess.view(-1))
    return total, q, excess.add_(1).sub_(m.div_(raised)).div_(2) if slope else None


def _through_softmax(q: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Gradient in the logits of a row softmax, written over `slope`."""
    return slope.sub_((q * slope).sum(dim=1, keepdim=True)).mul_(q)


class _Tiled(torch.autograd.Function):
    """Level 1. The gradient is made in the forward pass, while each tile is at hand, and only scaled in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        z: torch.Tensor,
        log_rows: LogRows,
        temperature: float,
        divergence: Divergence,
        weights: list[float],
        margin: float,
    ) -> torch.Tensor:
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        total = z.new_zeros(())
        grad = torch.zeros_like(z) if slope else None
        held = rows * rows <= _HELD
        of_q = _gram(z, temperature) if held else z
        for start, stop in _tiles(z):
            mine = slice(start, stop)
            s_q = of_q[mine] if held else (z[mine] / temperature) @ z.T
            part, q, change = _compare(log_rows(mine), torch.log_softmax(s_q, dim=1), divergence, slope=slope)
            total += part
            if grad is None or change is None:
                continue
            pull = _through_softmax(q, change)
            if held:
                of_q[mine] = pull
            else:
                grad[mine].addmm_(pull, z)
                grad.addmm_(pull.T, z[mine])
        if grad is not None and held:
            torch.mm(_add_transpose(of_q), z, out=grad)
        value = total / rows
        above = (value > margin).to(z.dtype)
        if grad is not None:
            ctx.save_for_backward(grad.mul_(above * (weights[0] / (rows * temperature))))
        return (value - margin) * above * weights[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * upstream, None, None, None, None, None


class _Powers(torch.autograd.Function):
    """Levels above 1: the powers of both matrices are dense.

    With D_l the slope in P^l, the slope in P is collected by l = L..2: dP += (P^(l-1))^T D_l; D_(l-1) += D_l P^T.
    """

    @staticmethod
    def forward(
        ctx: Any,
        z: torch.Tensor,
        log_rows: LogRows,
        temperature: float,
        divergence: Divergence,
        weights: list[float],
        margin: float,
    ) -> torch.Tensor:
        slope = ctx.needs_input_grad[0]
        rows = len(z)
        tiny = torch.finfo(z.dtype).tiny
        first = torch.cat([log_rows(slice(*tile)) for tile in _tiles(z)]).exp_()
        powers = [torch.softmax(_gram(z, temperature), dim=1)]
        power = first
        loss = z.new_zeros(())
        slopes: list[torch.Tensor] = []
        for level, weight in enumerate(weights):
            if level:
                power = power @ first
                powers.append(powers[-1] @ powers[0])
            change = torch.empty_like(power) if slope else None
            value = z.new_zeros(())
            for start, stop in _tiles(z):
                log_p = power[start:stop].clamp_min(tiny).log_()
                log_q = powers[level][start:stop].clamp_min(tiny).log_()
                part, _, tile = _compare(log_p, log_q, divergence, slope=slope)
                value += part / rows
                if change is not None and tile is not None:
                    change[start:stop] = tile
            above = (value > margin).to(z.dtype) * weight
            loss += (value - margin) * above
            if change is not None:
                slopes.append(change.mul_(above / rows))
        if slope:
            del power, first
            collected = slopes[-1]
            pull = torch.zeros_like(collected)
            for level in range(len(weights) - 1, 0, -1):
                pull.addmm_(powers[level - 1].T, collected)
                powers.pop()
                collected = slopes[level - 1].addmm_(collected, powers[0].T)
                slopes.pop()
            logits = _through_softmax(powers[0], pull.add_(collected))
            ctx.save_for_backward((_add_transpose(logits) @ z).div_(temperature))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = ctx.saved_tensors
        return grad * upstream, None, None, None, None, None
