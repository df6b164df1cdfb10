"""What a reader must know before believing a verdict: leaks, excluded samples, few samples, one seed, stale parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from structure.pipeline.aligners.aligner_method import method
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.page.blocks import Finding, plural
from structure.pipeline.page.leaderboard import Leaderboard, Standing
from structure.pipeline.page.source import Source
from structure.pipeline.results import HELD_OUT, Result, notes_of
from structure.store.errors import StructureError
from structure.store.sample_table import WITHDRAWN

FEW = 100
"""Test samples below which an interval is wider than most differences between methods: at a recall of .5 it is .2."""


@dataclass(frozen=True)
class Caveats:
    """Of the verdict on one test."""

    source: Source
    board: Leaderboard

    def cautions(self) -> list[Finding]:
        """What makes the verdict less sure, a leak first."""
        words = [self._leaks] if self.trained_on or self.repeated else []
        words += self._doubts()
        return [Finding("Caution", " ".join(words), caution=True)] if words else []

    def data(self) -> list[Finding]:
        """What is known of the data: leaks, and samples without a part in the numbers."""
        leaks = [] if self.trained_on or self.repeated else [Finding("Leaks", self._leaks)]
        return [*leaks, Finding("Excluded", self._excluded)]

    @property
    def results(self) -> list[Result]:
        return [result for runs in self.board.runs.values() for result in runs.values()]

    @cached_property
    def stale(self) -> list[Mapping[str, Any]]:
        """What was made from something that has changed since, of results and aligners."""
        return [row for row in self.source.stale if not row["what"].startswith("features ")]

    @cached_property
    def trained_on(self) -> dict[str, int]:
        """Aligner -> how many of the test samples it was trained on; those of which it is known and not 0."""
        known = {result.aligner: result.provenance.get("items_trained_on") for result in self.results}
        return {aligner: count for aligner, count in known.items() if count}

    @cached_property
    def repeated(self) -> int | None:
        """Of held-out pairs, how many repeat the image or the text of a pair outside the test; None elsewhere."""
        if self.board.task != HELD_OUT:
            return None
        result = self.board.best.result
        table = self.source.predictions(result)
        try:
            samples = self.source.store.samples(result.dataset, str(result.provenance["split"]))
        except StructureError:
            return None
        if table is None:
            return None
        tested = {int(item) for item in table["item"].to_pylist()}
        contents = list(zip(samples.values("digest"), samples.values("text"), strict=True))
        outside = [content for number, content in enumerate(contents) if number not in tested]
        images, texts = ({content[side] for content in outside} - {"", None} for side in (0, 1))
        return sum(contents[number][0] in images or contents[number][1] in texts for number in tested)

    @property
    def _leaks(self) -> str:
        n = self.board.n
        if self.board.task == HELD_OUT:
            if self.repeated is None:
                return "No aligner trained on the test pairs; whether they repeat training pairs is not known."
            if not self.repeated:
                return "None: no test pair repeats the image or the text of a pair outside the test."
            return f"{self.repeated:,} of {n:,} test pairs repeat the image or the text of a pair outside the test."
        if self.trained_on:
            worst = max(self.trained_on.values())
            return (
                f"{plural(len(self.trained_on), 'aligner')} of this test were trained on up to {worst:,} of its "
                "samples: their values are too high. Extract and train on another split: --split train."
            )
        if all(result.provenance.get("items_trained_on") == 0 for result in self.results):
            return "None: no test image is among the training images (by the digest of its file)."
        return "Not known: the store does not have the training data of every aligner of this test."

    @property
    def _excluded(self) -> str:
        told = notes_of([self.board.best.result])
        skipped: dict[str, int] = {}
        for features in self.source.features:
            data = f"{features.manifest.dataset}/{features.manifest.split}"
            unreadable = sum(reason != WITHDRAWN for reason in features.skipped.values())
            skipped[data] = max(skipped.get(data, 0), unreadable)
        told += [f"{data}: {plural(count, 'sample')} could not be read" for data, count in skipped.items() if count]
        return "; ".join(told) + "." if told else "No sample."

    def _doubts(self) -> Iterator[str]:
        if len(self.board.best.runs) == 1:
            if has_random_start(self.source, self.board.best):
                yield "One training seed: the intervals are over test samples, not over other trainings."
            else:
                yield "One fit: the intervals are over test samples, not over other training pairs."
        if self.board.n < FEW:
            yield f"Only {plural(self.board.n, 'test sample')}: smaller differences than the interval may be there."
        if self.stale:
            yield stale_words(self.stale)
        incomplete = [features.key for features in self.source.features if features.state != "complete"]
        if incomplete:
            yield f"Features that are not complete: {', '.join(incomplete[:3])}."
        if self.source.outdated:
            yield f"Recipes whose aligners were trained anew since: {', '.join(self.source.outdated[:3])}."


def stale_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is stale and why, the first two of them."""
    told = "; ".join(f"{row['what']} ({row['why']})" for row in rows[:2])
    return f"Stale: {told}" + (f" and {len(rows) - 2} more." if len(rows) > 2 else ".")


def has_random_start(source: Source, standing: Standing) -> bool:
    """Whether another seed trains other weights: by gradient descent, but not in closed form."""
    options = source.aligners[standing.result.aligner].get("options", {})
    try:
        known = TrainingOptions(**options)
    except StructureError:
        return True  # of a package that is not installed here
    return method(known.method).passes(known) > 1
