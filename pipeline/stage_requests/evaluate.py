"""What the stage evaluate is asked to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from structure.pipeline.stage_requests.checks import require_two
from structure.pipeline.suites.own_labels import OwnLabels
from structure.pipeline.suites.prompt_set import PromptSet, load_prompt_set
from structure.pipeline.suites.suite import Suite, load_suite
from structure.store.errors import UsageError


@dataclass(frozen=True)
class EvaluateRequest:
    """Evaluate aligners (by name; the newest by default) on a suite and save the results below `results/<aligner>/`.

    `suite` is a name or a YAML file, or `OwnLabels`: the labels of one dataset without a suite. `datasets` takes some
    of its tasks alone, `prompts` other prompts. Datasets that are not on this machine are listed in `absent`; under
    `require_all` they are an error. `compare` names two aligners, which are evaluated too and compared sample by sample
    (with `group`, a column of the sample index, samples of one value count together); `seed` draws what is drawn.
    Raises StructureError for a suite or dataset of it that does not exist.
    """

    suite: str | OwnLabels
    _: KW_ONLY
    aligners: Sequence[str] = ()
    datasets: Sequence[str] = ()
    prompts: str | None = None
    require_all: bool = False
    compare: tuple[str, str] | None = None
    group: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.opened_suite.select(self.datasets)
        if self.prompts:
            load_prompt_set(self.prompts)
        if self.compare:
            require_two(*self.compare)
        elif self.group is not None:
            raise UsageError(f"--group {self.group} is of a comparison: it changes nothing without --compare A B.")

    @property
    def opened_suite(self) -> Suite:
        """The suite, read from its file."""
        return self.suite.suite if isinstance(self.suite, OwnLabels) else load_suite(self.suite)

    @property
    def prompt_set(self) -> PromptSet | None:
        """The prompts in place of those that the suite names; None where it keeps its own."""
        if self.prompts:
            return load_prompt_set(self.prompts)
        return self.suite.prompt_set if isinstance(self.suite, OwnLabels) else None

    @property
    def asked(self) -> str:
        """The options that ask for it, as they are typed."""
        if isinstance(self.suite, OwnLabels):
            return self.suite.asked
        prompts = f" --prompts {shlex.quote(self.prompts)}" if self.prompts else ""
        return f"--suite {shlex.quote(self.suite)}{prompts}"

    @property
    def names(self) -> list[str]:
        """The aligners that are named, those to compare among them."""
        return [*self.aligners, *(self.compare or ())]
