"""What every registered similarity metric must hold, whoever wrote it; and how the registry answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from structure.pipeline.page.blocks import Table
from structure.pipeline.page.glossary import ALWAYS, METRIC, section
from structure.pipeline.ranking.options import RankingOptions
from structure.pipeline.similarity.knn.neighbours import search
from structure.pipeline.similarity.metric import ComparedLayers, NeighbourMetric, SimilarityMetric
from structure.pipeline.similarity.registry import SIMILARITIES, metric_named, notation
from structure.pipeline.similarity.score import layer_similarity
from structure.store.errors import StructureError

ROWS, K = 60, 8


def layers(count: int, width: int, seed: int) -> list[np.ndarray]:
    """Layers that share a latent part, the later ones with more noise."""
    random = np.random.default_rng(seed)
    latent = np.random.default_rng(4).normal(size=(ROWS, 6))
    return [latent @ random.normal(size=(6, width)) + 0.4 * i * random.normal(size=(ROWS, width)) for i in range(count)]


VISION, TEXT = layers(3, 12, 1), layers(2, 9, 2)


def made(name: str, vision: list[np.ndarray], text: list[np.ndarray]) -> SimilarityMetric:
    """The metric with no more than what it says that it needs."""
    kind = SIMILARITIES[name]
    tables = None
    if kind.needs_neighbours:
        ours, theirs = (np.stack([search(x, k=K).table for x in side]) for side in (vision, text))
        tables = ours, theirs
    return kind(ComparedLayers(vision, text, tables) if kind.needs_rows else ComparedLayers(tables=tables))


@pytest.mark.parametrize("name", SIMILARITIES)
class TestSimilarityMetric:
    def test_says_what_it_is(self, name: str) -> None:
        kind = SIMILARITIES[name]
        assert issubclass(kind, SimilarityMetric)
        assert kind.needs_neighbours or kind.needs_rows
        assert kind.bounds[0] < kind.bounds[1]
        assert len(kind.meaning) > 20
        assert ("@k" in kind.notation) == kind.needs_neighbours
        assert kind.meaning not in {other.meaning for key in SIMILARITIES if (other := SIMILARITIES[key]) is not kind}

    def test_is_in_the_glossary_of_a_page_that_uses_it(self, name: str) -> None:
        source: Any = SimpleNamespace(
            results=(), summaries=(), sweeps=(), aligners={}, rankings=[SimpleNamespace(document={"metric": name})]
        )
        (table,) = section(source).blocks
        kind = SIMILARITIES[name]
        assert isinstance(table, Table)
        assert {METRIC: name, "meaning": f"{kind.notation}: {kind.meaning}"} in table.rows
        assert len(table.rows) == 1 + len(ALWAYS)

    def test_needs_what_it_says(self, name: str) -> None:
        metric = made(name, VISION, TEXT)
        assert metric.rows == ROWS
        scores = metric.scores()
        assert (scores.shape, scores.dtype) == ((3, 2), np.float64)
        np.testing.assert_allclose(scores, layer_similarity(VISION, TEXT, metric=name, k=K), atol=1e-12)

    def test_lies_within_its_bounds(self, name: str) -> None:
        random = np.random.default_rng(3)
        unrelated = [random.normal(size=(ROWS, 20)) for _ in range(4)]
        low, high = SIMILARITIES[name].bounds
        scores = made(name, [*VISION, *unrelated], [*TEXT, *unrelated]).scores()
        assert scores.min() >= low - 1e-9
        assert scores.max() <= high + 1e-9

    def test_sides_can_be_exchanged_where_it_says_so(self, name: str) -> None:
        there, back = made(name, VISION, TEXT).scores(), made(name, TEXT, VISION).scores().T
        assert np.allclose(there, back, atol=1e-12) == SIMILARITIES[name].is_symmetric

    def test_is_one_on_itself_where_it_says_so(self, name: str) -> None:
        outlier = np.random.default_rng(6).normal([4.0] + [0.0] * 9, 0.5, (ROWS, 10))
        outlier[0, 0] = -4.0  # the nearest neighbour of no row
        own = layer_similarity([*VISION, outlier], [*VISION, outlier], metric=name, k=K, eps=0.0).diagonal()
        assert np.allclose(own, 1.0) == SIMILARITIES[name].is_one_on_itself

    def test_chance_is_the_mean_of_permutations(self, name: str) -> None:
        metric, random = made(name, VISION, TEXT), np.random.default_rng(5)
        chance = metric.chance()
        if chance is not None:
            drawn = [metric.scores(random.permutation(ROWS)).mean() for _ in range(100)]
            assert np.mean(drawn) == pytest.approx(chance, abs=0.01)

    def test_the_curve_ends_at_mutual_knn(self, name: str) -> None:
        curve = made(name, VISION, TEXT).mutual_knn_curve()
        if curve is not None:
            np.testing.assert_allclose(curve[-1], made("mutual_knn", VISION, TEXT).scores())

    def test_draws_its_own_number_of_permutations(self, name: str) -> None:
        assert RankingOptions(metric=name).permutations == SIMILARITIES[name].permutations
        assert SIMILARITIES[name].permutations == (0 if name.endswith("cka") else 200)
        assert RankingOptions(metric=name, calibrate=7).permutations == 7


def test_which_metrics_are_repeated_on_subsets() -> None:
    of_tables = {name for name in SIMILARITIES if SIMILARITIES[name].can_repeat_on_subsets()}
    assert of_tables == {"mutual_knn", "multiscale_knn", "cycle_knn", "lcs_knn", "edit_distance_knn"}


def test_a_wrong_name_offers_the_nearest() -> None:
    assert metric_named("unbiased-cka") == "unbiased_cka"
    assert (notation("mutual_knn", 7), notation("cka", 7), notation("gone", 7)) == ("mutual kNN@7", "CKA", "gone")
    assert notation("mutual_knn") == "mutual kNN@k"
    with pytest.raises(StructureError, match="similarity metric 'mutal_knn'.*mutual_knn"):
        RankingOptions(metric="mutal-knn")


def test_an_option_that_the_metric_does_not_have_is_refused() -> None:
    with pytest.raises(StructureError, match="cknna has no option normalise.*eps"):
        layer_similarity(VISION, TEXT, metric="cknna", normalise=False)
    with pytest.raises(StructureError, match="mutual_knn has no option sigma.*it has none"):
        layer_similarity(VISION, TEXT, k=5, sigma=2.0)
    narrow, wide = (layer_similarity(VISION, TEXT, metric="rbf-cka", sigma=sigma) for sigma in (0.1, 10.0))
    assert (narrow > wide + 0.1).all()
    few, many = (layer_similarity(VISION, TEXT, metric="svcca", directions=count) for count in (2, 6))
    assert not np.allclose(few, many)


def test_tables_are_required() -> None:
    with pytest.raises(ValueError, match="MutualKnn needs neighbour tables"):
        SIMILARITIES["mutual_knn"](ComparedLayers(VISION, TEXT))


def test_another_package_adds_one_with_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that CONTRIBUTING shows, found by its entry point: by name in Python and on the command line."""
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text().split("## Add a similarity metric")[1]
    source = guide.split("```python\n")[1].split("```")[0]
    assert len([line for line in source.splitlines() if line]) < 10
    (tmp_path / "nearest_row.py").write_text(source)
    metadata = tmp_path / "nearest_row-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nearest-row\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[structure.similarity]\nnearest_row = nearest_row:NearestRow\n")
    code = (
        "import numpy as np; from structure.pipeline import layer_similarity, neighbours;"
        "from structure.cli.rank_layers import METRICS; from structure.pipeline.ranking.options import RankingOptions;"
        "x, y = np.random.default_rng(0).normal(size=(2, 30, 5));"
        "same = (neighbours(x, k=4)[:, 0] == neighbours(y, k=4)[:, 0]).mean();"
        "scores = layer_similarity([x], [x, y], metric='nearest-row', k=4);"
        "assert scores.tolist() == [[1.0, same]], scores;"
        "assert 'nearest-row' in METRICS; assert RankingOptions(metric='nearest-row').permutations == 200"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_simple_metric_is_short() -> None:
    source = Path(sys.modules[SIMILARITIES["lcs_knn"].__module__].__file__ or "").read_text()
    assert issubclass(SIMILARITIES["lcs_knn"], NeighbourMetric)
    assert len(source.splitlines()) <= 30
