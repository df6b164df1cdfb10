"""A curve as it is kept and shown: all fits, means over seeds with intervals, the ceiling, the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from structure.pipeline.charts import Fields, LineStyle, Marks, Reference, Spec, lines, png
from structure.pipeline.metrics.intervals import seeds_interval
from structure.pipeline.metrics.sampling import Sampling
from structure.pipeline.owned_files import damaged
from structure.pipeline.pair_curves.fits import LOW_IS_GOOD, METRICS, CurveFit, chance
from structure.pipeline.strict_json import from_json, strict
from structure.store.files import Files
from structure.store.seals import Seal, SealError, closed, json_of

FOLDER, FILE, FIGURE = "curves", "curve.json", "curve.png"
SHOWN = "R@10"
"""The metric of the figure."""


@dataclass(frozen=True)
class PairCurve:
    """`facts` say of which data, layers and test pairs; `identity` is the digest of everything that the fits depend on
    besides variant, pairs and seed. Variants that see no unpaired rows are fitted to all `most` training pairs too: the
    best of them is the ceiling. `place` is where it is kept."""

    facts: Mapping[str, Any]
    identity: str
    fits: tuple[CurveFit, ...] = ()
    place: str = field(default="", compare=False)

    @property
    def most(self) -> int:
        """All training pairs."""
        return int(self.facts["training_pairs"])

    @property
    def test_pairs(self) -> int:
        """Pairs that every fit is measured on."""
        return int(self.facts["test_pairs"])

    def means(self, metric: str) -> list[dict[str, Any]]:
        """A row for each variant and number of pairs: mean over seeds with its 95 % interval, which holds the spread of
        the seeds and the error of the test pairs; or why it was refused."""
        grouped: dict[tuple[int, str], list[CurveFit]] = {}
        for each in self.fits:
            grouped.setdefault((each.pairs, each.variant), []).append(each)
        rows = []
        for (pairs, variant), fits in sorted(grouped.items(), key=lambda item: item[0][0]):
            row: dict[str, Any] = {"pairs": pairs, "variant": variant, "seeds": len(fits)}
            good = [each for each in fits if not each.refused]
            if not good:
                rows.append({**row, "value": None, "low": None, "high": None, "refused": fits[0].refused})
                continue
            found = seeds_interval(
                np.array([each.metrics[metric]["value"] for each in good]),
                sampling=_pooled([each.sampling(metric) for each in good]),
                bounds=(0.0, 1.0),
            )
            seconds = float(np.median([each.seconds for each in good]))
            unpaired = [int(np.median([each.unpaired[side] for each in good])) for side in (0, 1)]
            values = {"value": found.value, "low": found.low, "high": found.high, "refused": ""}
            rows.append({**row, **values, "seeds": len(good), "unpaired": unpaired, "seconds": seconds})
        return rows

    def ceiling(self, metric: str) -> dict[str, Any] | None:
        """The best row of all training pairs; None where nothing was fitted to them."""
        rows = [row for row in self.means(metric) if row["pairs"] == self.most and row["value"] is not None]
        best = min if metric in LOW_IS_GOOD else max
        return best(rows, key=lambda row: row["value"]) if rows else None

    def to_dict(self) -> dict[str, Any]:
        """The document of the store and of `--json`."""
        return {
            **self.facts,
            "identity": self.identity,
            "chance": {metric: chance(metric, self.test_pairs) for metric in METRICS},
            "ceiling": {metric: self.ceiling(metric) for metric in METRICS},
            "means": {metric: self.means(metric) for metric in METRICS},
            "fits": [each.to_dict() for each in self.fits],
        }

    def packed(self, folder: Files) -> bytes:
        """It as the store keeps it in that folder."""
        return Seal.of(folder, FILE, self.identity).json(strict(self.to_dict()), indent=1)

    def packed_figure(self, folder: Files) -> bytes:
        """Its figure, whose seal follows the picture's end: no reader looks there."""
        return closed(self.figure() + f"\n{Seal.of(folder, FIGURE, self.identity).blank}".encode())

    @classmethod
    def read(cls, folder: Files) -> PairCurve:
        """Of the folder that holds it. Raises DamageError for a record that does not read."""
        return cls.parse(folder.read(FILE), folder)

    @classmethod
    def parse(cls, data: bytes, folder: Files) -> PairCurve:
        """Of the bytes of a record in `folder`. Raises DamageError for what is none."""
        try:
            document = json_of(data, Seal.of(folder, FILE), loads=from_json)
            fits = tuple(CurveFit.of_dict(each) for each in document.pop("fits"))
            identity = document["identity"]
        except SealError as error:
            raise damaged(folder, FILE, error) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(folder, FILE, SealError(f"does not read: {error}")) from error
        derived = ("identity", "chance", "ceiling", "means")
        facts = {name: value for name, value in document.items() if name not in derived}
        return cls(facts, identity, fits, str(folder))

    def spec(self, metric: str = SHOWN) -> Spec:
        """The figure: a line for each variant, chance, and the ceiling. No pairs are drawn at half the least number."""
        rows = [row for row in self.means(metric) if row["value"] is not None and row["pairs"] < self.most]
        positive = [row["pairs"] for row in rows if row["pairs"]]
        least = min(positive, default=2) / 2
        drawn = [{**row, "at": row["pairs"] or least} for row in rows]
        for name in dict.fromkeys(row["variant"] for row in drawn):
            own = [row for row in drawn if row["variant"] == name]
            if len(own) == 1 and not own[0]["pairs"] and positive:  # it reads no pairs: the same for every number
                drawn.append({**own[0], "at": max(positive)})
        levels = [Reference("chance", chance(metric, self.test_pairs))]
        top = self.ceiling(metric)
        if top is not None:
            levels.append(Reference(f"{top['variant']}, all {self.most:,} pairs", top["value"], highlight=True))
        titles = {
            "at": f"training pairs (none: at {least:g})",
            "value": f"{metric}, both directions",
            "variant": "method",
        }
        tips = ["variant:N", "pairs", "value", "low", "high", "seeds"]
        return lines(
            drawn,
            Fields("at", "value", titles | {"pairs": "pairs", "low": "low", "high": "high", "seeds": "seeds"}, tips),
            series="variant",
            low_high=("low", "high"),
            marks=Marks(levels=levels),
            style=LineStyle(logarithmic=",~r", from_zero=True),
        )

    def figure(self) -> bytes:
        """The figure as PNG."""
        facts = self.facts
        title = f"{facts['dataset']}: {facts['encoders']['vision']} and {facts['encoders']['text']}\n"
        return png(self.spec(), title=f"{title}{SHOWN} of {self.test_pairs:,} test pairs, 95 % intervals")


def _pooled(each: Sequence[Sampling]) -> Sampling:
    """The error of the test pairs for the mean over fits that were measured on the same ones: as large as of one."""
    centre, variance, freedom = (
        float(np.mean([getattr(one, name) for one in each])) for name in ("centre", "variance", "freedom")
    )
    return Sampling(centre, variance, freedom)
