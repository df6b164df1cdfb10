"""Every kind of file that stages write x every damage: `verify` sees it, and no reader takes it for what was."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline import align, compare_aligners, evaluate
from structure.pipeline.aligners.aligner import load_aligner
from structure.pipeline.aligners.aligner_runs import HISTORY, file_beside, table_beside
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.options import TrainingOptions
from structure.pipeline.model_selection.outcome import RECORD as SELECTION
from structure.pipeline.owned_files import KINDS, kind_of, remove_unlisted
from structure.pipeline.page.source import Source
from structure.pipeline.pair_curves.curve import PairCurve
from structure.pipeline.progress import Event, Note
from structure.pipeline.recipe.running import run as run_recipe
from structure.pipeline.recipe.sweep import Axes, sweep_recipe
from structure.pipeline.results import TEST_PREDICTIONS
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.layer_similarity import newest_ranking
from structure.pipeline.stages.drop_items import DropItemsRequest
from structure.pipeline.stages.drop_items import run as drop
from structure.pipeline.stages.pair_curve import pair_curve
from structure.pipeline.stages.rank_layers import rank_layers
from structure.pipeline.stages.rank_models import rank_models
from structure.pipeline.stages.report import page_of, report
from structure.pipeline.stages.verify import verify_files
from structure.store import Store, StructureError, open_store
from structure.store.errors import DamageError, NoSpaceError
from structure.store.seals import Seal

SUITE = """\
name: own
version: 1
defaults: {dataset: 'scenes:24', split: test}
tasks:
  - {kind: zeroshot_retrieval, metric: image_retrieval_recall@1}
  - {label: shape, kind: zeroshot_classification, metric: acc1, prompts: plain}
"""
QUICK = {"method": "linear", "epochs": 2, "dim": 8, "learning_rate": 1e-3}
RANKED = {"k": 4, "calibrate": 0, "repeats": 0}


@pytest.fixture(scope="module")
def made(scenes_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a file of every kind, of two aligners that were made alike; tests put back what they change."""
    place = tmp_path_factory.mktemp("faults")
    shutil.copytree(scenes_store.url, place / "store")
    store = open_store(place / "store")
    (place / "own.yaml").write_text(SUITE)
    rank_layers(store=store, forecast=False, **RANKED)
    rank_models(store=store, between="vision-text", **RANKED)
    options = TrainingOptions(**QUICK)
    for name, seed in (("a", 1), ("b", 2)):
        align("last", store=store, options=options.changed(seed=seed), name=name, test=0.2)
    evaluate(str(place / "own.yaml"), store=store, data_root=place, compare=("a", "b"))
    run_recipe(sweep_recipe("sweep", Axes("last"), training=QUICK, seeds=[1]), RunContext(store, device="cpu"))
    pair_curve(store=store, methods=["csa"], pairs=[20], layers="block.03,block.03", seeds=(1,))
    state(store).save({"w": torch.ones(3)}, {"epoch": 1})
    store.files.write("frames/x.json", Seal("frames/x.json").json({"side": [1, 1], "outer": [1, 1]}))
    store.put_skipped("scenes", "train", {"s": "does not read"})
    report(store=store, folder=store.folder("reports", "sweep"))
    report(store=store)
    return store


def state(store: Store) -> Checkpoint:
    return Checkpoint(store.folder("checkpoints", "a"), "checkpoint.safetensors", {"run": 1})


def sets(store: Store) -> tuple[Any, Any]:
    return store["scenes/train/scenes-vit"], store["scenes/train/scenes-text"]


def first_key(store: Store, kind: str) -> str:
    """The first file of a kind."""
    return files_of(store)[kind][0]


def files_of(store: Store) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in store.files.keys(""):
        of = kind_of(key)
        if of is not None:
            found.setdefault(of[0].name, []).append(key)
    return found


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes, bytes], bytes | None]] = {
    "flip": lambda data, other: flip(data),
    "flip at the end": lambda data, other: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
    "truncate": lambda data, other: data[: len(data) * 2 // 3],
    "zero": lambda data, other: bytes(len(data)),
    "empty": lambda data, other: b"",
    "delete": lambda data, other: None,
    "foreign": lambda data, other: other,
}


def faults(store: Store) -> dict[str, str]:
    return {key: fault for kind in verify_files(store) for key, fault in kind.faults.items()}


def damages(store: Store) -> Iterator[tuple[str, str, str, bytes, bytes | None]]:
    """(kind, damage, key, what was there, what is there now) of every kind of file; foreign is another file of the
    kind, where there are two."""
    for kind, keys in files_of(store).items():
        key = keys[0]
        data = store.files.read(key)
        others = [store.files.read(other) for other in keys[1:]]
        other = next((each for each in others if each != data), None)
        for name, change in DAMAGES.items():
            if name != "foreign" or other is not None:
                yield kind, name, key, data, change(data, other or b"")


def put(store: Store, key: str, data: bytes | None) -> None:
    if data is None:
        store.files.remove(key)
    else:
        Path(store.url, key).write_bytes(data)


MISSED_BY_NOBODY = (
    *("neighbour tables", "states of trainings", "comparisons", "steps of recipes", "pages", "pages of recipes"),
    *("lists of skipped samples", "frames of encoders", "charts of curves", "saved evaluations"),
)
"""Kinds of which nothing says that there should be one, or which are made again."""
MISSED_BY_NO_READER = (*MISSED_BY_NOBODY, "summaries", "curves over pairs", "matrices of models", "results")


def test_there_is_a_file_of_every_kind_and_none_has_a_fault(made: Store) -> None:
    assert {kind.name for kind in KINDS} - set(files_of(made)) == {"correlations"}  # of the recipes that ask for them
    assert faults(made) == {}
    assert sum(kind.without_digest for kind in verify_files(made)) == 0


def test_verify_sees_every_damage(made: Store) -> None:
    unseen = []
    tried = 0
    for kind, damage, key, data, now in damages(made):
        if damage == "delete" and kind in MISSED_BY_NOBODY:
            continue
        tried += 1
        put(made, key, now)
        found = faults(made)
        put(made, key, data)
        if not any(key in each or key.rpartition("/")[0] in each for each in found):
            unseen.append((kind, damage, key))
        assert all(len(fault) > 40 for fault in found.values())
    assert unseen == []
    assert tried > 110


READERS: Mapping[str, Callable[[Store], Any]] = {
    "aligners": lambda store: load_aligner(store.folder("aligners", "a")).pack(),
    "weights, histories": lambda store: [
        load_aligner(store.folder("aligners", "a")).pack(),
        *(file_beside(store, "a", name) for name in (HISTORY, TEST_PREDICTIONS, SELECTION)),
    ],
    "rankings": lambda store: newest_ranking(store, *sets(store)),
    "matrices of models": lambda store: Source.of(store, None).models,
    "results": lambda store: [row.row() for row in Source.of(store, None).results],
    "predictions": lambda store: compare_aligners("a", "b", store=open_store(store.url)),
    "examples, confusions, pictures": lambda store: [
        (result.row(), table.to_pylist())
        for kind in ("confusion", "examples")
        for result, table in Source.of(store, None).saved(kind)
    ],
    "comparisons": lambda store: Source.of(store, None).comparisons,
    "summaries": lambda store: Source.of(store, None).summaries,
    "curves over pairs": lambda store: Source.of(store, None).pair_curves,
    "states of trainings": lambda store: state(store).load(),
}


def test_readers_refuse_a_damaged_record_or_say_nothing_wrong(made: Store) -> None:
    """They raise a sentence that names the file and says what to type, or return what they return of a whole store, or
    nothing; never another error, never other numbers."""
    wrong = []
    whole = {kind: repr(read(made)) for kind, read in READERS.items()}
    for kind, damage, key, data, now in damages(made):
        if kind not in READERS:
            continue
        put(made, key, now)
        comparison = made.files.read("comparisons/a..b.json") if kind != "comparisons" else b""
        try:
            found = READERS[kind](made)
        except StructureError as error:
            said = str(error)
            if Path(key).name not in said:
                wrong.append((kind, damage, said))
        except Exception as error:
            wrong.append((kind, damage, repr(error)))
        else:
            fewer = damage == "delete" and kind in MISSED_BY_NO_READER
            told = kind == "states of trainings" and isinstance(found, str) and found.startswith("it ")
            if not (told or fewer or repr(found) == whole[kind]) or (damage not in ("delete", "foreign") and not told):
                wrong.append((kind, damage, "not noticed"))
        put(made, key, data)
        if comparison:
            put(made, "comparisons/a..b.json", comparison)
    assert wrong == []


def test_damaged_neighbours_are_computed_again(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    first, second = files_of(store)["neighbour tables"][:2]
    good = {key: store.files.read(key) for key in (first, second)}
    for repeats, key, data in ((1, first, flip(good[first])), (2, second, good[first])):  # changed; of another layer
        notes: list[Event] = []
        put(store, key, data)
        rank_layers(store=store, forecast=False, on_event=notes.append, **{**RANKED, "repeats": repeats})
        assert any(
            f"{key} is not" in note.text and "computed again" in note.text for note in notes if isinstance(note, Note)
        )
        assert store.files.read(key) == good[key]
    assert faults(store) == {}


def test_a_page_in_the_place_of_another_is_no_page_of_its_own(made: Store) -> None:
    pages = ("report.html", "reports/sweep/report.html")
    first, second = (made.files.read(key) for key in pages)
    put(made, pages[0], second)
    put(made, pages[1], first)
    found = faults(made)
    assert all(f"{key} is not its own" in found[key] for key in pages)
    put(made, pages[1], second)
    report(store=made)
    assert faults(made) == {}


def test_a_sample_index_in_the_place_of_another_is_not_taken_for_it(made: Store, tmp_path: Path) -> None:
    """That of prompts in the place of that of images, whose features would be passed over; and with its checksum."""
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    prompts = next(key for key in store.files.keys("samples") if "/prompts." in key and key.endswith(".parquet"))
    own = "samples/scenes/train.parquet"
    for end in ("", ".crc32c"):
        put(store, own + end, store.files.read(prompts + end))
        with pytest.raises(DamageError, match=r"scenes/train\.parquet"):
            rank_layers(store=store, forecast=False, **{**RANKED, "k": 3})


def test_a_full_disk_is_no_fault_of_a_task_or_of_a_variant(
    made: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the machine lacks stops the command; it is not listed beside what else could be evaluated or trained."""
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    (tmp_path / "own.yaml").write_text(SUITE)
    store.files.remove_tree("features/scenes/test")
    for end in ("", ".crc32c"):
        store.files.remove(f"samples/scenes/test.parquet{end}")
    full = iter([OSError(errno.ENOSPC, "No space left on device")] * 2)

    def fsync(descriptor: int) -> None:
        for error in itertools.islice(full, 1):
            raise error

    monkeypatch.setattr("structure.store.local_files.os.fsync", fsync)
    with pytest.raises(NoSpaceError, match="Make space"):
        evaluate(str(tmp_path / "own.yaml"), store=store, data_root=tmp_path, aligners=["a"])
    with pytest.raises(NoSpaceError, match="Make space"):
        run_recipe(sweep_recipe("new", Axes("last"), training=QUICK, seeds=[2]), RunContext(store, device="cpu"))


def test_a_ranking_made_anew_without_a_permutation_test_leaves_no_chart_of_one(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    rank_layers(store=store, forecast=False, **{**RANKED, "calibrate": 5})
    assert any(key.endswith("null.png") for key in store.files.keys("rankings"))
    rank_layers(store=store, forecast=False, **RANKED)
    assert faults(store) == {}
    assert not any(key.endswith("null.png") for key in store.files.keys("rankings"))


def test_correlations_that_a_recipe_no_longer_asks_for_go(tmp_path: Path) -> None:
    folder = open_store(tmp_path / "store").folder("reports", "small")
    for name in ("similarity.csv", "similarity.png", "summary.json", "report.html"):
        folder.write(name, b"of an earlier run")
    remove_unlisted(folder, "summary.json", {"similarity.csv"})
    assert folder.keys("") == ["report.html", "similarity.csv", "summary.json"]


def test_a_step_of_a_recipe_is_done_again(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    key = next(key for key in files_of(store)["steps of recipes"] if "/align/" in key)
    put(store, key, flip(store.files.read(key)))
    notes: list[Event] = []
    recipe = sweep_recipe("sweep", Axes("last"), training=QUICK, seeds=[1])
    run_recipe(recipe, RunContext(store, device="cpu", on_event=notes.append))
    assert any("is not what was written" in note.text for note in notes if isinstance(note, Note))
    assert faults(store) == {}


def test_an_aligner_in_the_place_of_another_is_refused_and_trained_again(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/aligners/a")
    shutil.copytree(tmp_path / "store/aligners/b", tmp_path / "store/aligners/a")
    refused = r"aligners/a/aligner.json is not its own: aligners/b/aligner.json .*--name a --replace"
    for read in (
        lambda: load_aligner(store.folder("aligners", "a")),
        lambda: page_of(store),
        lambda: compare_aligners("a", "b", store=store),
    ):
        with pytest.raises(DamageError, match=refused):
            read()
    assert "aligners/a/aligner.json" in faults(store)
    options = TrainingOptions(**QUICK, seed=1)
    align("last", store=store, options=options, name="a", test=0.2, replace=True)
    assert faults(store) == {}
    table = table_beside(store, "a", HISTORY)
    assert table is not None
    assert table.num_rows == 2


def test_another_table_is_no_list_of_skipped_samples(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store, key = open_store(tmp_path / "store"), "samples/scenes/train.skipped.parquet"
    store.files.write(key, store.files.read("samples/scenes/train.parquet"))
    assert "is no list of skipped samples" in faults(store)[key]
    drop(DropItemsRequest("scenes", ids=store.samples("scenes", "train").item_ids[:1]), RunContext.of(store))
    assert not store.files.exists(key)


def test_results_of_another_are_refused_and_evaluated_again(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    shutil.rmtree(tmp_path / "store/results/a")
    shutil.copytree(tmp_path / "store/results/b", tmp_path / "store/results/a")
    with pytest.raises(DamageError, match=r"results/a/results.parquet is not its own.*eval --suite own --aligner a"):
        compare_aligners("a", "b", store=store)
    suite = tmp_path / "own.yaml"
    suite.write_text(SUITE)
    evaluate(str(suite), store=store, data_root=tmp_path, aligners=["a"])
    assert compare_aligners("a", "b", store=store)
    assert faults(store) == {}


def test_a_lost_ranking_is_missed_where_layers_are_chosen(made: Store) -> None:
    key = first_key(made, "rankings")
    data = made.files.read(key)
    rank_layers(store=made, forecast=False, metric="cka", calibrate=0, repeats=0)
    put(made, key, None)
    with pytest.raises(DamageError, match=r"is missing.*Rank again: structure rank-layers --dataset scenes"):
        newest_ranking(made, *sets(made))
    put(made, key, data)
    made.files.remove_tree("rankings/scenes.train.scenes-vit.scenes-text.cka")


def test_files_of_an_earlier_version_are_read_and_counted(made: Store, tmp_path: Path) -> None:
    shutil.copytree(made.url, tmp_path / "store")
    store = open_store(tmp_path / "store")
    for name in ("aligners/a/aligner.json", "rankings/scenes.train.scenes-vit.scenes-text.mutual_knn/ranking.json"):
        body = json.loads(store.files.read(name))
        del body["seal"], body["sha256"]
        put(store, name, json.dumps(body).encode())
    assert faults(store) == {}
    assert sum(kind.without_digest for kind in verify_files(store)) == 2
    assert load_aligner(store.folder("aligners", "a")).metadata["run"]
    assert PairCurve.read(store.folder("curves", store.folder("curves").children("")[0])).fits
    assert newest_ranking(store, *sets(store))
