"""Methods of few pairs and none: golden values of every piece, and what the whole methods reach."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from structure.pipeline.aligners import TrainingData, TrainingOptions, fit
from structure.pipeline.aligners.few_pairs.kernel_matching import centred_kernel, match_kernels, objectives
from structure.pipeline.aligners.few_pairs.kmeans import kmeans, nearest
from structure.pipeline.aligners.few_pairs.lion import Lion
from structure.pipeline.aligners.few_pairs.ridge_cca import ridge_cca
from structure.pipeline.aligners.few_pairs.unpaired_sides import UnpairedSides, polar, unit
from structure.pipeline.aligners.few_pairs.vec2vec import (
    Vec2Vec,
    nearest_rows,
    neighbour_means,
    relative_targets,
)
from structure.pipeline.aligners.few_pairs.wasserstein import GeometricProcrustes
from structure.pipeline.aligners.losses.klot import klot, klot_of_rows
from structure.pipeline.aligners.unpaired import Unpaired
from structure.store.errors import StructureError

QUICK = {
    "sotalign": {"steps": 20, "batch": 64, "learning_rate": 1e-2},
    "wasserstein-procrustes": {"restarts": 3, "rounds": 5, "block": 150, "centres": 10},
    "mini-vec2vec": {"rounds": 3, "centres": 8, "refinements": 5, "neighbours": 10},
}
MATCHING = tuple(QUICK)


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_the_teacher_is_golden(golden: Path, case: str) -> None:
    file = np.load(golden / "sotalign_teacher.npz")
    given = {name: file[f"{case}_{name}"] for name in ("X", "Y", "X_heldout", "Y_heldout")}
    ridge, dim = float(file[f"{case}_ridge"]), int(file[f"{case}_dim_requested"])
    fitted = ridge_cca(given["X"], given["Y"], dim=dim, ridge=ridge)
    np.testing.assert_allclose(fitted.singular_values, file[f"{case}_singular_values"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(fitted.of_x @ fitted.of_y.T, file[f"{case}_WxWyT"], rtol=0, atol=1e-9)
    x, y = (
        unit(torch.from_numpy(given[name]) @ by)
        for name, by in (("X_heldout", fitted.of_x), ("Y_heldout", fitted.of_y))
    )
    np.testing.assert_allclose(x @ y.T, file[f"{case}_cosine_heldout"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(40, 40), (30, 50)])
def test_klot_of_rows_is_klot_of_their_cosines(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in shape]
    taught = [torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in shape]
    plain = [side.clone().requires_grad_() for side in sides]
    ours = [side.clone().requires_grad_() for side in sides]
    expected = klot(unit(plain[0]) @ unit(plain[1]).T, unit(taught[0]) @ unit(taught[1]).T)
    found = klot_of_rows((ours[0], ours[1]), (taught[0], taught[1]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    (3 * expected).backward()
    (3 * found).backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-11)
    with pytest.raises(ValueError, match="must embed the same rows"):
        klot_of_rows((sides[0], sides[1]), (taught[0][:3], taught[1]))


def test_lion_moves_by_the_sign_of_its_momentum() -> None:
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    optimiser = Lion([weight], rate=0.1, weight_decay=0.5)
    momentum = torch.zeros(2)
    expected = weight.detach().clone()
    for gradient in (torch.tensor([3.0, -1.0]), torch.tensor([-0.1, 40.0])):
        weight.grad = gradient.clone()
        optimiser.step()
        direction = torch.sign(0.9 * momentum + 0.1 * gradient)
        expected = expected - 0.1 * (direction + 0.5 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
        torch.testing.assert_close(weight.detach(), expected)
        assert weight.grad is None


def test_matching_finds_the_best_permutation_of_all() -> None:
    random = np.random.default_rng(0)
    first, second = (centred_kernel(random.normal(size=(6, 3))) for _ in range(2))
    linear = random.normal(size=(6, 6))
    every = np.array(list(permutations(range(6))))
    for bonus in (None, linear):
        values = objectives(first, second, np.zeros((6, 6)) if bonus is None else bonus, every)
        order, value = match_kernels(first, second, restarts=40, random=random, linear=bonus)
        assert value == pytest.approx(values.max())
        assert tuple(order) == tuple(every[values.argmax()])


def test_matching_is_as_good_as_the_notebook_s(golden: Path) -> None:
    file = np.load(golden / "mini_vec2vec.npz")
    kernels = [centred_kernel(file[f"easy_qap_centers_{side}"]) for side in ("x", "y_unpermuted")]
    for kernel, side in zip(kernels, "xy", strict=True):
        np.testing.assert_allclose(kernel, file[f"easy_qap_kernel_{side}"], rtol=0, atol=1e-6)
    values = objectives(kernels[0], kernels[1], np.zeros((20, 20)), file["easy_qap_perm_runs"].astype(np.int64))
    np.testing.assert_allclose(values, file["easy_qap_obj_runs"], rtol=0, atol=1e-5)
    _, value = match_kernels(*kernels, restarts=30, random=np.random.default_rng(0))
    assert value >= 19.52


def test_kmeans_is_as_tight_as_scikit_learn_s() -> None:
    from sklearn.cluster import KMeans

    random = np.random.default_rng(0)
    rows = random.normal(size=(800, 5)) + 6 * random.normal(size=(12, 5))[random.integers(12, size=800)]
    theirs = np.mean([KMeans(12, n_init=1, random_state=seed).fit(rows).inertia_ for seed in range(5)])
    values = torch.from_numpy(rows)
    ours = [
        float(nearest(values, kmeans(values, centres=12, random=np.random.default_rng(seed)))[1].sum())
        for seed in range(5)
    ]
    assert np.mean(ours) <= 1.1 * theirs
    start = torch.cat([values[:11], torch.full((1, 5), 1e3, dtype=torch.float64)])  # the last has no row
    assert kmeans(values, centres=12, random=random, start=start).abs().max() < 100


def vec2vec_data(
    file: np.lib.npyio.NpzFile, case: str, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training rows of both sides, which share no item, and evaluation rows, centred and of unit length."""
    sides = []
    for name in ("A", "B"):
        rows = torch.from_numpy(file[f"{case}_{name}"]).to(dtype)
        sides.append(unit(rows - rows[:4000].mean(dim=0)))
    return sides[0][:2000], sides[1][2000:4000], sides[0][4000:], sides[1][4000:]


def test_mini_vec2vec_is_golden_step_by_step(golden: Path) -> None:
    file = np.load(golden / "mini_vec2vec.npz")
    x, y, test_x, _ = vec2vec_data(file, "easy")

    def same_map(weights: torch.Tensor, name: str) -> None:
        expected = torch.from_numpy(file[name])[:32]
        np.testing.assert_allclose(test_x @ weights, test_x @ expected, rtol=0, atol=2e-3)

    anchors_x, anchors_y = (torch.from_numpy(file[f"easy_anchors_{side}"]) for side in "xy")
    targets = relative_targets(x, y, anchors_x[:, :32], anchors_y, neighbours=50)
    exact = vec2vec_data(file, "easy", torch.float64)
    queries, gallery = (
        side @ unit(anchors.double()).T for side, anchors in ((exact[0], anchors_x[:, :32]), (exact[1], anchors_y))
    )
    near = nearest_rows(queries, gallery, neighbours=50)
    assert [set(row) for row in near.tolist()] == [set(row) for row in file["easy_neighbors"].tolist()]
    weights = polar(x.T @ targets)
    same_map(weights, "easy_W_init")
    points = torch.from_numpy(file["easy_refine1_first_points"])
    init = torch.from_numpy(file["easy_W_init"])
    targets = neighbour_means(points @ init, y, y, neighbours=50)
    np.testing.assert_allclose(targets, file["easy_refine1_first_targets"], rtol=0, atol=1e-6)
    same_map(polar(points[:, :32].T @ targets), "easy_refine1_first_W_new")
    centres = [torch.from_numpy(file[f"easy_refine2_centers_{side}"]) for side in "xy"]
    moved = polar(centres[0][:, :32].T @ centres[1])
    same_map(moved, "easy_refine2_W_new")
    same_map(torch.lerp(torch.from_numpy(file["easy_W_refine1"])[:32], moved, 0.5), "easy_W_final")


@pytest.mark.parametrize(
    ("case", "refined", "final"), [("easy", (0.990, 0.99), (0.98, 0.93)), ("hard", (0.86, 0.55), (0.845, 0.45))]
)
def test_mini_vec2vec_reaches_the_golden_bands(
    golden: Path, case: str, refined: tuple[float, float], final: tuple[float, float]
) -> None:
    x, y, test_x, test_y = vec2vec_data(np.load(golden / "mini_vec2vec.npz"), case)
    solver = Vec2Vec(last_centres=0)
    weights = solver.fit(x, y, seed=0, on_step=lambda *_: None)
    last = replace(solver, last_centres=500).refined_by_centres(x, y, weights, np.random.default_rng(0))
    for each, (least_cosine, least_top) in ((weights, refined), (last, final)):
        scores = unit(test_x @ each) @ unit(test_y).T
        assert float(scores.diagonal().mean()) >= least_cosine
        assert float((scores.argmax(dim=1) == torch.arange(len(scores))).float().mean()) >= least_top


def sides_of(file: np.lib.npyio.NpzFile, case: str, pairs: int) -> tuple[UnpairedSides, torch.Tensor, torch.Tensor]:
    x, y, test_x, test_y = vec2vec_data(file, case)
    paired = torch.from_numpy(file[f"{case}_A"])[:0], torch.from_numpy(file[f"{case}_B"])[:0]
    sides = UnpairedSides(x, y, *(side.float() for side in paired), torch.zeros(32), torch.zeros(48))
    if pairs:
        sides = UnpairedSides(x, y, test_x[-pairs:], test_y[-pairs:], torch.zeros(32), torch.zeros(48))
    return sides, test_x[:400], test_y[:400]


@pytest.mark.parametrize("pairs", [0, 20])
def test_wasserstein_procrustes_finds_the_map(golden: Path, pairs: int) -> None:
    sides, test_x, test_y = sides_of(np.load(golden / "mini_vec2vec.npz"), "easy", pairs)
    solver = GeometricProcrustes(centres=20, restarts=10, block=400, rounds=15)
    weights = solver.fit(sides, seed=0, on_step=lambda *_: None)
    torch.testing.assert_close(weights @ weights.T, torch.eye(32), rtol=0, atol=1e-4)
    scores = unit(test_x @ weights) @ unit(test_y).T
    assert float((scores.argmax(dim=1) == torch.arange(400)).float().mean()) > 0.9


def world_parts(world) -> tuple[tuple[np.ndarray, np.ndarray], Unpaired, tuple[np.ndarray, np.ndarray]]:
    """Pairs, unpaired rows of other samples, and test pairs."""
    vision, text = world(700)
    return (vision[:30], text[:30]), Unpaired(vision[30:330], text[330:630]), (vision[630:], text[630:])


@pytest.mark.parametrize("name", MATCHING)
@pytest.mark.parametrize("pairs", [0, 1, 5, 30])
def test_every_number_of_pairs(world, name: str, pairs: int) -> None:
    (vision, text), unpaired, test = world_parts(world)
    options = TrainingOptions(method=name, **QUICK[name])

    def once() -> np.ndarray:
        done = fit(vision[:pairs], text[:pairs], options=options, extras=unpaired)
        assert done.aligner.metadata["unpaired"] == {"vision": 300, "text": 300}
        assert (done.validation_pairs > 0) == (pairs == 30)
        return done.aligner.embed_images(test[0]) @ done.aligner.embed_texts(test[1]).T

    if name == "sotalign" and not pairs:
        with pytest.raises(StructureError, match="0 pairs are too few: sotalign needs at least 1"):
            once()
        return
    found = once()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, once())
    if pairs == 30 and name != "mini-vec2vec":
        closer = (found > np.diag(found)[:, None]).mean()
        assert closer < 0.15


@pytest.mark.parametrize("name", MATCHING)
def test_unpaired_rows_of_both_sides_are_needed(world, name: str) -> None:
    (vision, text), unpaired, _ = world_parts(world)
    options = TrainingOptions(method=name, **QUICK[name])
    for extras in (Unpaired(), Unpaired(vision=unpaired.vision)):
        with pytest.raises(StructureError, match=f"{name} matches unpaired .* needs 2 of each, .*--unpaired DATASET"):
            fit(vision, text, options=options, extras=extras)
    with pytest.raises(StructureError, match="unpaired text features are constant: all 300"):
        fit(vision, text, options=options, extras=Unpaired(unpaired.vision, np.ones_like(unpaired.text)))


def test_presets_are_the_papers_values() -> None:
    options = TrainingOptions.preset("paper", method="sotalign")
    told = {name: getattr(options, name) for name in ("dim", "ridge", "alpha", "epsilon_student", "epsilon_teacher")}
    assert told == {"dim": 1024, "ridge": 0.1, "alpha": 1e-4, "epsilon_student": 0.05, "epsilon_teacher": 0.005}
    assert (options.batch, options.steps, options.learning_rate, options.weight_decay) == (4096, 2000, 1e-4, 1e-5)
    assert (options.scale, options.bias, options.iterations, options.loss) == (20.0, -10.0, 100, "sigmoid")
    rosetta = TrainingOptions.preset("paper", method="wasserstein-procrustes")
    assert (rosetta.centres, rosetta.restarts, rosetta.block, rosetta.rounds) == (30, 30, 10_000, 100)
    notebook = TrainingOptions.preset("paper", method="mini-vec2vec")
    assert (notebook.rounds, notebook.centres, notebook.drawn, notebook.last_refinement) == (30, 20, 10_000, True)
    assert (notebook.neighbours, notebook.refinements, notebook.refined, notebook.restarts) == (50, 100, 1000, 30)


def test_klot_keeps_the_unpaired_rows_where_the_teacher_has_them(world) -> None:
    """With a weight so large that nothing else counts, the students stay at the teacher."""
    (vision, text), unpaired, test = world_parts(world)
    close, far = (
        fit(
            vision,
            text,
            options=TrainingOptions(method="sotalign", **QUICK["sotalign"], alpha=alpha, epsilon_teacher=0.05),
            extras=unpaired,
            validation=test,
        ).aligner.metadata["last_step"]["klot"]
        for alpha in (1e4, 0.0)
    )
    assert close < 0.5 * far


def test_joined_layers_need_pairs(world) -> None:
    from structure.store import JoinedRows

    (vision, text), unpaired, _ = world_parts(world)
    data = TrainingData(JoinedRows([vision[:0], vision[:0]]), text[:0], unpaired=unpaired)
    from structure.pipeline.aligners.aligner_method import fit_data

    with pytest.raises(StructureError, match="0 pairs: .*several layers.*Name one layer a side"):
        fit_data(data, TrainingOptions(method="mini-vec2vec"))
