"""A selection on arrays: it finds what made the data, no held-out pair is trained on, and it says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from structure.pipeline.aligners.methods.kernel_csa import KernelCsa
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.aligners.registry import ALIGNERS
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.model_selection import confirmation
from structure.pipeline.model_selection import select as selecting
from structure.pipeline.model_selection.budget import Budget
from structure.pipeline.model_selection.candidates import Candidate, FinalFit, candidates_on
from structure.pipeline.model_selection.confirmation import HELD_OUT
from structure.pipeline.model_selection.criterion import standard_error
from structure.pipeline.model_selection.evaluator import Evaluator
from structure.pipeline.model_selection.folds import assign_folds
from structure.pipeline.model_selection.options import SelectionOptions
from structure.pipeline.model_selection.paired_features import PairedFeatures
from structure.pipeline.model_selection.select import NESTED, select
from structure.pipeline.model_selection.select_aligner import select_aligner
from structure.store.errors import StructureError, UsageError

CHEAP = SelectionOptions(candidates=("ridge", "procrustes", "asif"))
COMMON = {"seed": 1, "device": "cpu"}


def pairs(rows: int = 90, *, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views of one latent vector a row."""
    random = np.random.default_rng(seed)
    latent = random.standard_normal((rows, 6))
    sides = (latent @ random.standard_normal((6, width)) for width in (10, 8))
    vision, text = (side + noise * random.standard_normal(side.shape) for side in sides)
    return vision.astype(np.float32), text.astype(np.float32)


def features(rows: int = 90, groups: np.ndarray | None = None) -> PairedFeatures:
    """A good layer pair, and one whose vision side is noise."""
    vision, text = pairs(rows)
    noise = np.random.default_rng(5).standard_normal(vision.shape).astype(np.float32)
    sides = {("rows", ("good", "text")): (vision, text), ("rows", ("noise", "text")): (noise, text)}
    return PairedFeatures(sides, np.arange(rows) if groups is None else groups)


def test_it_chooses_the_layers_that_hold_the_pairs_and_keeps_the_whole_table() -> None:
    found = select(features(), CHEAP, common=COMMON)
    assert found.chosen.layers == ("good", "text")
    assert len(found.rows) == 10  # five candidates on two layer pairs
    assert [row.is_chosen for row in found.rows].count(True) == 1
    scores = [row.score for row in found.rows if row.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert found.estimate.how == NESTED
    assert found.why.startswith(f"{found.chosen.options.method} (")
    assert "of 10 candidates" in found.why


def test_the_same_pairs_and_seed_give_the_same_choice_and_numbers() -> None:
    documents = [select(features(), CHEAP, common=COMMON).to_dict() for _ in range(2)]
    for document in documents:
        document.pop("seconds")
        document["why"] = ""
        for row in document["candidates"]:
            row.pop("seconds")
    assert documents[0] == documents[1]


class Recorder:
    """Stands in for a method: remembers which rows were fitted (their first feature is the row's number)."""

    def __init__(self) -> None:
        self.fitted: list[set[int]] = []
        self.scored: list[set[int]] = []


def test_no_held_out_pair_is_fitted_and_groups_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(60) // 3
    seen = Recorder()

    def fit_on(candidate: Candidate, data: PairedFeatures, rows: np.ndarray, shared: object) -> Recorder:
        seen.fitted.append(set(rows.tolist()))
        return seen

    def pair_values(aligner: Recorder, vision: np.ndarray, text: np.ndarray, *, select: str) -> np.ndarray:
        aligner.scored.append(set(vision[:, 0].astype(int).tolist()))
        return np.ones(len(vision))

    module = "structure.pipeline.model_selection.evaluator"
    monkeypatch.setattr(f"{module}.fit_on", fit_on)
    monkeypatch.setattr(f"{module}.pair_values", pair_values)
    numbered = np.repeat(np.arange(60.0)[:, None], 4, axis=1)
    data = PairedFeatures({("rows", ("a", "b")): (numbered, numbered)}, groups)
    select(data, CHEAP, common=COMMON)
    assert len(seen.fitted) == len(seen.scored) >= 15
    for training, test in zip(seen.fitted, seen.scored, strict=True):
        assert {int(groups[row]) for row in training}.isdisjoint(int(groups[row]) for row in test)
    assert set.union(*seen.scored) == set(range(60))


def test_the_estimate_is_of_choices_made_on_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that are pure luck: the best score is above .5, the estimate is not."""
    random = np.random.default_rng(3)
    lucky: dict[tuple[Any, int], np.ndarray] = {}

    def fitted(self: Evaluator, candidate: Candidate, at: int, fold: int) -> np.ndarray:
        size = int((self.fold_of == fold).sum())
        return lucky.setdefault((candidate, fold), random.random(size))

    monkeypatch.setattr(Evaluator, "fitted", fitted)
    gaps = []
    for _ in range(40):
        lucky.clear()
        found = select(features(30), SelectionOptions(candidates=CHEAP.candidates), common=COMMON)
        chosen = next(row for row in found.rows if row.is_chosen)
        assert chosen.score is not None
        assert found.estimate.score is not None
        gaps.append((chosen.score, found.estimate.score))
    best, estimate = np.mean(gaps, axis=0)
    assert best > 0.55
    assert abs(estimate - 0.5) < 0.03


def test_above_the_limit_folds_are_of_a_part_and_the_choice_is_confirmed_on_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("MOST_IN_FOLDS", 90), ("IN_FOLDS", 60)):
        monkeypatch.setattr(selecting, name, value)
    monkeypatch.setattr(confirmation, "CONFIRMED_ON", 30)
    found = select(features(120), CHEAP, common=COMMON)
    assert found.estimate.how == HELD_OUT
    assert found.estimate.pairs == 90
    assert found.chosen.layers == ("good", "text")


def test_r_s_stays_only_where_it_gains_more_than_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = 0.0

    def fitted(self: Evaluator, candidate: Candidate, at: int, fold: int) -> np.ndarray:
        noise = np.random.default_rng(fold + 10 * candidate.uses_structure).random(int((self.fold_of == fold).sum()))
        return 0.5 + 0.1 * (noise - noise.mean()) + gain * candidate.uses_structure

    monkeypatch.setattr(Evaluator, "fitted", fitted)
    asked = SelectionOptions(candidates=("linear",))
    gain = 0.001
    assert not select(features(90), asked, common=COMMON).chosen.uses_structure
    gain = 0.05
    assert select(features(90), asked, common=COMMON).chosen.uses_structure


def test_r_s_does_not_stay_for_one_lucky_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted(self: Evaluator, candidate: Candidate, at: int, fold: int) -> np.ndarray:
        return np.full(int((self.fold_of == fold).sum()), 0.5 + 0.3 * (candidate.uses_structure and fold == 0))

    monkeypatch.setattr(Evaluator, "fitted", fitted)
    assert not select(features(90), SelectionOptions(candidates=("linear",)), common=COMMON).chosen.uses_structure


def test_what_is_far_behind_on_the_first_fold_is_not_fitted_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[tuple[str, int]] = []

    def fitted(self: Evaluator, candidate: Candidate, at: int, fold: int) -> np.ndarray:
        fits.append((candidate.options.method, fold))
        noise = np.random.default_rng(fold).random(int((self.fold_of == fold).sum()))
        # The first fold is easy: a mean over it alone would be above that of the best over all.
        return 0.1 * noise + (0.5 if fold == 0 else 0.1) + (0.3 if candidate.options.method == "procrustes" else 0.0)

    monkeypatch.setattr(Evaluator, "fitted", fitted)
    asked = SelectionOptions(candidates=("procrustes", "mlp"))
    found = select(features(90), asked, common=COMMON)
    assert found.chosen.options.method == "procrustes"
    assert [fold for name, fold in fits if name == "mlp"] == [0]
    (behind,) = (row for row in found.rows if row.candidate.options.method == "mlp" and row.score is not None)
    best = next(row for row in found.rows if row.is_chosen)
    assert behind.note == "far behind after 1 of 3 folds"
    assert behind.score == pytest.approx(best.score - 0.3)


def test_what_fits_have_in_common_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = SelectionOptions(candidates=("ridge", "procrustes", "csa", "kernel-csa"), folds=2)
    shared = [row.score for row in select(features(), asked, common=COMMON).rows]
    monkeypatch.setattr(Evaluator, "_in_common", lambda *given: {})
    assert [row.score for row in select(features(), asked, common=COMMON).rows] == shared


def test_what_cannot_be_fitted_to_all_pairs_in_the_end_is_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelCsa, "streams", lambda self, options: False)
    found = select(features(), SelectionOptions(), common=COMMON, final=FinalFit(pairs=10**6, in_passes=True))
    methods = {row.candidate.options.method for row in found.rows}
    assert {"ridge", "linear"} <= methods
    assert "kernel-csa" not in methods
    with pytest.raises(StructureError, match="in passes, and --memory does not hold them"):
        select(features(), SelectionOptions(candidates=("kernel-csa",)), common=COMMON, final=FinalFit(in_passes=True))
    assert not FinalFit(pairs=10**6).allows(
        Candidate(TrainingOptions(method="asif", most_anchors=None, **COMMON), ("a", "b"), {}), (10, 8)
    )


def test_what_the_budget_leaves_out_is_in_the_table() -> None:
    ticks = iter(range(10**6))
    found = select(features(), CHEAP, common=COMMON, budget=Budget(3.0, lambda: float(next(ticks))))
    out = [row for row in found.rows if row.score is None]
    assert out
    assert all("budget" in row.note for row in out)


def test_every_method_takes_part_with_options_that_it_has() -> None:
    for name in ALIGNERS:
        for inputs in ("rows", "tokens", "sets"):
            made = candidates_on(
                ("a", "b"), SelectionOptions(), widths=(10, 10), pairs=100, common=COMMON, inputs=inputs
            )
            assert all(candidate.inputs == inputs for candidate in made)
            assert all(candidate.cost((10, 10), 100) > 0 for candidate in made)
        asked = SelectionOptions(candidates=(name,))
        named = candidates_on(("a", "b"), asked, widths=(10, 12), pairs=100, common=COMMON)
        assert named or TrainingOptions(method=name).method in ("pal", "freezealign", "sma")


def test_options_that_are_stated_hold_for_every_candidate_that_has_them() -> None:
    made = candidates_on(("a", "b"), SelectionOptions(fixed={"dim": 4}), widths=(10, 9), pairs=99, common=COMMON)
    assert {candidate.options.dim for candidate in made if hasattr(candidate.options, "dim")} == {4}
    with pytest.raises(UsageError, match=r"None of the candidates ridge has the option 'dim'.*Methods with it"):
        SelectionOptions(candidates=("ridge",), fixed={"dim": 4})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": ("rigde",)}, "Did you mean ridge|ridge"),
        ({"select": "mrrr"}, "mrr"),
        ({"select": "R@k"}, "R@5"),
        ({"folds": 1}, "--folds 1"),
        ({"budget": "soon"}, "60s"),
        ({"fixed": {"dimm": 3}}, "dim"),
    ],
)
def test_wrong_options_are_told_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(StructureError, match=message):
        SelectionOptions(**options)


def test_a_standard_error_of_groups_is_that_of_their_means_where_they_are_even() -> None:
    values = np.random.default_rng(0).random(60)
    groups = np.arange(60) // 4
    means = values.reshape(15, 4).mean(axis=1)
    assert standard_error(values, groups) == pytest.approx(means.std(ddof=1) / np.sqrt(15))
    assert standard_error(values, np.arange(60)) == pytest.approx(values.std(ddof=1) / np.sqrt(60))


def test_select_aligner_fits_the_choice_to_all_pairs() -> None:
    vision, text = pairs(80)
    repeated = np.concatenate([vision, vision[:10]]), np.concatenate([text, text[:10]])
    done = select_aligner({"good": repeated[0]}, repeated[1], options=CHEAP, seed=3)
    assert done.aligner.metadata["refit_pairs"] == 90
    assert done.selection.chosen.layers == ("good", "features")
    assert done.aligner.embed_images(vision).shape[1] == done.aligner.embed_texts(text).shape[1]
    with pytest.raises(StructureError, match="rows"):
        select_aligner(vision, text[:70], options=CHEAP)


def test_duplicates_and_groups_are_in_one_fold() -> None:
    fold_of = assign_folds(np.array([0, 0, 1, 2, 3, 4]), folds=2, seed=0)
    assert fold_of[0] == fold_of[1]


def unpaired_features(rows: int = 90) -> PairedFeatures:
    """Pairs, and unpaired rows of both sides of other samples."""
    vision, text = pairs(rows + 80)
    extras = Unpaired(vision[rows : rows + 40], text[rows + 40 :])
    layers = ("good", "text")
    return PairedFeatures({("rows", layers): (vision[:rows], text[:rows])}, np.arange(rows), {layers: extras})


def test_methods_that_match_unpaired_rows_take_part_where_there_are_some() -> None:
    matching = {"sotalign", "wasserstein-procrustes", "mini-vec2vec"}
    ticks = iter(range(10**6))
    for given, expected in ((unpaired_features(), matching), (features(), set())):
        found = select(given, SelectionOptions(), common=COMMON, budget=Budget(3.0, lambda: float(next(ticks))))
        assert {row.candidate.options.method for row in found.rows} & matching == expected
    still: dict[str, Any] = {"common": COMMON, "budget": Budget(60.0, lambda: 0.0)}
    fixed = {"rounds": 2, "restarts": 2, "centres": 4, "steps": 3, "batch": 32}
    asked = SelectionOptions(candidates=("ridge", "sotalign", "wasserstein-procrustes"), fixed=fixed)
    scores = {row.candidate.options.method: row for row in select(unpaired_features(), asked, **still).rows}
    assert all(row.score is not None and row.score > 0.3 for row in scores.values())
    lacking = select(features(), asked, **still)
    refused = {row.candidate.options.method for row in lacking.rows if "there are 0 and 0" in row.note}
    assert refused == {"sotalign", "wasserstein-procrustes"}
