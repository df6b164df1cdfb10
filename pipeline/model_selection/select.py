"""The selection itself: the race of all candidates, the rule for R_S, the estimate, the confirmation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.candidates import Candidate, FinalFit, candidates_on, require_candidates
from structure.pipeline.model_selection.confirmation import Confirmation, most_pairs
from structure.pipeline.model_selection.criterion import standard_error
from structure.pipeline.model_selection.evaluator import Evaluator
from structure.pipeline.model_selection.folds import TooFewPairsError, assign_folds, draw_rows
from structure.pipeline.model_selection.halving import Race, best_of_kinds, fits_at_most, race, round_sizes
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.outcome import Estimate, Selection, TableRow, called
from structure.pipeline.model_selection.paired_features import PairedFeatures, width_of
from structure.pipeline.progress import Listener, Note, Progress, silent
from structure.store.errors import StructureError

MOST_IN_FOLDS, IN_FOLDS = 5000, 1500
"""Of more pairs than the first the folds hold the second; the choice is then confirmed on others."""

WEIGHED = 1500
"""Pairs in the folds at most where only the weight of R_S is chosen, which nothing confirms."""

RIVALS = 3
"""The best candidates of how many methods are compared in the confirmation."""

SHARE_OF_FOLDS = 0.5
"""Of the budget, where a confirmation comes after the folds."""

LEAST_PAIRS = 24
"""Pairs of a selection: of fewer, no fold says anything."""

NESTED = "nested: for each fold the choice was made again on the other folds"
NOT_AFFORDED = "the budget ended before it"
ELSEWHERE = "its method was tried on the layers that serve others best"


@dataclass(frozen=True)
class Decision:
    """The race over some folds, and the candidate that is taken."""

    race: Race
    chosen: int


def select(
    features: PairedFeatures,
    options: SelectionOptions,
    *,
    common: Mapping[str, Any],
    final: FinalFit | None = None,
    budget: Budget | None = None,
    on_event: Listener = silent,
) -> Selection:
    """Choose by cross-validation on these pairs, which are all training pairs or, where `final` says so, some of them.

    Candidates are all methods with their grids on all layers (see `candidates_on`); `common` are options of every fit,
    `seed` and `device`. The same pairs, options and seed give the same choice wherever the budget leaves nothing out;
    what it leaves out is in the table. Raises StructureError where no candidate can be fitted.
    """
    if len(features) < LEAST_PAIRS:
        raise TooFewPairsError(
            f"{len(features)} pairs are too few: a selection by cross-validation needs at least {LEAST_PAIRS}. Add "
            "pairs, or name a --method."
        )
    candidates, seed = _candidates(features, options, common, final or FinalFit()), int(common["seed"])
    budget = budget or Budget(options.budget)
    everything = np.arange(len(features))
    inside = draw_rows(everything, features.groups, pairs_in_folds(len(features), options), seed=seed)
    outside = np.setdiff1d(everything, inside)
    chosen_from = features.subset(inside)
    fold_of = assign_folds(chosen_from.groups, folds=options.folds, seed=seed)
    sizes = round_sizes(len(inside) - int(np.bincount(fold_of).max()))
    layers = list(dict.fromkeys(candidate.layers for candidate in candidates))
    entries = [
        candidate.entry(chosen_from.cost(candidate, sizes[-1]), layers.index(candidate.layers))
        for candidate in candidates
    ]
    expected = fits_at_most(entries, rounds=len(sizes), folds=options.folds)

    def told(count: int) -> None:
        on_event(Progress("cross-validation", min(count, expected), expected, "fits"))

    share = SHARE_OF_FOLDS if len(outside) and not options.weights else 1.0
    runs = Evaluator(chosen_from, fold_of, sizes, budget.part(share), options.select, seed, told)
    folds = runs.folds

    costly = [candidate for candidate, entry in zip(candidates, entries, strict=True) if entry.is_costly]

    def decide(some: Sequence[int], *, as_is: Collection[Candidate] = ()) -> Decision | None:
        def scores(numbers: Sequence[int], at: int) -> dict[int, float]:
            found = runs.scores([candidates[number] for number in numbers], at, some, as_is=as_is)
            return {number: found[candidates[number]] for number in numbers if candidates[number] in found}

        found = race(entries, scores, rounds=len(sizes))
        return None if found is None else Decision(found, _plain_twin(runs, candidates, found, some))

    decision = decide(folds)
    if decision is None:
        reasons = "; ".join(f"{one.options.method}: {why}" for one, why in runs.refused.items())
        raise StructureError(f"No candidate could be fitted to {len(inside):,} pairs. {reasons}")
    chosen = candidates[decision.chosen]
    if len(outside) and not options.weights:
        rivals = best_of_kinds(entries, decision.race.decisive, RIVALS)
        numbers = list(dict.fromkeys([decision.chosen, *rivals]))[:RIVALS]
        confirmation = Confirmation.of(features.groups, outside, seed=seed)
        in_time, pairs = confirmation.within(
            budget, [candidates[number] for number in numbers], chosen_from.cost, least=sizes[-1]
        )
        chosen, estimate = confirmation.confirm(features, in_time, pairs=pairs, select=options.select, seed=seed)
        if chosen is not candidates[decision.chosen]:
            on_event(Note(f"on pairs outside the folds {called(chosen)} is better: it is taken"))
    else:
        others = [(fold, decide([other for other in folds if other != fold], as_is=costly)) for fold in folds]
        choices = [(fold, candidates[made.chosen], made.race.last) for fold, made in others if made]
        estimate = _nested(runs, choices, sizes)
    rows = _table(runs, candidates, decision.race, chosen)
    why = _why(runs, rows, chosen, options, len(inside))
    return Selection(chosen, rows, estimate, options.select, options.folds, why, budget.spent)


def _candidates(
    features: PairedFeatures, options: SelectionOptions, common: Mapping[str, Any], final: FinalFit
) -> list[Candidate]:
    """All of them. Raises StructureError where there is none, or a fixed option that none has."""
    in_folds = pairs_in_folds(len(features), options)
    pairs = in_folds - in_folds // options.folds
    found = []
    for (inputs, layers), (vision, text) in features.sides.items():
        widths = (width_of(vision), width_of(text))
        made = candidates_on(layers, options, widths=widths, pairs=pairs, common=common, inputs=inputs)
        # Methods that match unpaired rows take part where there are some, or where they are named.
        able = [one for one in made if features.unpaired or options.candidates or one.use_of_unpaired != "required"]
        found += [candidate for candidate in able if final.allows(candidate, widths)]
    require_candidates(found, options.fixed, final)
    return found


def pairs_in_folds(pairs: int, options: SelectionOptions) -> int:
    """Of how many of the pairs the folds are made."""
    if options.weights:
        return min(pairs, WEIGHED)
    return pairs if pairs <= MOST_IN_FOLDS else IN_FOLDS


def pairs_used(pairs: int, options: SelectionOptions) -> int:
    """How many of the pairs the folds and the confirmation use together."""
    inside = pairs_in_folds(pairs, options)
    return inside if options.weights or inside == pairs else min(pairs, inside + most_pairs())


def _plain_twin(runs: Evaluator, candidates: Sequence[Candidate], found: Race, folds: Sequence[int]) -> int:
    """The winner; if it trains under R_S, the same without, unless R_S gains more than one standard error."""
    winner, at = candidates[found.winner], found.last
    if not winner.uses_structure:
        return found.winner
    alone = winner.options.changed(regulariser="none")
    twin = next((n for n, one in enumerate(candidates) if _is_twin(one, winner, alone)), None)
    if twin is None:
        return found.winner
    folds = runs.folds_of(winner, at, folds)
    both = [fold for fold in folds if runs.values(candidates[twin], at, fold) is not None]
    if not both:
        return found.winner
    gain, error = runs.difference(winner, candidates[twin], at, both)
    if len(both) > 1:
        error = max(error, runs.spread(winner, candidates[twin], at, both))
    return found.winner if gain > error else twin


def _is_twin(one: Candidate, winner: Candidate, alone: TrainingOptions) -> bool:
    """Whether it is the winner without R_S, whose weight then means nothing."""
    if one.layers != winner.layers or one.options.method != winner.options.method or one.uses_structure:
        return False
    return one.options.changed(weight=0.0) == alone.changed(weight=0.0)


def _nested(runs: Evaluator, choices: Sequence[tuple[int, Candidate, int]], sizes: Sequence[int]) -> Estimate:
    """Mean over the folds of what the choice made on the other folds scores there; pairs are those of the last round
    that a choice was made in."""
    folds, parts = [], []
    for fold, candidate, at in choices:
        values = runs.values(candidate, at, fold)
        if values is not None:
            folds.append(fold)
            parts.append(values)
    if not parts:
        return Estimate(None, None, 0, NOT_AFFORDED)
    values = np.concatenate(parts)
    error = standard_error(values, runs.groups(folds))
    return Estimate(float(values.mean()), error, min(sizes[at] for _, _, at in choices), NESTED)


def _table(runs: Evaluator, candidates: Sequence[Candidate], found: Race, chosen: Candidate) -> list[TableRow]:
    """A row for each candidate: those of the last round first, each round by falling score."""
    rows: list[tuple[int, TableRow]] = []
    for number, candidate in enumerate(candidates):
        is_chosen, seconds = candidate is chosen, runs.seconds.get(candidate, 0.0)
        rounds = [at for at, scores in enumerate(found.rounds) if number in scores] + [found.last] * is_chosen
        if not rounds:
            late = NOT_AFFORDED if candidate in runs.not_afforded else ELSEWHERE
            rows.append((-1, TableRow(candidate, None, None, 0, seconds, runs.refused.get(candidate, late), is_chosen)))
            continue
        at, note = max(rounds), ""
        score, fitted = found.rounds[at].get(number), runs.folds_of(candidate, at)
        if score is None:  # the same without R_S is taken, which was not in the round
            score = runs.scores([candidate], at, runs.folds)[candidate]
        if at < found.last:
            note = f"eliminated on {runs.sizes[at]:,} pairs a fold"
        elif len(fitted) < len(runs.folds):
            note = f"far behind after {len(fitted)} of {len(runs.folds)} folds"
        error, pairs = runs.error(candidate, at), runs.sizes[at]
        rows.append((at, TableRow(candidate, score, error, pairs, seconds, note, is_chosen)))
    rows.sort(key=lambda entry: (-entry[0], -(entry[1].score if entry[1].score is not None else -1.0)))
    return [row for _, row in rows]


def _why(runs: Evaluator, rows: Sequence[TableRow], chosen: Candidate, options: SelectionOptions, pairs: int) -> str:
    """One sentence."""
    mine = next(row for row in rows if row.is_chosen)
    next_best = next((row for row in rows if not row.is_chosen and row.score is not None), None)
    begin = f"{called(chosen)} was chosen of {len(rows)} candidates"
    if mine.score is None or mine.se is None:
        return f"{begin} for {pairs:,} pairs."
    begin += f": {options.select} {mine.score:.3f} ± {mine.se:.3f} over {options.folds} folds of {pairs:,} pairs"
    if next_best is None or next_best.pairs != mine.pairs:
        return f"{begin}, alone in the last round."
    at = list(runs.sizes).index(mine.pairs)
    gain, error = runs.difference(chosen, next_best.candidate, at, range(options.folds))
    clear = "" if abs(gain) > 2 * error else ", which is not statistically significant"
    return f"{begin}, {gain:+.3f} ± {error:.3f} against {called(next_best.candidate)}{clear}."
