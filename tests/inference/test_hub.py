"""Search across modalities that only share the hub: every way, with one head for the hub and with two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from structure.cli.main import run
from structure.pipeline import align, import_features, search_hub
from structure.store import Store, open_store

ROWS, HIDDEN = 240, 6
MODALITIES = {"vision": ("photos", 9), "text": ("words", 8), "path": ("strokes", 11)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three views of one hidden thing, of which only those with text are ever paired; 200 pairs train, 40 are new."""
    place, random = tmp_path_factory.mktemp("hub"), np.random.default_rng(0)
    hidden = random.standard_normal((ROWS, HIDDEN))
    for modality, (model, width) in MODALITIES.items():
        values = hidden @ random.standard_normal((HIDDEN, width)) + 0.1 * random.standard_normal((ROWS, width))
        for split, part in (("train", slice(0, 200)), ("test", slice(200, ROWS))):
            ids = np.array([f"thing{i}" for i in range(ROWS)])[part]
            np.savez(place / "file.npz", layer=values[part].astype(np.float32), ids=ids)
            options = {"dataset": "things", "split": split, "store": place / "store"}
            import_features(place / "file.npz", model=model, modality=modality, **options)
    store = open_store(place / "store")
    for method in ("ridge", "csa"):
        for model in ("photos", "strokes"):
            named = {"split": "train", "vision": model, "text": "words", "name": f"{method}-{model}"}
            align("last", store=store, method=method, **named, **({"dim": 6} if method == "csa" else {}))
    return store


def recall(store: Store, method: str, origin: str, to: str) -> float:
    ids = [f"thing{i}" for i in range(200, ROWS)]
    done = search_hub(
        [f"{method}-photos", f"{method}-strokes"], to, item=ids, origin=origin, dataset="things", split="test", k=5,
        store=store,
    )  # fmt: skip
    assert done.rows == 40
    return float(np.mean([answer.query in {hit.sample for hit in answer.hits} for answer in done.queries]))


@pytest.mark.parametrize("method", ["ridge", "csa"])
@pytest.mark.parametrize("to", MODALITIES)
@pytest.mark.parametrize("origin", MODALITIES)
def test_from_any_modality_to_any_other(store: Store, method: str, origin: str, to: str) -> None:
    assert recall(store, method, origin, to) > (0.5 if {origin, to} == {"vision", "path"} else 0.7)  # chance: 5 of 40


def test_with_one_head_for_the_hub_nothing_is_carried(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from structure.pipeline.inference.modality_hub import ModalityHub

    def refused(*_: object) -> None:
        raise AssertionError("the hub's rows were read")

    monkeypatch.setattr(ModalityHub, "_bridge", refused)
    assert recall(store, "ridge", "path", "vision") > 0.7  # ridge maps both onto the rows of the hub
    with pytest.raises(AssertionError, match="were read"):
        recall(store, "csa", "path", "vision")


def test_the_command_and_what_it_refuses(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "--store", store.url, "--hub", "csa-photos,csa-strokes", "--dataset", "things"]
    query = ["--item", "thing3", "--from", "path", "--to", "images", "-k", "3"]
    assert run([*command, *query, "--json", "--quiet"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["to"], done["aligner"]) == ("vision", "csa-photos and csa-strokes")
    assert "thing3" in [hit["sample"] for hit in done["queries"][0]["hits"]]
    for flags, told in (
        (["--item", "thing3"], "--from says which modality"),
        (["--item", "nobody", "--from", "path"], "Unknown sample 'nobody'"),
        (["--item", "thing3", "--from", "smell"], "Unknown modality 'smell'"),
        (["--item", "thing3", "--from", "path", "--hub-modality", "sound"], "the hub is sound"),
        (["words"], "were imported"),
        ([*query, "--aligner", "csa-photos"], "--aligner has no meaning beside --hub: --hub names the aligners"),
        ([*query, "--index", "x"], "an index holds the space of one aligner"),
        ([*query, "--scores", "csls"], "csls compares what is searched with the texts of one aligner"),
        ([*query[:4], "--to", "text", "--images", "x"], "--images x is a folder of images, and --to text looks"),
        ([*query, "--images", "x"], "a folder of images has no path"),
    ):
        assert run([*command, *flags]) in (1, 2), flags
        assert told in " ".join(capsys.readouterr().err.split())
    page = tmp_path / "page.html"
    assert run([*command, *query, "--out", str(page), "--quiet"]) == 0
    assert "thing3" in page.read_text()
    capsys.readouterr()
    twice = [*command[:4], "csa-photos,ridge-photos", *command[5:], *query]
    assert run(twice) == 2
    assert "both bring vision to the hub" in " ".join(capsys.readouterr().err.split())
    assert run(["search", "--store", store.url, "--item", "thing3"]) == 2
    assert "--item and --from are of --hub" in capsys.readouterr().err


def test_imported_features_have_no_dataset_that_could_be_elsewhere(store: Store) -> None:
    given = {"item": ["thing210"], "origin": "path", "dataset": "things", "split": "test", "store": store}
    (answer,) = search_hub(["ridge-photos", "ridge-strokes"], "vision", k=2, **given).queries
    assert [hit.note for hit in answer.hits] == ["the features were made without files"] * 2
