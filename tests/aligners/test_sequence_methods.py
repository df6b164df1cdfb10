"""PAL, FreezeAlign and SMA trained on arrays: they learn, they are reproducible, and say what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from structure.pipeline.aligners import TrainingOptions, fit, load_aligner
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.options import applicable
from structure.pipeline.aligners.padded import Padded, Ragged
from structure.pipeline.aligners.recall import pair_recall
from structure.pipeline.aligners.sequence_batches import SequencesInMemory, as_ragged, joined, limited
from structure.pipeline.aligners.unpaired import Unpaired
from structure.pipeline.progress import Note
from structure.store.errors import StructureError
from structure.store.files_at_url import open_files

GIVEN = {
    "dim": 8,
    "anchors": 24,
    "epochs": 25,
    "learning_rate": 3e-2,
    "device": "cpu",
    "regulariser": "none",
    "pool_temperature": 0.1,
}
METHODS = ("pal", "freezealign", "sma")


def options_of(method, **changes):
    """What was given of the options that the method has, with changes."""
    return TrainingOptions(**applicable({"method": method, **GIVEN})).changed(**changes)


def sequences(rows: int, *, seed: int = 0, uniform: bool = False) -> tuple[Ragged, Ragged]:
    """Several noisy vectors a sample on each side, of one hidden cause; between two and five of them."""
    maps = np.random.default_rng(5)
    to_vision, to_text = maps.normal(size=(4, 12)), maps.normal(size=(4, 9))
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(rows, 4))
    sides = []
    for matrix in (to_vision, to_text):
        lengths = np.full(rows, 3) if uniform else rng.integers(2, 6, rows)
        clean = np.repeat(cause @ matrix, lengths, axis=0)
        values = clean + 0.3 * rng.normal(size=clean.shape)
        sides.append(Ragged(torch.from_numpy(values).half(), torch.tensor([0, *np.cumsum(lengths)])))
    return sides[0], sides[1]


def recall(aligner, rows: int = 60, *, method: str = "pal") -> float:
    vision, text = sequences(rows, seed=9)
    if method == "sma":
        features = vision.take(slice(None)).first(), text.take(slice(None)).first()
    else:
        features = vision, text
    images, texts = aligner.embed_images(features[0]), aligner.embed_texts(features[1])
    return min(pair_recall(torch.as_tensor(images), torch.as_tensor(texts)))


@pytest.mark.parametrize("method", METHODS)
class TestEverySequenceMethod:
    def test_learns_saves_and_repeats(self, method, tmp_path):
        pairs = sequences(150)
        options = options_of(method)
        trained = fit(*pairs, options=options)
        assert trained.pairs == 134
        assert trained.validation_pairs == 16
        assert len(trained.history) == trained.epochs
        assert recall(trained.aligner, method=method) > 0.15  # chance is 0.017
        again = fit(*pairs, options=options)
        assert again.aligner.pack() == trained.aligner.pack()
        back = load_aligner(trained.aligner.save(tmp_path))
        assert (back.method, back.takes_tokens) == (method, method != "sma")
        assert recall(back, method=method) == recall(trained.aligner, method=method)

    def test_small_batches_and_a_rate_test(self, method):
        options = options_of(method, batch=32, epochs=3, learning_rate=None)
        trained = fit(*sequences(90), options=options)
        assert trained.curve is not None
        assert trained.history[-1]["step"] == 3 * 3
        assert np.isfinite(trained.history[-1]["loss"])

    def test_goes_on_from_a_checkpoint(self, method, tmp_path):
        pairs, options = sequences(80), options_of(method, epochs=6, refit=True)
        whole = fit(*pairs, options=options).aligner.pack()

        class KilledError(Exception):
            pass

        def killer(event):
            if getattr(event, "done", 0) == 4:
                raise KilledError

        kept = Checkpoint(open_files(tmp_path), "run", {}, every=0.0)
        with pytest.raises(KilledError):
            fit(*pairs, options=options, checkpoint=kept, on_event=killer)
        notes = []
        resumed = fit(*pairs, options=options, checkpoint=kept, on_event=notes.append)
        assert any("checkpoint" in getattr(note, "text", "") for note in notes)
        assert resumed.refit_pairs == 80
        assert resumed.aligner.pack().keys() == whole.keys()
        assert resumed.aligner.pack()["aligner.safetensors"] == whole["aligner.safetensors"]

    def test_says_what_does_not_fit(self, method):
        options = options_of(method)
        vision, text = sequences(40)
        with pytest.raises(StructureError, match="5 pairs are too few"):
            fit(vision.take(slice(0, 5)), text.take(slice(0, 5)), options=options)
        with pytest.raises(StructureError, match="40 vision rows and 39 text rows"):
            fit(vision, text.take(slice(0, 39)), options=options)
        flat = Padded(torch.ones(40, 2, 12), torch.ones(40, 2, dtype=torch.bool))
        with pytest.raises(StructureError, match="vision features are constant"):
            fit(flat, text, options=options)
        with pytest.raises(StructureError, match=r"must be \(rows, token, width\)"):
            fit(np.ones((40, 12)), text, options=options)
        for foreign in ({"mix": 1.0}, {"regulariser": "structure"}):
            with pytest.raises(StructureError, match=f"The method {method} has no option"):
                options.changed(**foreign)
        notes: list[Note] = []
        more = Unpaired(np.ones((9, 12), dtype=np.float32))
        fit(vision, text, options=options.changed(epochs=1), extras=more, on_event=notes.append)
        assert any("without R_S" in getattr(note, "text", "") for note in notes)


def test_the_ablations_of_pal():
    pairs = sequences(150)
    options = options_of("pal")
    ways = ("attention", "mean", "query")
    attention, mean, query = (fit(*pairs, options=options.changed(pooling=how)).aligner for how in ways)
    assert recall(mean) > 0.15
    assert recall(query) > 0.15
    assert not torch.equal(attention.vision.anchors, mean.vision.anchors)
    assert [side.query.shape for side in (query.vision, query.text)] == [(12,), (9,)]  # one a side, for all anchors
    vectors = [side.take(slice(None)).first() for side in pairs]
    single = fit(*vectors, options=options.changed(pooling="global")).aligner
    assert single.vision.kind == "anchors"
    assert not single.takes_tokens
    assert recall(single, method="sma") > 0.1


def test_sma_takes_as_many_views_and_captions_as_it_is_told():
    vision, text = sequences(60)
    few = fit(vision, text, options=options_of("sma", views=1, captions=2)).aligner
    same = fit(limited(vision, 1), limited(text, 2), options=options_of("sma")).aligner
    torch.testing.assert_close(few.vision.weight, same.vision.weight)
    for kind in ("flvmi", "gcmi", "logdetmi"):
        trained = fit(vision, text, options=options_of("sma", information=kind, epochs=4))
        assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    with pytest.raises(StructureError, match="The method sma has no option 'loss'"):
        options_of("sma", loss="sigmoid")


def test_sma_of_single_views_and_captions_trains_as_linear_does():
    vision, text = (limited(side, 1) for side in sequences(60))
    sets = fit(vision, text, options=options_of("sma", epochs=5, mu=0.0)).aligner
    rows = fit(vision.values, text.values, options=options_of("linear", epochs=5)).aligner
    torch.testing.assert_close(sets.vision.weight, rows.vision.weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(sets.text.weight, rows.text.weight, rtol=1e-3, atol=1e-4)


def test_batches_hold_each_pair_once():
    vision, text = sequences(23)
    source = SequencesInMemory(vision, text, batch=5)
    seen = list(source.epoch(3))
    assert [len(one) for one, _ in seen] == [5, 5, 5, 5, 3]
    firsts = torch.cat([one.first() for one, _ in seen])
    everything = vision.take(slice(None)).first()
    assert sorted(map(tuple, firsts.tolist())) == sorted(map(tuple, everything.tolist()))
    both = joined(vision, vision.take(slice(0, 2)))
    assert len(both) == 25
    assert torch.equal(both.take(slice(23, 24)).values, vision.take(slice(0, 1)).values)
    assert torch.equal(as_ragged(vision.take(slice(None))).values, vision.values)
