"""The kinds of file that stages write into a store, and what makes each again: said wherever one is damaged.

Records are refused where they are read, with the remedy of their kind; caches are made again by the next command that
needs them. Feature sets and sample indexes look after themselves (`structure.store.verify`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from structure.store.errors import DamageError
from structure.store.files import Files
from structure.store.seals import SealError


@dataclass(frozen=True)
class FileKind:
    """Files of one kind: `pattern` is of their keys, its groups are named in `remedy`. They carry a seal, or are listed
    by the `record` beside them (its key, with the groups); `is_cache`: they are made again without being asked for."""

    name: str
    pattern: str
    remedy: str
    record: str = ""
    is_cache: bool = False

    def match(self, key: str) -> dict[str, str] | None:
        """The groups of a key of this kind; None for one of another."""
        found = re.fullmatch(self.pattern, key)
        return None if found is None else {name: text or "" for name, text in found.groupdict().items()}


_AGAIN = "The next command that needs it makes it again."
_RANK = (
    "Rank again: its structure rank-layers, which makes all of it anew. To be rid of it: "
    "structure store rm rankings/{name} --yes"
)
_ALIGN = (
    "Train it again: its structure align, with --name {name} --replace. To be rid of it: "
    "structure store rm aligners/{name} --yes"
)
_EVALUATE = "Evaluate again: structure eval --suite {suite} --aligner {name}"
_RESULTS = "Evaluate again: structure eval --suite SUITE --aligner {name}"
_RUN = "Run it again: structure run {name}. To be rid of it: structure store rm reports/{name} --yes"
_CURVE = "Fit it again: its structure curve, with --replace. To be rid of it: structure store rm curves/{name} --yes"
_COMPARE = "Compare again: structure eval --compare {first} {second}"

KINDS = (
    FileKind("neighbour tables", r"neighbours/.+\.npz", _AGAIN, is_cache=True),
    FileKind("rankings", r"rankings/(?P<name>[^/]+)/ranking\.json", _RANK),
    FileKind("matrices of models", r"rankings/(?P<name>[^/]+)/models\.json", _RANK),
    FileKind("charts of matrices", r"rankings/(?P<name>[^/]+)/models\.png", _RANK, "rankings/{name}/models.json"),
    FileKind("scores and charts", r"rankings/(?P<name>[^/]+)/[^/]+", _RANK, "rankings/{name}/ranking.json"),
    FileKind("aligners", r"aligners/(?P<name>[^/]+)/aligner\.json", _ALIGN),
    FileKind(
        "weights, histories", r"aligners/(?P<name>[^/]+)/(?!README\.md).+", _ALIGN, "aligners/{name}/aligner.json"
    ),
    FileKind("states of trainings", r"checkpoints/.+", "The training starts anew.", is_cache=True),
    FileKind("results", r"results/(?P<name>[^/]+)/results\.parquet", _RESULTS),
    FileKind("predictions", r"results/(?P<name>[^/]+)/predictions/(?P<suite>[^/@]+)(@[^/]*)?/[^/]+", _EVALUATE),
    FileKind(
        "examples, confusions, pictures",
        r"results/(?P<name>[^/]+)/\w+/(?P<suite>[^/@]+)(@[^/]*)?/(?P<file>[^/]+)",
        _EVALUATE,
        "results/{name}/predictions",
    ),
    FileKind(
        "results for CLIP_benchmark", r"results/(?P<name>[^/]+)/[^/]+\.json", _RESULTS, "results/{name}/predictions"
    ),
    FileKind("comparisons", r"comparisons/(?P<first>.+)\.\.(?P<second>.+)\.json", _COMPARE),
    FileKind("steps of recipes", r"recipes/[^/]+/.+/.+\.json", _AGAIN, is_cache=True),
    FileKind("summaries", r"reports/(?P<name>[^/]+)/summary\.json", _RUN),
    FileKind("correlations", r"reports/(?P<name>[^/]+)/similarity\..+", _RUN, "reports/{name}/summary.json"),
    FileKind("curves over pairs", r"curves/(?P<name>[^/]+)/curve\.json", _CURVE),
    FileKind("charts of curves", r"curves/(?P<name>[^/]+)/curve\.png", _CURVE, "curves/{name}/curve.json"),
    FileKind("frames of encoders", r"frames/.+\.json", _AGAIN, is_cache=True),
)


def kind_of(key: str) -> tuple[FileKind, dict[str, str]] | None:
    """The kind of a file and the groups of its key; None for what no stage writes there."""
    for kind in KINDS:
        groups = kind.match(key)
        if groups is not None:
            return kind, groups
    return None


def remedy_of(key: str) -> str:
    """What to type where the file of that key is damaged."""
    found = kind_of(key)
    return "Remove it, or make it again." if found is None else found[0].remedy.format(**found[1])


def damaged(folder: Files, name: str, error: SealError) -> DamageError:
    """The error that says which file is damaged, how, and what to type."""
    return DamageError(f"{folder}/{name} {error}. {remedy_of(folder.key(name))}")
