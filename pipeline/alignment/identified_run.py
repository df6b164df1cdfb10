"""Which run a training is, from records alone: everything that determines its weights, its name, and whether its
aligner is there. Torch is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from structure.pipeline.aligners.aligned import Aligned, find_aligned
from structure.pipeline.aligners.aligner_runs import AlignerName
from structure.pipeline.aligners.option_groups import StructureOptions
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.versions import versions
from structure.pipeline.alignment.training_inputs import TrainingInputs
from structure.pipeline.pairing.given_splits import split_identity
from structure.pipeline.pairing.unpaired_rows import named_sets
from structure.pipeline.run_context import RunContext
from structure.pipeline.stage_requests.align import AUTO, AlignRequest
from structure.store import FeatureSet
from structure.store.fingerprint import fingerprint


@dataclass(frozen=True)
class IdentifiedRun:
    """A run as it is on record: `facts` for the aligner, everything that determines its weights, the digest of that and
    of the test fraction, the aligner's name, and how its method was selected, where it was; `weighed` are the options
    with the published weight of R_S, where only that was."""

    facts: dict[str, Any]
    identity: dict[str, Any]
    id: str
    name: str
    selection: Mapping[str, Any] | None = None
    weighed: TrainingOptions | None = None

    @classmethod
    def of(cls, request: AlignRequest, context: RunContext, inputs: TrainingInputs) -> IdentifiedRun:
        """The run that trains on these pairs. Raises StructureError where another run has its name."""
        options, sides, sets = request.options, inputs.chosen.sides, inputs.chosen.sets
        facts: dict[str, Any] = {
            "layers": sides.names,
            "data": {"dataset": sets[0].manifest.dataset, "split": sets[0].manifest.split},
            "fingerprints": {"vision": sets[0].fingerprint, "text": sets[1].fingerprint},
            "added": list(request.add),
            "unpaired_features": list(request.unpaired),
        }
        identity = {
            **facts,
            "options": options.to_dict(),
            "content": [features.content() for features in (*sets, *named_sets(context.store, request.unpaired))],
            "rows": fingerprint({"rows": inputs.rows.items.tolist()}),
            **({} if request.auto is None else {"auto": request.auto.to_dict(), "layer_candidates": request.layers}),
            **split_identity(sides, request.split_column),
        }
        run = fingerprint({**identity, "versions": versions(), "test": request.test})
        default = default_name(*sets, request)
        return cls(facts, identity, run, AlignerName(request.name, default, request.replace).of(run, context.store))

    def made_before(self, request: AlignRequest, context: RunContext) -> Aligned | None:
        """What the same run made; None with labelled pairs, whose data may have changed. Raises as `find_aligned`
        does."""
        if request.add:
            return None
        return find_aligned(context.store, self.name, self.id, replace=request.replace, on_event=context.on_event)


def default_name(vision: FeatureSet, text: FeatureSet, request: AlignRequest) -> str:
    """A name that tells apart what is usually compared: data, encoders, layers, method, regulariser, pairs, seed."""
    options = request.options
    is_plain = isinstance(options, StructureOptions) and not options.uses_structure
    parts = [
        vision.manifest.dataset,
        vision.manifest.encoder,
        text.manifest.encoder,
        request.layers.replace("+", "_").replace(",", "+"),
        AUTO if request.auto is not None and not request.auto.weights else options.method,
        *(["weight-auto"] if request.auto is not None and request.auto.weights else []),
        *(["plain"] if is_plain and request.auto is None else []),
        *([] if request.pairs is None else [f"{request.pairs}pairs"]),
        f"seed{options.seed}",
    ]
    return "-".join(parts)
