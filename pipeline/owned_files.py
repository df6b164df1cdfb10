"""The kinds of file that stages write into a store, and what makes each again: said wherever one is damaged.

Records are refused where they are read, with the remedy of their kind; caches are made again by the next command that
needs them. Feature sets and sample indexes look after themselves (`structure.store.verify`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.seals import SealError


@dataclass(frozen=True)
class FileKind:
    """Files of one kind: `pattern` is of their keys, its groups are named in `remedy`. They carry a seal, or are listed
    by the `record` beside them (its key, with the groups); `lists`: this is such a record. `shows` is the key of the
    record that one of them was drawn from: it is missed where it is gone. `is_cache`: they are made again without being
    asked for."""

    name: str
    pattern: str
    remedy: str
    record: str = ""
    shows: str = ""
    lists: bool = False
    is_cache: bool = False

    def match(self, key: str) -> dict[str, str] | None:
        """The groups of a key of this kind; None for one of another."""
        found = re.fullmatch(self.pattern, key)
        return None if found is None else {name: text or "" for name, text in found.groupdict().items()}


PAGE = ".html"
"""What the names of pages end in, which hold a checksum of their own in their head."""

_AGAIN = "The next command that needs it makes it again."
_RID = "To be rid of it: structure store rm {folder}/{name} --yes"
_RANK = f"Rank again: structure rank-layers{{options}}. {_RID.replace('{folder}', 'rankings')}"
_ALIGN = "Train it again: its structure align, with --name {name} --replace. " + _RID.replace("{folder}", "aligners")
_EVALUATE = "Evaluate again: structure eval --suite {suite} --aligner {name}"
_RUN = f"Run it again: structure run {{name}}. {_RID.replace('{folder}', 'reports')}"
_CURVE = f"Fit it again: its structure align --curve, with --replace. {_RID.replace('{folder}', 'curves')}"
_COMPARE = "Compare again: structure eval --compare {first} {second}"

_RANKING, _ALIGNER, _RESULT = r"rankings/(?P<name>[^/]+)", r"aligners/(?P<name>[^/]+)", r"results/(?P<name>[^/]+)"
_REPORT, _CURVES, _SUITE = r"reports/(?P<name>[^/]+)", r"curves/(?P<name>[^/]+)", r"(?P<suite>[^/@]+)(@[^/]*)?"
_ANSWERS = "results/{name}/predictions"

KINDS = (
    FileKind("neighbour tables", r"neighbours/.+\.npz", _AGAIN, is_cache=True),
    FileKind("rankings", _RANKING + r"/ranking\.json", _RANK, lists=True),
    FileKind("matrices of models", _RANKING + r"/models\.json", _RANK, lists=True),
    FileKind("charts of matrices", _RANKING + r"/models\.png", _RANK, "rankings/{name}/models.json"),
    FileKind("scores and charts", _RANKING + r"/[^/]+", _RANK, "rankings/{name}/ranking.json"),
    FileKind("aligners", _ALIGNER + r"/aligner\.json", _ALIGN, lists=True),
    FileKind("weights, histories", _ALIGNER + r"/(?!README\.md).+", _ALIGN, "aligners/{name}/aligner.json"),
    FileKind("states of trainings", r"checkpoints/.+", "The training starts anew.", is_cache=True),
    FileKind("results", _RESULT + r"/results\.parquet", _EVALUATE),
    FileKind("saved evaluations", _RESULT + r"/evaluations/[^/]+\.json", _AGAIN, is_cache=True),
    FileKind("predictions", _RESULT + rf"/predictions/{_SUITE}/[^/]+", _EVALUATE, lists=True),
    FileKind("examples, confusions, pictures", _RESULT + rf"/\w+/{_SUITE}/[^/]+", _EVALUATE, _ANSWERS),
    FileKind("results for CLIP_benchmark", _RESULT + r"/[^/]+\.json", _EVALUATE, _ANSWERS),
    FileKind("comparisons", r"comparisons/(?P<first>.+)\.\.(?P<second>.+)\.json", _COMPARE),
    FileKind("steps of recipes", r"recipes/[^/]+/(?!running\.json).+\.(json|yaml)", _AGAIN, is_cache=True),
    FileKind("summaries", _REPORT + r"/summary\.json", _RUN, lists=True),
    FileKind("correlations", _REPORT + r"/similarity\..+", _RUN, "reports/{name}/summary.json"),
    FileKind("pages", r"report\.html", _AGAIN, is_cache=True),
    FileKind("pages of recipes", _REPORT + r"/report\.html", _RUN, shows="reports/{name}/summary.json"),
    FileKind("curves over pairs", _CURVES + r"/curve\.json", _CURVE),
    FileKind("charts of curves", _CURVES + r"/curve\.png", _CURVE, shows="curves/{name}/curve.json"),
    FileKind("lists of skipped samples", r"samples/.+\.skipped\.parquet", "Remove it: it only says what was skipped."),
    FileKind("frames of encoders", r"frames/.+\.json", _AGAIN, is_cache=True),
)


def kind_of(key: str) -> tuple[FileKind, dict[str, str]] | None:
    """The kind of a file and the groups of its key; None for what no stage writes there."""
    for kind in KINDS:
        groups = kind.match(key)
        if groups is not None:
            return kind, groups
    return None


def remove_unlisted(folder: Files, record: str, listed: Collection[str]) -> None:
    """Remove what an earlier making of a record left beside it and the next, which is about to be written, does not
    list: it would be taken for damage."""
    for name in folder.keys(""):
        of = kind_of(folder.key(name))
        if of is not None and of[0].record.format(**of[1]) == folder.key(record) and name not in listed:
            folder.remove(name)


def remedy_of(key: str, *, suites: Sequence[str] = ()) -> str:
    """What to type where the file of that key is damaged; `suites` are those of an aligner's results."""
    found = kind_of(key)
    if found is None:
        return "Remove it, or make it again."
    kind, groups = found
    named = groups.get("suite") or next(iter(suites), "SUITE")
    return kind.remedy.format(**groups | {"suite": named, "options": _ranking_options(groups.get("name", ""))})


def damaged(folder: Files, name: str, error: SealError) -> DamageError:
    """The error that says which file is damaged, how, and what to type."""
    beside = "/".join([*name.split("/")[:-1], "predictions"])
    suites = [suite.partition("@")[0] for suite in folder.children(beside)]
    return DamageError(f"{folder}/{name} {error}. {remedy_of(folder.key(name), suites=suites)}")


def _ranking_options(name: str) -> str:
    """The options that a ranking's id names: `<dataset>.<split>.<vision>.<text>.<metric>`; parts may hold dots."""
    dataset, *between = name.split(".")
    if len(between) < 3:
        return ""
    options = {"--dataset": dataset, "--split": between[0], "--metric": between[-1]}
    if len(between) == 4:
        options |= {"--vision": between[1], "--text": between[2]}
    elif between[1:-1] in (["vision-text"], ["vision-vision"], ["text-text"]):
        options |= {"--all": "--between " + between[1]}
    return "".join(f" {option} {value}" for option, value in options.items())
