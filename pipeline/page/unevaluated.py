"""The verdict of a store without a test result: how far it has come, what it says already, and the next command."""

from __future__ import annotations

import shlex

from structure.pipeline.page.blocks import Figure, Finding, Verdict, plural
from structure.pipeline.page.caveats import stale_words
from structure.pipeline.page.forecast import forecast
from structure.pipeline.page.next_command import typed, with_test
from structure.pipeline.page.source import Ranking, Source
from structure.pipeline.page.structure_effect import diagnosis
from structure.pipeline.similarity.charts import SIDES, metric_of
from structure.store import FeatureSet


def unevaluated(source: Source) -> Verdict:
    """Of aligners without a test, of rankings alone, of features alone, of nothing."""
    if source.aligners:
        return _aligned(source)
    across = [ranking for ranking in source.rankings if _is_across(source, ranking)]
    if across:
        return _ranked(source, across[-1])
    if source.features:
        return _extracted(source, source.features)
    command = "structure extract --model VISION_MODEL --model TEXT_MODEL --dataset DATASET"
    next_step = Finding(
        "Next", "Extract the features of an image encoder and of a text encoder:", (typed(source, command),)
    )
    return Verdict("The store is empty: there is nothing to judge yet.", [], [next_step])


def _aligned(source: Source) -> Verdict:
    names = list(source.aligners)
    selected = next((name for name, facts in source.aligners.items() if facts.get("selection")), None)
    findings: list[Finding] = []
    figures: list[Figure] = []
    if selected is not None:
        selection = source.aligners[selected]["selection"]
        findings.append(Finding("Selection", f"{selected}: {selection['why']}"))
        estimate = selection["estimate"]
        if estimate["score"] is not None:
            detail = f"±{estimate['se']:.3f}, one standard error, by cross-validation on training pairs"
            figures.append(Figure(f"expected {selection['criterion']}", f"{estimate['score']:.3f}", detail))
    findings += [*diagnosis(source, names), *forecast(source)]
    findings.append(
        Finding(
            "Caution",
            "The recalls under Training are of the validation pairs, by which an epoch was chosen: they are no test.",
            caution=True,
        )
    )
    if source.stale:
        findings.append(Finding("Caution", stale_words(source.stale), caution=True))
    newest = selected or names[-1]
    findings.append(Finding("Next", "Train it with a test set of its own:", (with_test(source, newest),)))
    subject = f"{names[0]} was" if len(names) == 1 else f"{len(names)} aligners were"
    return Verdict(f"{subject} trained, and none was tested: no aligner can be called best.", figures, findings)


def _ranked(source: Source, ranking: Ranking) -> Verdict:
    document = ranking.document
    best, metric = document["best"], metric_of(document)
    first, second = (f"{best[f'{side}_layer']} of {document[side]['model']}" for side in SIDES)
    words = f"No aligner yet. The most similar layers are {first} and {second}: {metric} {best['score']:.3f}"
    chance, threshold = document.get("chance"), document.get("threshold")
    words += "" if chance is None else f", chance {chance:.3f}"
    figures = [Figure(metric, f"{best['score']:.3f}", _range(document.get("interval")))]
    if chance is not None:
        figures.append(Figure("chance", f"{chance:.3f}"))
    if threshold is not None:
        above = best["score"] > threshold
        told = "above" if above else "not above"
        words += f". It is {told} what 95 % of permutations reach ({threshold:.3f})"
    findings = [
        *forecast(source),
        Finding("Next", "Align, with a fifth of the pairs as a test:", (_align(source, ranking),)),
    ]
    return Verdict(f"{words}.", figures, findings)


def _is_across(source: Source, ranking: Ranking) -> bool:
    """Whether a ranking is of two modalities, which can be aligned."""
    models = [ranking.document[side]["model"] for side in SIDES]
    return len({features.modality for features in source.features if features.manifest.encoder in models}) != 1


def _align(source: Source, ranking: Ranking) -> str:
    document = ranking.document
    data = f"--dataset {document['dataset']} --split {document['split']}"
    sides = f"--vision {document['vision']['model']} --text {document['text']['model']}"
    return typed(source, "structure align", data, sides, "--test 0.2")


def _range(interval: list[float] | None) -> str:
    return f"95 % interval [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""


def _extracted(source: Source, features: list[FeatureSet]) -> Verdict:
    """Features alone: of one side the other is missing, of two a ranking."""
    of_training = [each for each in features if each.manifest.split == "train"] or features
    sides = {each.modality: each.manifest for each in reversed(of_training)}
    told = f"Nothing is aligned yet: the store has {plural(len(features), 'feature set')}."
    if len(sides) > 1:
        return Verdict(told, [], [Finding("Next", "Rank the layers:", (typed(source, "structure rank-layers"),))])
    ((side, manifest),) = sides.items()
    data = (manifest.provenance or {}).get("dataset_spec") or manifest.dataset
    other = "text" if side == "vision" else "vision"
    command = f"structure extract --model {other.upper()}_MODEL --dataset {shlex.quote(data)} --split {manifest.split}"
    step = Finding("Next", f"Extract {other} features of the same data:", (typed(source, command),))
    return Verdict(told, [], [step])
