"""The results of a recipe's steps, cached in the store under a fingerprint of everything that they depended on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from structure.pipeline.recipe.steps import Step
from structure.store import Store
from structure.store.fingerprint import fingerprint
from structure.store.seals import Seal, SealError, read_json

FOLDER = "recipes"


@dataclass(frozen=True)
class StepResult:
    """The result of a step, JSON values; `digest` stands for it in the fingerprints of the steps that need it."""

    result: Mapping[str, Any]
    digest: str
    seconds: float = 0.0


@dataclass(frozen=True)
class CachedStep:
    """A result in the cache with what it depended on, so that a later run can say which of it has changed."""

    fingerprint: str
    identity: Mapping[str, Any]
    result: StepResult


def identity_of(step: Step, inputs: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, Any]:
    """Everything that a step's result depends on: its options, the digests of what it needs, and of the data,
    weights and suites that it reads (`sources`)."""
    return {"stage": step.stage, "options": dict(step.options), "inputs": dict(inputs), "sources": dict(sources)}


class RunCache:
    """The entries of one recipe: `recipes/<recipe>/<step>.json`, each written whole once its step is done."""

    def __init__(self, store: Store, recipe: str) -> None:
        self.store, self.recipe = store, recipe

    def read(self, step: Step) -> CachedStep | None:
        """The step's entry; None where there is none. Raises SealError for one that is not what was written, or is of
        another step: then the step is run again."""
        try:
            body = read_json(self.store.files, self._key(step))
            return CachedStep(body["fingerprint"], body["identity"], StepResult(**body["outcome"]))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError) as error:
            raise SealError(f"does not read: {error}") from None

    def write(self, step: Step, identity: Mapping[str, Any], result: StepResult) -> None:
        """Write the step's entry in place of an earlier one."""
        key, mark = self._key(step), fingerprint(identity)
        entry = {"fingerprint": mark, "identity": dict(identity), "outcome": asdict(result)}
        self.store.files.write(key, Seal(key, mark).json(entry, indent=1, allow_nan=True))

    @property
    def lock(self) -> str:
        """The key of the lease that a run holds."""
        return f"{FOLDER}/{self.recipe}/running.json"

    def _key(self, step: Step) -> str:
        return f"{FOLDER}/{self.recipe}/{step.key}.json"
