"""Curves over the number of pairs: what is fitted, on which pairs, what is kept, and what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from structure.cli.main import run
from structure.pipeline import pair_curve, report
from structure.pipeline.pair_curves.curve import PairCurve
from structure.pipeline.pair_curves.fits import METRICS, chance
from structure.pipeline.pair_curves.measuring import Measuring, pair_metrics
from structure.pipeline.pair_curves.request import PairCurveRequest
from structure.pipeline.pair_curves.variants import CurveVariant, variants_of
from structure.pipeline.run_context import RunContext
from structure.pipeline.stages.pair_curve import CurveData
from structure.store import Store
from structure.store.errors import DamageError, StructureError, UsageError

COMMON: dict[str, Any] = {"layers": "block.03,block.03", "unpaired": ["scenes/train"], "seeds": (1, 2)}
SOLVER = {"rounds": 2, "restarts": 2, "centres": 5, "refinements": 2}


def test_all_methods_meet_the_same_pairs(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, frozenset[int], tuple[int, int]]] = []
    plain = Measuring.fit

    def watched(self: Measuring, variant: CurveVariant, rows: np.ndarray, unpaired: Any, *, seed: int) -> Any:
        done = plain(self, variant, rows, unpaired, seed=seed)
        seen.append((variant.label, seed, frozenset(rows.tolist()), done.unpaired))
        assert len(self.test[0]) == 48
        return done

    monkeypatch.setattr(Measuring, "fit", watched)
    methods = ["ridge", "linear", "wasserstein-procrustes", "mini-vec2vec"]
    given = {**COMMON, "methods": methods, "pairs": [0, 10, 40], "fixed": SOLVER}
    curve = pair_curve(store=copied, **given)
    by = {(label, seed, len(rows)): rows for label, seed, rows, _ in seen}
    assert by["ridge", 1, 10] == by["linear", 1, 10] == by["wasserstein-procrustes", 1, 10]
    assert by["ridge", 1, 10] < by["ridge", 1, 40]  # nested
    assert by["ridge", 1, 10] != by["ridge", 2, 10]
    assert {len(rows) for label, _, rows, _ in seen if label == "mini-vec2vec"} == {0}  # it reads no pairs
    assert {len(rows) for label, _, rows, _ in seen if label == "wasserstein-procrustes"} == {0, 10, 40}
    assert {len(rows) for label, _, rows, _ in seen if label == "ridge"} == {0, 10, 40, 192}
    for label, _, rows, counts in seen:
        matches = label in ("wasserstein-procrustes", "mini-vec2vec", "linear + R_S") and (rows or "+" not in label)
        assert (sum(counts) <= 192 - len(rows) and min(counts) > 50) if matches else counts == (0, 0)
    done = len(seen)
    assert done == len(curve.fits)
    more = pair_curve(store=copied, **{**given, "pairs": [0, 10, 20, 40]})
    assert len(seen) == done + 2 * 4  # what is there is not fitted again
    assert all(each in more.fits for each in curve.fits)
    with pytest.raises(StructureError, match=r"The curve scenes-.*-curve is there, of other data, .*--replace"):
        pair_curve(store=copied, **{**given, "test": 0.3})
    page = Path(report(store=copied)).read_text()
    assert "Few pairs" in page
    assert f"On all 192 training pairs {more.ceiling('R@10')['variant']} is best" in page  # type: ignore[index]
    kept = copied.folder("curves", "scenes-scenes-vit-scenes-text-curve")
    assert kept.read("curve.png").startswith(b"\x89PNG")
    assert PairCurve.read(kept) == more
    for damaged in (b"{}", b"null"):
        kept.write("curve.json", damaged)
        with pytest.raises(DamageError, match=r"curve\.json does not read.*--replace"):
            report(store=copied)
    with pytest.raises(DamageError, match=r"curve\.json does not read.*--replace"):
        pair_curve(store=copied, **given)


def test_two_runs_of_one_curve_keep_the_fits_of_both(copied: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, given = Measuring.fit, {"layers": "block.03,block.03", "seeds": (1,)}
    other: list[PairCurve] = []

    def beside(self: Measuring, *args: Any, **options: Any) -> Any:
        if not other:  # another run of it begins and ends while this one fits
            other.append(PairCurve({}, ""))
            other[0] = pair_curve(store=copied, methods=["csa"], pairs=[40], **given)
        return plain(self, *args, **options)

    monkeypatch.setattr(Measuring, "fit", beside)
    done = pair_curve(store=copied, methods=["ridge"], pairs=[20], **given)
    assert {each.key for each in other[0].fits} < {each.key for each in done.fits}
    assert PairCurve.read(copied.folder("curves", "scenes-scenes-vit-scenes-text-curve")) == done
    again = pair_curve(store=copied, methods=["ridge"], pairs=[20], replace=True, **given)
    assert {each.variant for each in again.fits} == {"ridge"}


def test_damaged_unpaired_rows_stop_a_curve(copied: Store) -> None:
    for shard in Path(copied.url, "features/scenes/train/scenes-vit/block.03/c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(b"damaged")
    request = PairCurveRequest(methods=["linear"], pairs=[10], layers=COMMON["layers"], unpaired=COMMON["unpaired"])
    data = CurveData.of(request, RunContext(copied))
    with pytest.raises(DamageError, match="Repair the feature set scenes"):  # not a fit without them
        data.unpaired(data.training.subset(10, seed=1), 1)
    everything = data.unpaired(data.training, 1)
    assert (everything.vision, everything.text) == (None, None)


def test_the_command_shows_chance_ceiling_and_why_a_cell_is_empty(
    copied: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["align", "--curve", "0,10", "--method", "ridge,linear", "--layers", "block.03,block.03"]
    command += ["--store", copied.url, "--seeds", "2"]
    assert run([*command, "--dry-run"]) == 0
    assert "12" in capsys.readouterr().out  # two methods, three sizes, two seeds
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["chance"]["FOSCTTM"] == 0.5
    assert document["ceiling"]["R@10"]["pairs"] == document["training_pairs"] == 192
    rows = {(row["pairs"], row["variant"]): row for row in document["means"]["R@10"]}
    assert rows[0, "ridge"]["value"] is None
    assert rows[10, "ridge"]["low"] < rows[10, "ridge"]["value"] < rows[10, "ridge"]["high"]
    assert len(document["fits"]) == 12
    assert run([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"][0]["pending"] == 0
    assert run(command) == 0
    told = capsys.readouterr().err
    assert "Ceiling, all 192 pairs" in told
    assert "ridge, 0 pairs: it needs at least 2 pairs" in told
    for wrong, said in (
        (["--grid", "dim=4,8"], "--grid is no part of a curve of several methods"),
        (["--preset", "paper"], "--preset is no part"),
        (["--unpaired", "flickr"], "--unpaired flickr"),
        (["--method", "auto,ridge"], "--method auto selects another for each number of pairs"),
        (["--set", "pool_temperature=0.1"], "The methods ridge, linear have no option 'pool_temperature'"),
    ):
        assert run([*command, *wrong]) in (1, 2)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(("changes", "said"), [
    ({"methods": ["rigde"]}, "ridge"),
    ({"methods": ["pal"]}, "pal reads several"),
    ({"methods": ["sotalign"]}, "--unpaired DATASET/SPLIT"),
    ({"pairs": []}, "A curve needs methods, numbers of pairs"),
    ({"pairs": [-1]}, "-1: a number of pairs is 0 or more"),
    ({"test": 1.0}, "must be between 0 and 1"),
])  # fmt: skip
def test_what_makes_no_curve_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises((StructureError, UsageError), match=said):
        PairCurveRequest(**{"methods": ["ridge"], "pairs": [10], **changes})


def test_more_pairs_than_there_are(copied: Store) -> None:
    with pytest.raises(StructureError, match="asks for 193 pairs .* has 192 besides 48 test pairs"):
        pair_curve(store=copied, methods=["ridge"], pairs=[193], layers="block.03,block.03")


def test_lines_of_a_curve() -> None:
    labels = [each.label for each in variants_of(["linear", "ridge", "sotalign"], unpaired=True, fixed={})]
    assert labels == ["linear", "linear + R_S", "ridge", "sotalign"]
    assert [each.label for each in variants_of(["linear"], unpaired=False, fixed={})] == ["linear"]
    (only,) = variants_of(["linear"], unpaired=True, fixed={"regulariser": "structure", "weight": 3.0})
    options = only.options(widths=(8, 8), pairs=30, common={"seed": 7})
    assert (only.label, options.uses_structure, options.seed) == ("linear + R_S", True, 7)
    assert options.to_dict()["weight"] == 3.0
    kernel = CurveVariant("kernel-csa").options(widths=(8, 8), pairs=30, common={})
    assert kernel.to_dict()["ridge"] == 1.0  # the default, not the first that a selection tries


def test_metrics_of_pairs() -> None:
    class Shifted:
        """Every row is nearest to the next one's partner, and second to its own."""

        def embed_images(self, rows: np.ndarray) -> np.ndarray:
            return rows

        def embed_texts(self, rows: np.ndarray) -> np.ndarray:
            return 0.9 * rows + np.roll(rows, 1, axis=0)

    values = pair_metrics(Shifted(), np.eye(20), np.eye(20))  # type: ignore[arg-type]
    assert tuple(values) == METRICS
    assert values["R@1"].mean() == 0
    assert values["R@10"].mean() == 1
    assert values["mrr"].mean() == 0.5
    assert values["FOSCTTM"].mean() == pytest.approx(1 / 19)
    assert [chance(metric, 20) for metric in METRICS] == [0.05, 0.5, pytest.approx(0.17989, abs=1e-4), 0.5]
