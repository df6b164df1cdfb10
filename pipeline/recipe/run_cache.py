"""The results of a recipe's steps, cached in the store under a fingerprint of everything that they depended on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
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


def digest(value: Any) -> str:
    """Hex SHA-256 of JSON values, NaN included."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def stated(value: Any, *, without: Collection[str] = ()) -> Any:
    """A frozen dataclass as JSON values: the fields that say something else than their default, but for those named in
    `without`. A field that is added later, and says nothing yet, changes no digest."""
    if is_dataclass(value):
        own = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
        return {
            name: stated(given, without=without)
            for name, (given, default) in own.items()
            if name not in without and given != default
        }
    if isinstance(value, Mapping):
        return {str(key): stated(item, without=without) for key, item in value.items()}
    return [stated(item, without=without) for item in value] if isinstance(value, list | tuple) else value


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
