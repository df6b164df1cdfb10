"""Rankings over a store: what is computed once, what is saved, many models at once, and the same on a cluster."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from structure.cli.main import run
from structure.pipeline import import_features, layer_similarity, rank_layers, rank_models
from structure.pipeline.pairing.pairs import pair_rows
from structure.pipeline.ranking import rank_pair as rank_pair_module
from structure.pipeline.ranking import ranked_side as module
from structure.pipeline.similarity import stability as subsets_module
from structure.pipeline.similarity.knn import neighbour_tables as tables_module
from structure.pipeline.similarity.layer_similarity import newest_ranking
from structure.store import FeatureSet, Rows, SampleItem, Samples, Store, StructureError, open_store
from structure.store.errors import DamageError

ROWS = 160
MODELS = {"small": ("vision", 3), "large": ("vision", 4), "short": ("text", 2), "long": ("text", 3)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two vision and two text models over 160 samples that share a latent space; 6 samples repeat another's text."""
    folder = tmp_path_factory.mktemp("ranking")
    random = np.random.default_rng(3)
    latent = random.normal(size=(ROWS, 6))
    ids = [f"i{n}" for n in range(ROWS)]
    items = [
        SampleItem(name, (f"caption {n if n >= 6 else n + 6}",), f"{n:064x}", labels={"patient": n // 4, "one": n})
        for n, name in enumerate(ids)
    ]
    tasks = {name: {"classes": [f"{name} {n}" for n in range(ROWS)]} for name in ("patient", "one")}
    open_store(folder / "store").put_samples(Samples.build("things", "train", items, tasks=tasks))
    for model, (modality, depth) in MODELS.items():
        noise = [(depth - i) * random.normal(size=(ROWS, 12)) for i in range(depth)]
        layers = [latent @ random.normal(size=(6, 12)) + own for own in noise]
        arrays = {f"block.{i:02}": layer.astype(np.float32) for i, layer in enumerate(layers)}
        if model == "small":
            arrays = {"embed": np.ones((ROWS, 4), np.float32), **arrays}
        np.savez(folder / "features.npz", ids=np.array(ids), **arrays)  # type: ignore[arg-type]
        import_features(
            folder / "features.npz",
            model=model,
            modality=modality,  # type: ignore[arg-type]
            dataset="things",
            store=folder / "store",
        )
    return folder / "store"


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Store:
    import shutil

    shutil.copytree(built, tmp_path / "store")
    return open_store(tmp_path / "store")


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """(layer, rows, k) of every search that is run."""
    seen: list[tuple[str, int, int]] = []
    true = tables_module.search

    def counted(x: Any, *, k: int, name: str = "x", **rest: Any) -> Any:
        seen.append((name, int(x.shape[0]), k))
        return true(x, k=k, name=name, **rest)

    monkeypatch.setattr(tables_module, "search", counted)
    monkeypatch.setattr(subsets_module, "search", counted)
    return seen


def test_what_was_computed_is_not_computed_again(store: Store, searched: list[Any]) -> None:
    """Another k below, another measure of the same tables and another partner cost only what is new."""
    first = rank_layers(store=store, vision="small", text="short", k=12, calibrate=5)
    whole = [entry for entry in searched if entry[1] == first.ranking["rows"]]
    assert len(whole) == 4 + 2
    assert len(searched) == 6 * (1 + 5)  # and every layer among five subsets of 100 rows
    searched.clear()
    store.files.remove_tree("rankings")
    again = rank_layers(store=store, vision="small", text="short", k=12, calibrate=5)
    assert not searched
    assert again.ranking["scores"] == first.ranking["scores"]
    assert again.ranking["stability"] == first.ranking["stability"]
    for options in ({"k": 7}, {"k": 12, "metric": "cycle-knn"}, {"k": 9, "metric": "cknna"}):
        rank_layers(store=store, vision="small", text="short", calibrate=5, repeats=0, **options)  # type: ignore[arg-type]
    assert not searched
    rank_layers(store=store, vision="small", text="long", k=12, calibrate=5)
    assert {name for name, *_ in searched} == {"block.00", "block.01", "block.02"}
    assert len(searched) == 3 * (1 + 5)


def test_samples_in_groups_are_exchanged_within_them(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    asked: dict[str, Any] = {"store": store, "vision": "small", "text": "short", "k": 5, "repeats": 0}
    plain = rank_layers(**asked, calibrate=20).ranking
    assert plain["permutations"]["scheme"] == "unrestricted"
    told: list[Any] = []
    within = rank_layers(**asked, calibrate=20, group="label.patient", on_event=told.append).ranking
    assert within["permutations"] == {
        "scheme": "within groups",
        "group": "label.patient",
        "groups": 39,  # the first six samples repeat other captions
        "largest_group": 4,
        "drawn": 20,
        "possible": None,
        "smallest_p": 1 / 21,
    }
    assert "in 95 % of 20 permutations within groups of label.patient (p = " in within["reason"]
    assert within["scores"] == plain["scores"]
    assert within["null"] != plain["null"]
    assert within["interval"] != plain["interval"]
    whole = rank_layers(**asked, calibrate=20, group="label.patient", permute="whole", samples=40).ranking
    assert whole["permutations"]["scheme"] == "whole groups"
    assert (whole["rows"], whole["permutations"]["largest_group"]) == (40, 4)  # whole groups are drawn
    few = rank_layers(**asked, calibrate=20, group="label.patient", samples=12, forecast=False, on_event=told.append)
    assert few.ranking["permutations"]["drawn"] == 20
    tiny = rank_layers(store=store, vision="small", text="short", k=2, calibrate=20, repeats=0, samples=5,
                       group="label.patient", forecast=False, on_event=told.append).ranking  # fmt: skip
    possible = tiny["permutations"]["possible"]
    if possible <= 20:
        assert tiny["permutations"]["smallest_p"] == 1 / possible
        assert any(f"allow {possible} permutations within groups of label.patient" in str(note) for note in told)
    with pytest.raises(StructureError, match="groups of label.one, and each has one row.*leave out --group"):
        rank_layers(**asked, group="label.one")
    with pytest.raises(StructureError, match="Unknown column of --group 'patient'.*label.patient"):
        rank_layers(**asked, group="patient")
    assert run(["rank-layers", "--store", store.url, "--permute", "whole"]) == 2
    assert "changes nothing without --group" in capsys.readouterr().err


def test_a_saved_ranking_is_read_where_it_was_made_from_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, it says the same and becomes the newest where it was not; whatever it was made from has
    changed, or a file of it, it is made anew."""
    asked: dict[str, Any] = {"store": store, "vision": "small", "text": "long", "k": 9, "calibrate": 0, "repeats": 0}
    first = rank_layers(**asked)
    rank_layers(**asked, metric="cycle-knn")
    made: list[Any] = []
    true = rank_pair_module.rank_pair
    monkeypatch.setattr(rank_pair_module, "rank_pair", lambda *a, **k: (made.append(a), true(*a, **k))[1])

    def is_made_again(**other: Any) -> bool:
        made.clear()
        rank_layers(**asked | other)
        return bool(made)

    again = rank_layers(**asked)
    assert not made
    assert dict(again.ranking) == dict(first.ranking)
    xr.testing.assert_identical(again.scores, first.scores)
    sets = store["things/train/small"], store["things/train/long"]
    assert newest_ranking(store, *sets)[1]["metric"] == "mutual_knn"
    written = first.folder.modified("ranking.json")
    assert not is_made_again()
    assert first.folder.modified("ranking.json") == written, "the newest stays as it is, and the page made from it"
    assert is_made_again(seed=7)
    assert is_made_again(forecast=False)
    for name, damage in (
        ("scores.nc", lambda data: data[:-9] + b"x" + data[-8:]),
        ("heatmap.png", lambda data: data[:100]),
        ("ranking.json", lambda data: data.replace(b'"rows": 154', b'"rows": 155')),
    ):
        rank_layers(**asked)
        first.folder.write(name, damage(first.folder.read(name)))
        assert is_made_again(), name
    first.folder.remove("scores.nc")
    assert is_made_again()
    assert not is_made_again()
    monkeypatch.setattr(FeatureSet, "content", lambda features: "other-values")
    assert is_made_again()


def test_a_ranking_during_which_the_features_change_is_not_taken_for_one_of_the_new_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"store": store, "vision": "small", "text": "long", "k": 9, "calibrate": 0, "repeats": 0}
    true, calls = rank_pair_module.rank_pair, []

    def changed_under_way(*given: Any, **named: Any) -> Any:
        calls.append(given)
        made = true(*given, **named)
        monkeypatch.setattr(FeatureSet, "content", lambda features: "other-values")
        return made

    monkeypatch.setattr(rank_pair_module, "rank_pair", changed_under_way)
    for count in (1, 2, 2):
        rank_layers(**asked, forecast=False)
        assert len(calls) == count


def test_a_ranking_of_which_a_digit_changed_chooses_no_layers(store: Store) -> None:
    found = rank_layers(store=store, vision="small", text="long", k=9, calibrate=0, repeats=0, forecast=False)
    written = found.folder.read("ranking.json")
    found.folder.write("ranking.json", written.replace(b'"rows": 154', b'"rows": 155'))
    with pytest.raises(DamageError, match="was written. Rank again: structure rank-layers --dataset things"):
        newest_ranking(store, store["things/train/small"], store["things/train/long"])


def test_a_ranking_tells_everything(store: Store) -> None:
    found = rank_layers(store=store, vision="large", text="long", k=8, calibrate=40)
    told = found.ranking
    contract = {"metric", "preset", "k", "rows", "seed", "vision", "text", "scores", "best", "runner_up", "seconds"}
    assert contract <= told.keys()
    for side in ("vision", "text"):
        assert {"model", "fingerprint", "layers"} == told[side].keys()
    for place in ("best", "runner_up"):
        assert {"vision_layer", "text_layer", "score", "calibrated", "p_value"} == told[place].keys()
    assert np.shape(told["scores"]) == (4, 3)
    assert (told["rows"], told["folded"]) == (ROWS - 6, 6)
    assert len(told["null"]) == 40
    assert told["threshold"] == pytest.approx(np.quantile(told["null"], 0.95))
    assert told["curve"]["k"] == list(range(1, 9))
    assert told["curve"]["score"][-1] == pytest.approx(told["best"]["score"])
    assert told["curve"]["best"][-1] == [told["best"]["vision_layer"], told["best"]["text_layer"]]
    assert [part["rows"] for part in told["stability"]] == [100]
    for words in (
        "the largest mutual kNN@8: ",
        "in 95 % of 40 permutations",
        "random subsets of 100 rows",
        "next is",
        told["best"]["text_layer"],
    ):
        assert words in told["reason"]
    for name in ("heatmap", "depth", "curve", "null"):
        assert found.folder.read(f"{name}.png").startswith(b"\x89PNG")
    with xr.open_dataset(io.BytesIO(found.folder.read("scores.nc")), engine="scipy") as kept:
        for k in (1, 5):
            plain = rank_layers(store=store, vision="large", text="long", k=k, calibrate=0, repeats=0).scores.values
            np.testing.assert_allclose(kept["mutual_knn_at_k"].sel(k=k).values, plain)


@pytest.mark.parametrize("metric", ["multiscale_knn", "lcs_knn", "edit_distance_knn", "cknna", "svcca"])
def test_measures_with_a_null(store: Store, metric: str) -> None:
    told = rank_layers(store=store, vision="large", text="long", k=8, metric=metric, calibrate=20).ranking
    assert told["best"]["p_value"] == pytest.approx(1 / 21)
    assert (told["interval"] is None) == (metric in ("cknna", "svcca"))
    assert bool(told["stability"]) == (told["interval"] is not None)


def test_cka_is_calibrated_when_asked(store: Store) -> None:
    plain = rank_layers(store=store, vision="small", text="long", metric="unbiased-cka").ranking
    assert plain["best"]["calibrated"] is None
    assert plain["null"] is None
    assert "no permutation test was made" in plain["reason"]
    assert plain["constant"] == {"vision": ["embed"], "text": []}
    asked = rank_layers(store=store, vision="small", text="long", metric="unbiased-cka", calibrate=20).ranking
    assert asked["scores"] == plain["scores"]
    assert asked["best"]["p_value"] == pytest.approx(1 / 21)


def test_every_two_models(store: Store, searched: list[Any]) -> None:
    found = rank_models(store=store, k=8, calibrate=10, repeats=0)
    assert len(searched) == 4 + 4 + 2 + 3  # each layer of each model once, whatever the number of partners
    assert (found.first, found.second) == (("large", "small"), ("long", "short"))
    sets = {name: store[f"things/train/{name}"] for name in MODELS}
    rows = rank_layers(store=store, vision="large", text="long", k=8, calibrate=0, repeats=0).ranking["rows"]
    for cell in found.cells:
        ours, theirs = sets[cell.first], sets[cell.second]
        pairs = pair_rows(store, ours, theirs)
        kept = [n for n in range(ROWS) if n not in range(6, 12)]
        assert rows == len(kept)
        x, y = (
            [Rows(s, layer, p[kept])[:] for layer in s.layers if layer != "embed"]
            for s, p in ((ours, pairs.vision), (theirs, pairs.text))
        )
        assert cell.score == pytest.approx(layer_similarity(x, y, k=8).max())
        kept_ranking = json.loads(store.folder("rankings", cell.ranking).read("ranking.json"))
        assert kept_ranking["best"]["score"] == cell.score
    assert found.matrix().max() == found.document["best"]["score"]
    assert found.folder.read("models.png").startswith(b"\x89PNG")
    read = json.loads(found.folder.read("models.json"))
    assert {name: value for name, value in read.items() if name not in ("seal", "sha256")} == found.document
    searched.clear()
    within = rank_models(store=store, between="vision-vision", k=8, calibrate=10, repeats=0)
    assert not searched
    assert np.isnan(within.matrix().diagonal()).all()
    np.testing.assert_array_equal(within.matrix(), within.matrix().T)
    one = rank_models(store=store, vision=["small"], k=8, calibrate=0, repeats=0)
    assert one.first == ("small",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vision": ["smal"]}, "Unknown vision features 'smal'.*small"),
        ({"dataset": "others"}, "has no features of the dataset others"),
        ({"between": "text-text", "text": ["long"]}, "long is the only text feature set"),
        ({"k": 500}, "need at least 501 rows"),
    ],
)
def test_models_that_cannot_be_ranked(store: Store, options: dict[str, Any], words: str) -> None:
    with pytest.raises(StructureError, match=words):
        rank_models(store=store, **options)


def test_a_cluster_gives_the_same_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two worker processes; every layer is cut into tasks of 50 rows."""
    distributed = pytest.importorskip("distributed")
    import dask

    here = rank_layers(store=store, vision="small", text="long", k=9, calibrate=5).ranking
    files = {path: path.read_bytes() for path in Path(store.url).glob("neighbours/**/*.npz")}
    monkeypatch.setattr(module, "TASK_ROWS", 50)
    with (
        dask.config.set({"distributed.worker.daemon": False, "distributed.scheduler.idle-timeout": None}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        for path in files:
            path.unlink()
        store.files.remove_tree("rankings")
        tasks: list[int] = []

        def compute(*delayed: Any) -> Any:
            tasks.append(len(delayed))
            return client.gather(client.compute(delayed))

        there = rank_layers(store=store, vision="small", text="long", k=9, calibrate=5, compute=compute).ranking
    assert tasks == [4 * 4, 3 * 4]
    assert {path: path.read_bytes() for path in files} == files
    assert {**there, "seconds": 0} == {**here, "seconds": 0}


def test_the_command_line_ranks_one_pair_or_every_two(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    common = [
        "rank-layers",
        "--store",
        store.url,
        "--quiet",
        "--k",
        "8",
        "--calibrate",
        "5",
        "--repeats",
        "1",
        "--json",
    ]
    assert run([*common, "--vision", "small", "--text", "long", "--metric", "edit-distance-knn"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["metric"] == "edit_distance_knn"
    assert [part["rows"] for part in one["stability"]] == [100]
    assert run([*common, "--all"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert len(every["cells"]) == 4
    assert every["best"]["score"] == max(cell["score"] for cell in every["cells"])
    assert run([*common, "--vision", "small", "--vision", "large", "--between", "vision-vision"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 1
    assert run([*common, "--between", "text-vision"]) == 2
    assert "vision-text, vision-vision, text-text" in capsys.readouterr().err


def test_every_layer_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its neighbours, whether it is constant, and every subset; not at all where its tables are in the store."""
    read: list[str] = []
    true = Rows._read
    monkeypatch.setattr(
        Rows, "_read", lambda rows, numbers: (read.append(f"{rows.features.key}:{rows.path}"), true(rows, numbers))[1]
    )
    asked: dict[str, Any] = {"store": store, "vision": "small", "text": "long", "calibrate": 0, "forecast": False}
    rank_layers(**asked, k=9)
    assert len(read) == len(set(read)) > 0
    read.clear()
    rank_layers(**asked, k=9, seed=43, repeats=0)
    assert not read
