"""An epoch of several trainings of one shape as one: every tensor has a leading run dimension.

The runs differ in their pairs, seeds, learning rates and weights of R_S (0 among them). Each keeps its own batches,
rates and optimiser; what it learns is what it learns alone, to rounding: sums may be taken in another order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from structure.pipeline.aligners.adamw import EPSILON
from structure.pipeline.aligners.losses.stacked import frozen_softmax, stacked_info_nce, stacked_structure_loss
from structure.pipeline.aligners.losses.structure_loss import Frozen
from structure.pipeline.aligners.objective import PairBatch
from structure.pipeline.aligners.option_groups import PairOptions
from structure.pipeline.aligners.pair_objective import PairObjective
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.trainer import BETAS, PARTS, Trainer, validation_row
from structure.store.errors import StructureError

LARGEST_BATCH = 1024
"""Pairs of a batch up to which runs are stacked: larger ones spend their time in products as it is."""

_OWN = (
    *("seed", "learning_rate", "least_rate", "range_test", "epochs", "patience", "cosine", "validation", "refit"),
    *("weight", "weight_vision", "weight_text", "combine", "warm_up", "warm_up_steps", "selection", "extras"),
    *("extra_rows", "regulariser", "mix"),
)
"""Options in which runs that are stacked may differ."""

_ONE_WAY: Mapping[str, Any] = {
    "loss": "info_nce",
    "learnable_scale": False,
    "precision": "fp32",
    "levels": 1,
    "divergence": "js",
    "similarity": "cosine",
    "margin": 0.0,
    "rs_affinity": "softmax",
}
"""Options that have one value in runs that are stacked."""


def shape_of(run: Trainer) -> tuple[Any, ...] | None:
    """What runs must have in common to be stacked; None for one that is trained alone."""
    objective, options, source = run.objective, run.options, run.source
    heads = (objective.vision, objective.text)
    if type(objective) is not PairObjective or not all(head.stacks for head in heads):
        return None
    stated = options.to_dict()
    if source.whole or run.extras or options.batch > LARGEST_BATCH or not isinstance(run.options, PairOptions):
        return None
    if any(stated[name] != value for name, value in _ONE_WAY.items()):
        return None
    held_out = 0 if run.validation is None else len(run.validation.vision)
    common = tuple(sorted((name, str(value)) for name, value in stated.items() if name not in _OWN))
    return (*common, source.rows, source.widths, held_out, str(run.device))


class StackedEpoch:
    """One epoch of `runs` of one shape, whose numbers are `epochs`."""

    def __init__(self, runs: Sequence[Trainer], epochs: Sequence[int]) -> None:
        self.runs, self.epochs, self.options, self.device = runs, epochs, runs[0].options, runs[0].device
        objectives = [run.objective for run in runs]
        self.heads = objectives[0].vision, objectives[0].text
        self.space = objectives[0].space  # type: ignore[attr-defined]
        self.shares = self._tensor([run.objective.side_shares for run in runs])  # type: ignore[attr-defined]
        self.structured = [number for number, run in enumerate(runs) if run.structure is not None]
        self.names = [name for name, value in objectives[0].named_parameters() if value.requires_grad]
        moving = zip(*(run.optimiser.parameters for run in runs), strict=True)
        self.weights = [torch.stack([one.detach() for one in same]).requires_grad_() for same in moving]
        states = [[run.optimiser.state.get(number, {}) for run in runs] for number in range(len(self.weights))]
        self.means, self.squares = (
            [self._moments(name, weight, state) for weight, state in zip(self.weights, states, strict=True)]
            for name in ("exp_avg", "exp_avg_sq")
        )
        self.taken = [float(state.get("step", 0.0)) for state in states[0]]

    def rows(self) -> list[dict[str, float] | StructureError]:
        """Train and evaluate; each run's row of the history, or why it cannot go on."""
        sums, seen = torch.zeros(len(self.runs), len(PARTS), device=self.device), 0
        batches = [run.batches(epoch) for run, epoch in zip(self.runs, self.epochs, strict=True)]
        for batch in zip(*batches, strict=True):
            pairs = len(batch[0].vision)
            sums += self._step(batch) * pairs
            seen += pairs
        self._give_back()
        rows: list[dict[str, float] | StructureError] = []
        for run, epoch, means in zip(self.runs, self.epochs, (sums / seen).tolist(), strict=True):
            try:
                rows.append(run.row(epoch, means))
            except StructureError as error:
                rows.append(error)
        for row, evaluated in zip(rows, self._validate(rows), strict=True):
            if isinstance(row, dict):
                row.update(evaluated)
        return rows

    def _step(self, batches: Sequence[PairBatch]) -> torch.Tensor:
        """One update of every run; the loss and its parts (run, part)."""
        weight = self._tensor([run.weight_at(run.step) for run in self.runs])
        sides = [torch.stack([getattr(batch, side) for batch in batches]) for side in ("vision", "text")]
        images, texts = self._embed(sides)
        contrastive = stacked_info_nce(images, texts, temperature=self.options.temperature)
        parts = torch.zeros(len(self.runs), 2, device=self.device)
        loss = contrastive
        if self.structured:
            only = self.structured
            of_sides = [
                stacked_structure_loss(frozen_softmax(before[only], self.space), after[only], self.space)
                for before, after in zip(sides, (images, texts), strict=True)
            ]
            both = torch.stack(of_sides, dim=1)
            parts[only] = both.detach()
            added = weight[only] * (self.shares[only] * both).sum(dim=1)
            loss = contrastive.index_add(0, torch.tensor(only, device=self.device), added)
        grads = torch.autograd.grad(loss.sum(), self.weights)
        self._update(grads)
        for run in self.runs:
            run.step += 1
        return torch.cat([torch.stack([loss, contrastive], dim=1).detach(), parts], dim=1)

    def _embed(self, sides: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Aligned features (run, n, dim) of both sides."""
        named = dict(zip(self.names, self.weights, strict=True))
        return [
            head.stacked(rows, {name.split(".")[1]: value for name, value in named.items() if name.startswith(side)})
            for head, rows, side in zip(self.heads, sides, ("vision.", "text."), strict=True)
        ]

    @torch.no_grad()
    def _update(self, grads: Sequence[torch.Tensor]) -> None:
        """Clip each run's gradients, then move its weights as `AdamW` does."""
        norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads])
        if self.options.clip_scope == "global":
            norms = norms.norm(dim=0).expand_as(norms)
        shares = (self.options.clip / (norms + 1e-6)).clamp_(max=1)
        self.taken = [taken + 1 for taken in self.taken]
        rates = [run.rate_at(run.step) for run in self.runs]
        sizes = [rate / (1 - BETAS[0] ** taken) for rate, taken in zip(rates, self.taken, strict=True)]
        roots = self._tensor([math.sqrt(1 - BETAS[1] ** taken) for taken in self.taken])
        decay = self._tensor([1 - rate * self.options.weight_decay for rate in rates])
        size = self._tensor(sizes)
        for number, (weight, grad) in enumerate(zip(self.weights, grads, strict=True)):
            wide = (-1, *(1,) * (grad.ndim - 1))
            grad = grad * shares[number].view(wide)
            weight.mul_(decay.view(wide))
            self.means[number].lerp_(grad, 1 - BETAS[0])
            self.squares[number].mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
            spread = self.squares[number].sqrt().div_(roots.view(wide)).add_(EPSILON)
            weight.sub_(self.means[number].div(spread).mul_(size.view(wide)))

    @torch.no_grad()
    def _validate(self, rows: Sequence[dict[str, float] | StructureError]) -> list[dict[str, float]]:
        """What each run's row says of its validation pairs."""
        weights = [row["weight"] if isinstance(row, dict) else 0.0 for row in rows]
        held_out = [run.validation for run in self.runs if run.validation is not None]
        if not held_out or len(held_out[0].vision) > LARGEST_BATCH:
            return [run.validate(weight) for run, weight in zip(self.runs, weights, strict=True)]
        sides = [torch.stack([getattr(batch, side) for batch in held_out]) for side in ("vision", "text")]
        images, texts = self._embed(sides)
        contrastive = stacked_info_nce(images, texts, temperature=self.options.temperature).tolist()
        of_sides = []
        for side, after in (("vision", images), ("text", texts)):
            frozen = torch.stack([self._softmax_of(getattr(batch, f"{side}_frozen")) for batch in held_out])
            of_sides.append(stacked_structure_loss(frozen, after, self.space).tolist())
        made = []
        for number, weight in enumerate(weights):
            recalls = pair_recall(images[number], texts[number])
            parts = contrastive[number], of_sides[0][number], of_sides[1][number]
            vision, text = self.shares[number].tolist()
            total = parts[0] + weight * (vision * parts[1] + text * parts[2])
            made.append(validation_row(total, *parts, recalls))
        return made

    def _softmax_of(self, frozen: torch.Tensor | Frozen) -> torch.Tensor:
        """Row softmax (n, n) of the frozen side of validation pairs."""
        return frozen.p if isinstance(frozen, Frozen) else frozen_softmax(frozen[None], self.space)[0]

    @torch.no_grad()
    def _give_back(self) -> None:
        """Write weights and moments into the runs."""
        for number, stacked in enumerate(self.weights):
            for index, run in enumerate(self.runs):
                run.optimiser.parameters[number].copy_(stacked[index])
                run.optimiser.state[number] = {
                    "step": torch.tensor(self.taken[index]),
                    "exp_avg": self.means[number][index].clone(),
                    "exp_avg_sq": self.squares[number][index].clone(),
                }
        for run in self.runs:
            run.optimiser.rate = run.rate_at(run.step - 1)

    def _moments(self, name: str, weight: torch.Tensor, states: Sequence[Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """A moment of one parameter in every run, 0 before the first step."""
        return torch.stack([state.get(name, torch.zeros_like(weight[0])) for state in states]).detach()

    def _tensor(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)
