"""Some of every kind of architecture against the library itself; `python -m tests.encoders.architectures` runs all."""

from __future__ import annotations

import pytest
import torch

from tests.encoders.architectures import comparison, of_timm, of_transformers
from tests.encoders.architectures.page import PAGE, aliases
from tests.encoders.architectures.sample import REFUSED, TIMM, TRANSFORMERS


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.filterwarnings("ignore")  # libraries' own, about configs that no checkpoint has
def test_layers_equal_transformers_alone_and_in_a_batch(name, tmp_path):
    verdicts = of_transformers.check(name, tmp_path / "model")
    assert {verdict.kind for verdict in verdicts.values()} <= {"equal", "not built"}, verdicts


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_read_is_refused_in_one_line(name, tmp_path):
    for verdict in of_transformers.check(name, tmp_path / "model").values():
        assert verdict.kind == "refused", verdict
        assert "\n" not in verdict.why


@pytest.mark.parametrize("name", TIMM)
def test_layers_equal_timm_alone_and_in_a_batch(name):
    assert of_timm.check(name) == {name: comparison.Verdict("equal")}


def test_the_page_lists_what_is_compared_here_and_every_alias():
    text = PAGE.read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    shown = {cells[0].strip("| `").partition("#")[0]: cells[2] for cells in rows if len(cells) == 7}
    assert shown.keys() == {*TRANSFORMERS, *REFUSED, *TIMM}
    assert {name for name, verdict in shown.items() if verdict.startswith("refused")} == set(REFUSED)
    assert {verdict for name, verdict in shown.items() if name not in REFUSED} <= {"equal", "not built"}
    assert aliases() in text


def test_the_comparison_finds_faults(tmp_path, monkeypatch):
    """Blocks that are numbered wrongly, and rows that move, are told."""
    from structure.pipeline.encoders import taps, torch_encoder

    monkeypatch.setattr(torch_encoder.TorchEncoder, "grouping", "batch")
    out = taps.first_tensor
    monkeypatch.setattr(taps, "first_tensor", lambda output: out(output).roll(1, dims=0) * 1.01)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)
    verdict = of_timm.check("test_vit")["test_vit"]
    assert verdict.kind == "different"
    assert "moves in a batch" in verdict.why
    assert "none of the layers" in verdict.why
