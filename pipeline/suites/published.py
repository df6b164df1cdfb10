"""Numbers from papers, to stand beside ours, each with the protocol it was measured under."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from structure.pipeline.results import Result
from structure.pipeline.suites.prompt_set import lookup_keys
from structure.pipeline.yaml_file import YamlFile, load_yaml, shipped
from structure.pipeline.yaml_record import read_record


@dataclass(frozen=True)
class PublishedProtocol:
    """What has to be equal for two numbers to be comparable. `samples` are the test images."""

    split: str
    samples: int
    classes: int | None
    prompt_set: str | None
    note: str = ""

    def differences(self, *, samples: int, classes: int | None = None, prompt_set: str | None = None) -> list[str]:
        """In what our run differs, in words for a report; empty = same protocol. `prompt_set` may end in `@version`."""
        found = []
        if samples != self.samples:
            found.append(f"{samples:,} test images, published {self.samples:,}")
        if self.classes is not None and classes != self.classes:
            found.append(f"{classes} classes, published {self.classes}")
        if self.prompt_set is not None and (prompt_set or "").partition("@")[0] != self.prompt_set:
            found.append(f"prompts {prompt_set}, published {self.prompt_set}")
        if self.note:
            found.append(self.note)
        return found


@dataclass(frozen=True)
class PublishedNumber:
    """One number of a paper. `value` is a fraction; `metric` has our names; `vision` and `text` are the encoders."""

    source: str
    table: str
    method: str
    vision: str
    text: str
    dataset: str
    metric: str
    value: float
    protocol: PublishedProtocol


def published_numbers(
    dataset: str,
    metric: str,
    *,
    method: str | None = None,
    vision: str | None = None,
    text: str | None = None,
    split: str | None = None,
) -> list[PublishedNumber]:
    """Numbers for a dataset (`wds/vtab/cifar10`, `cifar10`, `coco`) and a metric (`acc1`), in the papers' order.

    The other arguments narrow the choice down. An empty list means that nothing is known to be published.
    """
    keys = lookup_keys(dataset)
    if not any(key in text for text in _texts() for key in keys):
        return []  # nothing is known of it, and reading the tables takes a tenth of a second
    wanted = {"metric": metric, "method": method, "vision": vision, "text": text}
    return [
        number
        for number in _everything()
        if number.dataset in keys
        and all(value is None or getattr(number, field) == value for field, value in wanted.items())
        and (split is None or number.protocol.split == split)
    ]


@dataclass(frozen=True)
class PublishedComparison:
    """A published number next to one of ours; `differences` says in what the protocols differ, empty = the same."""

    result: Result
    number: PublishedNumber
    differences: tuple[str, ...]

    @property
    def same_encoders(self) -> bool:
        """Whether our aligner stands on the encoders of the published number."""
        ours = self.result.provenance.get("encoders", {})
        return all(
            str(ours.get(side, "")).rpartition(":")[2].rpartition("/")[2] == theirs
            for side, theirs in (("vision", self.number.vision), ("text", self.number.text))
        )

    def row(self) -> dict[str, Any]:
        """Flat JSON values."""
        number = self.number
        return {
            "aligner": self.result.aligner,
            "dataset": self.result.dataset,
            "metric": self.result.metric,
            "value": self.result.value,
            "published": number.value,
            "method": number.method,
            "vision": number.vision,
            "text": number.text,
            "source": f"{number.source}, {number.table}",
            "protocol": f"different protocol: {'; '.join(self.differences)}" if self.differences else "same",
            "same_encoders": self.same_encoders,
        }


def published_comparison(results: Sequence[Result]) -> list[PublishedComparison]:
    """Every published number for the datasets and metrics of these results, marked where the protocol is another."""
    found = []
    for result in results:
        facts = result.provenance
        for number in published_numbers(result.dataset, result.metric):
            differences = number.protocol.differences(
                samples=facts.get("images", result.n), classes=facts.get("classes"), prompt_set=facts.get("prompt_set")
            )
            found.append(PublishedComparison(result, number, tuple(differences)))
    return found


@cache
def _texts() -> tuple[str, ...]:
    """The files as they are."""
    return tuple(file.read_text(encoding="utf-8") for file in shipped("published").values())


@cache
def _everything() -> tuple[PublishedNumber, ...]:
    files = (load_yaml("published table", name, folder="published") for name in shipped("published"))
    return tuple(number for file in files for number in _numbers(file))


@dataclass(frozen=True)
class _TableColumn:
    """What the numbers of a column are of, and their protocol."""

    dataset: str
    metric: str
    split: str
    samples: int
    classes: int | None = None
    prompt_set: str | None = None
    note: str = ""


@dataclass(frozen=True)
class _TableRow:
    """A line of a paper's table: one number a column, in percent."""

    table: str
    vision: str
    text: str
    method: str
    percent: tuple[float, ...]


@dataclass(frozen=True)
class _PaperTable:
    """What a file of published numbers holds."""

    source: str
    columns: tuple[_TableColumn, ...]
    rows: tuple[_TableRow, ...]
    about: str = ""


def _numbers(file: YamlFile) -> Iterator[PublishedNumber]:
    paper = read_record(file, (), _PaperTable, noun="published table")
    for index, row in enumerate(paper.rows):
        if len(row.percent) != len(paper.columns):
            raise file.error(("rows", index), f"{len(row.percent)} numbers for {len(paper.columns)} columns.")
        for column, percent in zip(paper.columns, row.percent, strict=True):
            yield PublishedNumber(
                source=paper.source,
                table=row.table,
                method=row.method,
                vision=row.vision,
                text=row.text,
                dataset=column.dataset,
                metric=column.metric,
                value=round(percent / 100, 6),
                protocol=PublishedProtocol(
                    column.split, column.samples, column.classes, column.prompt_set, column.note
                ),
            )
