"""Train two light heads from paired features: learning-rate test, warm-up, early stopping, best weights restored."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from structure.pipeline.aligners.aligner import Aligner
from structure.pipeline.aligners.arrays import Array, as_tensor, check_pairs
from structure.pipeline.aligners.batches import LEAST_PAIRS, BatchSource, PairsInMemory, held_out
from structure.pipeline.aligners.finder import SAMPLES, RateCurve, find_rate
from structure.pipeline.aligners.objective import Batch, Objective, make_objective
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.pair_retrieval import pair_recall
from structure.pipeline.aligners.schedule import clip_gradients, cosine, published_period, warm_up
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.store.errors import StructureError

BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Trained:
    """An aligner and how it came about.

    `history`: one flat dict of numbers per epoch (empty for closed forms): epoch (from 1), step, rate, weight, loss and
    its parts over the epoch, the same of the validation pairs with `val_` before, `val_recall_images` and
    `val_recall_texts` (recall@1 over the validation pairs), seconds since the start. `curve` is the learning-rate
    test, None where the rate was given. `best_epoch` is the one whose weights the aligner holds.
    """

    aligner: Aligner
    history: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    curve: RateCurve | None = None
    rate: float | None = None
    pairs: int = 0
    validation_pairs: int = 0
    epochs: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    pairs_per_second: float = 0.0


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises StructureError for a device this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise StructureError(f"Device {name!r} cannot be used here: {error}. Pass --device cpu or auto.") from error
    return device


def train(
    vision: Array,
    text: Array,
    *,
    options: TrainingOptions,
    validation: tuple[Array, Array] | None = None,
    groups: Array | None = None,
    on_event: Listener = silent,
) -> Trained:
    """Train heads of kind `options.method` on features (n, dv) and (n, dt) whose rows pair; any float kind.

    Part of the pairs is held out to select the epoch, unless `validation` pairs are given; `groups` (n,) keeps rows of
    one item on one side. The same seed on the same machine gives the same weights; no global random state is touched.
    Raises StructureError for too few pairs, unequal counts, rows that are not finite, constant features, or a
    run that diverges.
    """
    check_pairs(vision, text, least=LEAST_PAIRS, why="training")
    if validation is None:
        chosen, out = held_out(len(vision), share=options.validation, seed=options.seed, groups=groups)
        validation = (vision[out], text[out])
        vision, text = vision[chosen], text[chosen]
    else:
        check_pairs(*validation, least=2, why="validation")
    source = PairsInMemory(vision, text, batch=options.batch, device=pick_device(options.device), mix=options.mix)
    return train_source(source, validation=validation, options=options, on_event=on_event)


def train_source(
    source: BatchSource, *, validation: tuple[Array, Array], options: TrainingOptions, on_event: Listener = silent
) -> Trained:
    """`train` over any source of batches; `validation` are paired features in memory."""
    started = time.perf_counter()
    device = pick_device(options.device)
    curve = None
    rate = options.rate
    if rate is None:
        curve = _rate_test(source, options, device)
        rate = curve.chosen
        on_event(Note(f"learning rate {rate:.3g}" + (f" ({curve.note})" if curve.note else "")))
    objective = make_objective(source.widths, options).to(device)
    run = _Run(objective, source, validation, options, rate, device)
    best: tuple[float, ...] | None = None
    best_state: dict[str, torch.Tensor] = {}
    best_row: dict[str, float] = {}
    history: list[dict[str, float]] = []
    for epoch in range(1, options.epochs + 1):
        row = run.epoch(epoch)
        row["seconds"] = time.perf_counter() - started
        history.append(row)
        score = _score(row, options)
        if best is None or score < best:
            best, best_row = score, row
            best_state = {name: value.detach().clone() for name, value in objective.state_dict().items()}
        on_event(Progress(f"training {options.method}", epoch, options.epochs, "epochs"))
        if epoch - best_row["epoch"] >= options.patience:
            on_event(Note(f"stopped after epoch {epoch}: the best was {best_row['epoch']:.0f}"))
            break
    seconds = time.perf_counter() - started
    objective.load_state_dict(best_state)
    metrics = {name.removeprefix("val_"): value for name, value in best_row.items() if name.startswith("val_")}
    facts = {
        "pairs": source.rows,
        "validation_pairs": len(validation[0]),
        "options": options.record(),
        "rate": rate,
        "epochs": len(history),
        "best_epoch": int(best_row["epoch"]),
        "metrics": metrics,
        "scale": float(objective.log_scale.detach().exp()),
        "device": str(device),
        "versions": versions(),
    }
    heads = [head.eval().requires_grad_(False) for head in (objective.vision, objective.text)]
    return Trained(
        Aligner(heads[0], heads[1], options.method, facts),
        history=history,
        metrics=metrics,
        curve=curve,
        rate=rate,
        pairs=source.rows,
        validation_pairs=len(validation[0]),
        epochs=len(history),
        best_epoch=int(best_row["epoch"]),
        seconds=seconds,
        pairs_per_second=source.rows * len(history) / seconds,
    )


def versions() -> dict[str, str]:
    """Versions of what computed the weights."""
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}


def _score(row: dict[str, float], options: TrainingOptions) -> tuple[float, ...]:
    """Lower is better. Retrieval moves in steps of one pair, so the contrastive loss settles ties."""
    if options.selection == "retrieval":
        return -(row["val_recall_images"] + row["val_recall_texts"]), row["val_contrastive"]
    return (row["val_loss"] if options.selection == "loss" else row["val_contrastive"],)


def _optimiser(objective: Objective, rate: float, options: TrainingOptions) -> torch.optim.AdamW:
    moving = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(moving, lr=rate, betas=BETAS, weight_decay=options.weight_decay)


def _rate_test(source: BatchSource, options: TrainingOptions, device: torch.device) -> RateCurve:
    """The learning-rate test on heads of its own, the regulariser at its full weight.

    One batch serves the whole test: two batches of a few hundred pairs differ by more than a small step moves the
    loss, and the steepest slope would then be that noise.
    """
    objective = make_objective(source.widths, options).to(device).train()
    optimiser = _optimiser(objective, 1.0, options)
    structure = options.regulariser == "structure"
    vision, text = next(iter(source.epoch(options.seed)))
    batch = objective.batch(vision[:SAMPLES].to(device), text[:SAMPLES].to(device), repeats=structure)

    def step(rate: float) -> float:
        optimiser.param_groups[0]["lr"] = rate
        loss = objective.total(objective.losses(batch, structure=structure)[0], weight=options.weight)
        _update(objective, optimiser, loss, options)
        return float(loss.detach())

    return find_rate(step)


def _update(objective: Objective, optimiser: torch.optim.AdamW, loss: torch.Tensor, options: TrainingOptions) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    clip_gradients(list(objective.parameters()), most=options.clip, scope=options.clip_scope)  # type: ignore[arg-type]
    optimiser.step()


class _Run:
    """One run's moving state: the optimiser, the step, and the batch that is kept where it never changes."""

    def __init__(
        self,
        objective: Objective,
        source: BatchSource,
        validation: tuple[Array, Array],
        options: TrainingOptions,
        rate: float,
        device: torch.device,
    ) -> None:
        self.objective, self.source, self.options, self.rate, self.device = objective, source, options, rate, device
        self.optimiser = _optimiser(objective, rate, options)
        self.step = 0
        total = options.epochs * math.ceil(source.rows / options.batch)
        published = options.cosine == "published"
        self.period = published_period(source.rows) if published else total
        self.warming = math.ceil(options.warm_up * total) if options.warm_up_steps is None else options.warm_up_steps
        self.structure = options.regulariser == "structure"
        self.kept: Batch | None = None
        self.validation = objective.batch(*(as_tensor(side).to(device) for side in validation), repeats=True)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Train over every pair once, then judge on the validation pairs; the epoch's row of the history."""
        options = self.options
        self.objective.train()
        names = ("loss", "contrastive", "structure_vision", "structure_text")
        sums, seen, weight, rate = torch.zeros(4, device=self.device), 0, 0.0, 0.0
        for batch in self._batches(epoch):
            weight = options.weight * warm_up(self.step, steps=self.warming) if self.structure else 0.0
            rate = self.rate * cosine(self.step, period=self.period)
            self.optimiser.param_groups[0]["lr"] = rate
            losses, _, _ = self.objective.losses(batch, structure=self.structure)
            loss = self.objective.total(losses, weight=weight)
            _update(self.objective, self.optimiser, loss, options)
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
        row.update(zip(names, means, strict=True))
        row.update(self._judge(weight))
        return row

    def _batches(self, epoch: int) -> Iterator[Batch]:
        if self.kept is not None:
            yield self.kept
            return
        for vision, text in self.source.epoch(self.options.seed * 1_000_003 + epoch):
            batch = self.objective.batch(
                vision.to(self.device), text.to(self.device), repeats=self.source.whole and self.structure
            )
            if self.source.whole:
                self.kept = batch
            yield batch

    @torch.no_grad()
    def _judge(self, weight: float) -> dict[str, float]:
        self.objective.eval()
        losses, images, texts = self.objective.losses(self.validation, structure=True)
        by_image, by_text = pair_recall(images, texts)
        return {
            "val_loss": float(self.objective.total(losses, weight=weight)),
            "val_contrastive": float(losses.contrastive),
            "val_structure_vision": float(losses.structure_vision),
            "val_structure_text": float(losses.structure_text),
            "val_recall_images": by_image,
            "val_recall_texts": by_text,
        }
