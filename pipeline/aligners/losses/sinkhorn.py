"""Entropic transport plans between two sets of rows, by Sinkhorn's iterations in a fixed number.

A plan of n x m similarities K at temperature epsilon is P_ij = exp(K_ij / epsilon + u_i + v_j), where u and v make its
row sums 1/n and its column sums 1/m in turns (Cuturi, NIPS 2013). The iterations need a log-sum-exp over all
similarities each, which is slow. Here the plan of some potentials is made once, and what follows are products of that
matrix with scaling vectors, until these have moved so far that its entries would no longer do (Schmitzer, SIAM J. Sci.
Comput. 41, 2019, section 3.2): the same potentials to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

WARM = 2
"""Iterations by log-sum-exp at the beginning, where potentials move most."""

FAR = 12.0
"""How far, in logs, scaling vectors move before the plan is made again: an entry that was too small for float32 then
still has no part in any sum."""

TILE = 1 << 18
"""Similarities that are worked on at a time."""


def potentials(
    similarities: torch.Tensor, *, epsilon: float, iterations: int, buffer: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """u (n,) and v (m,) of similarities (n, m), starting at v = 0, symmetrised in the end as SOTAlign's code does: once
    more both from the old partners, and the mean of old and new, which moves u alone, since v was made from u last.

    Neither marginal then holds exactly. `buffer` (n, m) is overwritten where it is given. Same dtype as the input.
    """
    n, m = similarities.shape
    log_a, log_b = -math.log(n), -math.log(m)
    scale = 1 / epsilon
    plan = torch.empty_like(similarities) if buffer is None else buffer
    v = similarities.new_zeros(m)
    u = similarities.new_zeros(n)
    done = 0
    while done < iterations:
        u = log_a - _over_columns(similarities, v, scale)
        v = log_b - _over_rows(similarities, u, scale)
        done += 1
        if done < min(WARM, iterations):
            continue
        write_plan(similarities, u, v, scale=scale, out=plan)
        right = torch.ones_like(v)
        while done < iterations:
            left = (1 / n) / (plan @ right)
            further = (1 / m) / (plan.T @ left)
            moved = torch.stack([left.log().abs().max(), further.log().abs().max()])
            if not bool(torch.isfinite(moved).all()):
                break  # a sum has underflowed: the next iteration is by log-sum-exp
            done += 1
            right = further
            if float(moved.max()) > FAR:
                u, v, right = u + left.log(), v + right.log(), torch.ones_like(v)
                write_plan(similarities, u, v, scale=scale, out=plan)
                continue
            if done == iterations:
                u = u + left.log()
        v = v + right.log()
    return (u + log_a - _over_columns(similarities, v, scale)) / 2, v


def write_plan(
    similarities: torch.Tensor, u: torch.Tensor, v: torch.Tensor, *, scale: float, out: torch.Tensor
) -> torch.Tensor:
    """exp(K scale + u_i + v_j) into `out` (n, m), which is returned."""
    for rows in tiles(*similarities.shape):
        torch.mul(similarities[rows], scale, out=out[rows])
        out[rows].add_(u[rows, None]).add_(v).exp_()
    return out


def tiles(rows: int, columns: int) -> Iterator[slice]:
    """Slices of the rows, of at most `TILE` similarities each."""
    step = max(1, TILE // max(columns, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _over_columns(similarities: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """(n,) log-sum-exp over j of K_ij scale + v_j."""
    return torch.cat([torch.logsumexp(similarities[rows] * scale + v, 1) for rows in tiles(*similarities.shape)])


def _over_rows(similarities: torch.Tensor, u: torch.Tensor, scale: float) -> torch.Tensor:
    """(m,) log-sum-exp over i of K_ij scale + u_i."""
    total: torch.Tensor | None = None
    for rows in tiles(*similarities.shape):
        part = torch.logsumexp(similarities[rows] * scale + u[rows, None], 0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total
