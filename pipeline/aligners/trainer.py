"""A training run in motion: the optimiser, the step, an epoch, and the state that lets it go on later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

import torch

from structure.pipeline.aligners.adamw import AdamW
from structure.pipeline.aligners.arrays import Array, as_tensor
from structure.pipeline.aligners.batches import BatchSource
from structure.pipeline.aligners.lr_range_test import SAMPLES, RateCurve, find_rate
from structure.pipeline.aligners.objective import Objective, PairBatch
from structure.pipeline.aligners.objectives import make_objective
from structure.pipeline.aligners.option_groups import GradientOptions, PairOptions
from structure.pipeline.aligners.padded import Padded
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.released_range_test import find_released_rate
from structure.pipeline.aligners.schedule import clip_gradients, cosine, published_period, warm_up
from structure.pipeline.aligners.unpaired import Unpaired
from structure.store.errors import StructureError

BETAS = (0.9, 0.95)
_PARTS = ("loss", "contrastive", "R_S_vision", "R_S_text")


class Trainer:
    """Two heads in training, evaluated on the `validation` pairs after every epoch; without them only the training loss
    is known."""

    def __init__(
        self,
        source: BatchSource,
        *,
        validation: tuple[Array, Array] | None,
        extras: Unpaired,
        options: GradientOptions,
        rate: float,
        device: torch.device,
    ) -> None:
        self.source, self.extras, self.options, self.rate, self.device = source, extras, options, rate, device
        self.objective = make_objective(source.widths, options, prefix=getattr(source, "prefix", 0)).to(device)
        self.optimiser = make_optimiser(self.objective, rate, options)
        self.step = 0
        total = options.epochs * math.ceil(source.rows / options.batch)
        self.period = published_period(source.rows, batch=options.batch) if options.cosine == "published" else total
        self.structure = structure_of(options)
        self.warming = 0 if self.structure is None else warming_steps(self.structure, total)
        self.kept: PairBatch | None = None
        self.validation = (
            None
            if validation is None
            else self.objective.batch(*(_on(device, side) for side in validation), repeats=True)
        )

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train over every pair once, then evaluate on the validation pairs; the epoch's row of the history."""
        options = self.options
        self.objective.train()
        sums, seen, weight, rate = torch.zeros(len(_PARTS), device=self.device), 0, 0.0, 0.0
        for batch in self._batches(epoch):
            if self.structure is not None:
                weight = self.structure.weight * warm_up(self.step, steps=self.warming)
            rate = self.rate * cosine(self.step, period=self.period)
            self.optimiser.rate = rate
            losses, _, _ = self.objective.losses(batch, structure=self.structure is not None)
            loss = self.objective.total(losses, weight=weight)
            update(self.objective, self.optimiser, loss, options)
            parts = torch.stack([loss, losses.contrastive, losses.structure_vision, losses.structure_text])
            sums += parts.detach() * len(batch.vision)
            seen += len(batch.vision)
            self.step += 1
        means = (sums / seen).tolist()
        if not math.isfinite(means[0]):
            raise StructureError(
                f"Training diverged in epoch {epoch}: the loss is {means[0]} at learning rate {self.rate:.3g}. "
                "Pass a smaller --lr."
            )
        row = {"epoch": epoch, "step": self.step, "rate": rate, "weight": weight}
        row.update(zip(_PARTS, means, strict=True))
        if self.validation is not None:
            row.update(self._validate(self.validation, weight))
        return row

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Everything that the next epochs depend on besides options and data."""
        tensors = {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        for index, values in self.optimiser.state.items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in values.items()}
        for side, head in (("vision", self.objective.vision), ("text", self.objective.text)):
            noise = head.noise()
            if noise is not None:
                tensors[f"noise.{side}"] = noise
        return tensors, {"step": self.step}

    def resume(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Go on from a state."""
        self.objective.load_state_dict(within("objective", tensors))
        for name, value in within("optimiser", tensors).items():
            index, _, field = name.partition(".")
            place = "cpu" if field == "step" else self.device
            self.optimiser.state.setdefault(int(index), {})[field] = value.to(place)
        for side, noise in within("noise", tensors).items():
            getattr(self.objective, side).resume_noise(noise, self.device)
        self.step = facts["step"]

    def _batches(self, epoch: int) -> Iterator[PairBatch]:
        if self.kept is not None:
            yield self.kept
            return
        seed = self.options.seed * 1_000_003 + epoch
        for index, (vision, text) in enumerate(self.source.epoch(seed)):
            batch = make_batch(
                self.objective,
                vision.to(self.device),
                text.to(self.device),
                extras=self.extras if self.structure else Unpaired(),
                seed=seed * 7919 + index,
                repeats=self.source.whole and self.structure is not None,
            )
            if self.source.whole and not self.extras:
                self.kept = batch
            yield batch

    @torch.no_grad()
    def _validate(self, validation: PairBatch, weight: float) -> dict[str, float]:
        self.objective.eval()
        losses, images, texts = self.objective.losses(validation, structure=True)
        image_recall, text_recall = pair_recall(images, texts)
        return {
            "val_loss": float(self.objective.total(losses, weight=weight)),
            "val_contrastive": float(self.objective.selection_loss(losses, images, texts)),
            "val_R_S_vision": float(losses.structure_vision),
            "val_R_S_text": float(losses.structure_text),
            "val_image_retrieval_recall@1": image_recall,
            "val_text_retrieval_recall@1": text_recall,
        }


def _on(device: torch.device, side: Any) -> Any:
    """Rows, or padded sequences of rows, on the training device."""
    return side.to(device) if isinstance(side, Padded) else as_tensor(side).to(device)


def within(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix.`, under the rest of their names."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def make_batch(
    objective: Objective, vision: torch.Tensor, text: torch.Tensor, *, extras: Unpaired, seed: int, repeats: bool
) -> PairBatch:
    """A batch of pairs with its share of unpaired rows."""
    structure = structure_of(objective.options)
    drawn: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if extras and structure is not None:
        drawn = extras.draw(structure.extra_rows or len(vision), seed=seed)
    return objective.batch(vision, text, extra=drawn, repeats=repeats)


def structure_of(options: GradientOptions) -> PairOptions | None:
    """The options of R_S, where it is part of what is minimised."""
    return options if isinstance(options, PairOptions) and options.uses_structure else None


def warming_steps(options: PairOptions, total: int) -> int:
    """Steps over which the weight of R_S rises, of `total`."""
    return math.ceil(options.warm_up * total) if options.warm_up_steps is None else options.warm_up_steps


def make_optimiser(objective: Objective, rate: float, options: GradientOptions) -> AdamW:
    """AdamW with the published betas over what moves."""
    moving = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    return AdamW(moving, rate=rate, betas=BETAS, weight_decay=options.weight_decay)


def update(objective: Objective, optimiser: AdamW, loss: torch.Tensor, options: GradientOptions) -> None:
    """One step, gradients clipped."""
    optimiser.zero_grad()
    loss.backward()
    clip_gradients(list(objective.parameters()), most=options.clip, scope=options.clip_scope)
    optimiser.step()


def rate_test(source: BatchSource, extras: Unpaired, options: GradientOptions, device: torch.device) -> RateCurve:
    """The learning-rate range test on heads of its own, the regulariser at its full weight.

    One batch serves the whole test unless the options ask for the released one: two batches of a few hundred pairs
    differ by more than a small step moves the loss, and the steepest slope would then be that noise.
    """
    objective = make_objective(source.widths, options, prefix=getattr(source, "prefix", 0)).to(device).train()
    optimiser = make_optimiser(objective, 1.0, options)
    structure = structure_of(options)
    weight = 0.0 if structure is None else structure.weight
    is_released = options.range_test == "released"
    batches = _test_batches(objective, source, extras if structure else Unpaired(), options, fresh=is_released)

    def step(rate: float) -> float:
        optimiser.rate = rate
        losses, _, _ = objective.losses(next(batches), structure=structure is not None)
        loss = objective.total(losses, weight=weight)
        update(objective, optimiser, loss, options)
        return float(loss.detach())

    return find_released_rate(step) if is_released else find_rate(step, least=options.least_rate)


def _test_batches(
    objective: Objective, source: BatchSource, extras: Unpaired, options: GradientOptions, *, fresh: bool
) -> Iterator[PairBatch]:
    """Batches of the range test, without end: one and the same, or each a `fresh` draw from 5,000 pairs at most."""
    pool = list(islice(source.epoch(options.seed), math.ceil(SAMPLES / options.batch) if fresh else 1))
    repeats = not fresh or source.whole
    for number in count():
        pair = pool[0]
        if fresh and not source.whole:
            pair = pool[number % len(pool)] if isinstance(pair[0], Padded) else _drawn(pool, options, number)
        vision, text = (side[:SAMPLES].to(next(objective.parameters()).device) for side in pair)
        seed = options.seed + number
        keeps = repeats and structure_of(options) is not None
        batch = make_batch(objective, vision, text, extras=extras, seed=seed, repeats=keeps)
        while repeats:
            yield batch
        yield batch


def _drawn(
    pool: Sequence[tuple[torch.Tensor, torch.Tensor]], options: GradientOptions, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A seeded draw of one batch from the first 5,000 pairs of a pool."""
    vision, text = (torch.cat([pair[side] for pair in pool])[:SAMPLES] for side in (0, 1))
    generator = torch.Generator().manual_seed(options.seed * 7919 + number)
    rows = torch.randperm(len(vision), generator=generator)[: options.batch].to(vision.device)
    return vision[rows], text[rows]
