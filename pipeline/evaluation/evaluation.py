"""What an evaluation says, and what it would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from structure.pipeline.evaluation.comparison import Difference
from structure.pipeline.results import COUNTED, Result
from structure.pipeline.suites.published import published_comparison
from structure.pipeline.work_estimate import WorkEstimate


@dataclass(frozen=True)
class EvaluationPlan:
    """What encoders still have to read, and the data that are not on this machine with how to get them."""

    parts: tuple[WorkEstimate, ...]
    absent: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Evaluation:
    """Every number, what could not be evaluated and how to get it, and how often an encoder had to run.

    `absent` lists what is not on this machine, `failed` what is here and cannot be used (a damaged tar, a template
    without `{c}`); `differences` are those of two aligners that were compared, `by_class` the rows of each class where
    samples have several; `notes` were said of the tasks.
    """

    suite: str
    aligners: tuple[str, ...]
    results: tuple[Result, ...]
    absent: tuple[Mapping[str, str], ...]
    failed: tuple[Mapping[str, str], ...]
    asked: int
    encoder_passes: int
    seconds: float
    differences: tuple[Difference, ...] = ()
    by_class: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def evaluated(self) -> int:
        """Tasks with a result."""
        return len({(result.dataset, result.task) for result in self.results})

    def to_json(self) -> dict[str, Any]:
        """The document of `structure eval --json`."""
        return {
            "suite": self.suite,
            "aligners": list(self.aligners),
            "results": [
                {
                    **result.shown(),
                    "notes": {name: result.provenance[name] for name in COUNTED if name in result.provenance},
                }
                for result in self.results
            ],
            "absent": [dict(entry) for entry in self.absent],
            "failed": [dict(entry) for entry in self.failed],
            "published": [entry.row() for entry in published_comparison(self.results)],
            "differences": [difference.row() for difference in self.differences],
            "by_class": [dict(row) for row in self.by_class],
            "evaluated": self.evaluated,
            "asked": self.asked,
            "encoder_passes": self.encoder_passes,
            "seconds": self.seconds,
        }
