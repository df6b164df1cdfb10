"""What to type next: commands that name the store, the data, the encoders and the layers of what they are about."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structure.pipeline.aligners.options import TrainingOptions, option_names
from structure.pipeline.page.leaderboard import Leaderboard, Standing
from structure.pipeline.page.pairs_used import pairs_used
from structure.pipeline.page.source import Source
from structure.pipeline.results import HELD_OUT
from structure.pipeline.shown_paths import shown_command, shown_text
from structure.pipeline.suites.suite import suite_names
from structure.store import Samples
from structure.store.errors import StructureError

SEEDS = (1, 2, 3, 4, 5)
"""Seeds that are proposed where there is one."""

MOST_LETTERS = 100
"""Of a name that is proposed."""

PLAIN = re.compile(r"\w[\w ,.']{1,60}")
"""A caption that can stand in a command."""

OF_THE_RUN = ("method", "seed", "device", "refit")
"""Options that a command says otherwise."""

Facts = Mapping[str, Any]
"""The metadata of an aligner."""


def typed(source: Source, *words: str) -> str:
    """A command on the page's store; words are quoted already, empty ones are left out. Paths are shown as
    `shown_path` says."""
    return shown_command(" ".join([*filter(None, words), f"--store {shlex.quote(source.store.url)}"]))


def baseline(source: Source, board: Leaderboard, method: str) -> str:
    """Trains a method without R_S on the layers and pairs of the best variant, with its seeds, and evaluates it on its
    test."""
    best = board.best
    plain = "--regulariser none" if "regulariser" in option_names(method) else ""
    seeds = _seeds([seed for seed in best.runs if seed])
    name = _name(f"{best.variant}-{method}")
    return typed(source, "structure align", f"--method {method}", plain, *_as_trained(source, board, best), seeds, name)


def more_seeds(source: Source, board: Leaderboard) -> str:
    """Trains the best variant with several seeds, which draw other batches, first weights and validation pairs."""
    best = board.best
    facts = source.aligners[best.result.aligner]
    name = _name(f"{best.variant}-seeds")
    return typed(source, "structure align", *_options(facts), *_as_trained(source, board, best), _seeds(SEEDS), name)


def with_test(source: Source, aligner: str) -> str:
    """Trains an aligner again with a fifth of its pairs held out for testing."""
    facts = source.aligners[aligner]
    own = [] if facts.get("selection") else [*_options(facts), f"--layers {_layers(facts)}"]
    return typed(source, "structure align", *own, *_data(facts), "--test 0.2", _name(f"{aligner}-tested"))


def search(source: Source, aligner: str) -> str:
    """Finds the images that a caption of the training data describes."""
    data = source.aligners[aligner].get("data", {})
    query = "WORDS"
    if source.store.files.exists(Samples.file(str(data.get("dataset")), str(data.get("split")))):
        texts = source.store.samples(data["dataset"], data["split"]).texts(1)
        query = next((text for text in texts if PLAIN.fullmatch(text)), query)
    return typed(source, "structure search", shlex.quote(query), f"--aligner {shlex.quote(aligner)}")


def remake(source: Source, stale: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes a stale part again, where one command does."""
    command = str(stale["command"])
    return (typed(source, command),) if command.startswith("structure ") else (shown_text(command),)


def _as_trained(source: Source, board: Leaderboard, standing: Standing) -> Iterator[str]:
    """The layers, data and pairs of a variant, and how it was tested."""
    facts = source.aligners[standing.result.aligner]
    yield f"--layers {_layers(facts)}"
    yield from _data(facts)
    trained, tested = pairs_used(facts), facts.get("test_pairs", 0)
    whole = _pairs_stored(source, facts)
    if tested:
        yield f"--test {tested / max(whole, trained + tested):.6f}".rstrip("0")
    if trained + tested < whole:
        yield f"--pairs {trained}"
    if board.task != HELD_OUT:
        yield f"--suite {_suite(source, board)}"


def _pairs_stored(source: Source, facts: Facts) -> int:
    """How many pairs the store has of the data that an aligner was trained on; 0 where these are not there."""
    data, encoders = facts.get("data", {}), facts.get("encoders", {})
    sizes = [
        len(features) - len(features.skipped)
        for features in source.features
        if (features.manifest.dataset, features.manifest.split) == (data.get("dataset"), data.get("split"))
        and features.manifest.encoder == encoders.get("vision", {}).get("name")
    ]
    return max(sizes, default=0)


def _suite(source: Source, board: Leaderboard) -> str:
    """The suite of a test as `--suite` takes it: shipped, or written by a recipe; else FILE for the user's own."""
    name = board.question[0].partition("@")[0]
    own = f"recipes/{name}/suite.yaml"
    if source.store.files.exists(own):
        return shlex.quote(f"{source.store.url.rstrip('/')}/{own}")
    return name if name in suite_names() else "FILE"


def _layers(facts: Facts) -> str:
    return shlex.quote(",".join(str(facts.get("layers", {}).get(side, "last")) for side in ("vision", "text")))


def _data(facts: Facts) -> Iterator[str]:
    """Dataset, split and encoders."""
    data, encoders = facts.get("data", {}), facts.get("encoders", {})
    named = {option: data.get(option) for option in ("dataset", "split")}
    named |= {side: encoders.get(side, {}).get("name") for side in ("vision", "text")}
    for option, value in named.items():
        if value:
            yield f"--{option} {shlex.quote(str(value))}"


def _options(facts: Facts) -> Iterator[str]:
    """The method, and its options that are not the default."""
    options = facts.get("options", {})
    method = options.get("method", "linear")
    yield f"--method {method}"
    try:
        plain = TrainingOptions(method=method).to_dict()
    except StructureError:
        return  # of a package that is not installed here
    for name, value in options.items():
        if name not in OF_THE_RUN and name in plain and value != plain[name]:
            yield f"--set {shlex.quote(f'{name}={str(value).lower() if value in (None, True, False) else value}')}"


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 1:
        return f"--seeds {','.join(map(str, seeds))}"
    return f"--seed {seeds[0]}" if seeds else ""


def _name(name: str) -> str:
    return f"--name {shlex.quote(name[:MOST_LETTERS].strip('-.'))}"
