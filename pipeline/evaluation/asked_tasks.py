"""What an evaluation asks of every aligner."""

from __future__ import annotations

from dataclasses import dataclass

from structure.pipeline.suites.prompt_set import PromptSet
from structure.pipeline.suites.suite import SuiteTask


@dataclass(frozen=True)
class AskedTasks:
    """The `tasks` of the suite that results call `suite`, with the `prompts` in place of those that the suite names
    (None: with its own). `options` are those by which it can be asked for again; `seed` draws what is drawn."""

    suite: str
    tasks: tuple[SuiteTask, ...]
    prompts: PromptSet | None
    options: str
    seed: int
