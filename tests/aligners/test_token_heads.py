"""Heads over tokens: PAL's anchors and the FreezeAlign-like projection, on arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.heads.anchors import anchor_code, anchor_profile, query_profile
from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.aligners.heads.token_heads import AnchorHead, TokenHead
from structure.pipeline.aligners.heads.vector_heads import LinearHead
from structure.pipeline.aligners.padded import Padded, Ragged
from structure.pipeline.metrics.zero_shot_classifier import class_vectors
from structure.store.errors import StructureError


@dataclass(frozen=True)
class StoredTokens:
    """The shape of what the store hands out: NumPy values, offsets and the prefix."""

    values: np.ndarray
    offsets: np.ndarray
    prefix: int


def ragged(lengths: list[int], width: int, *, seed: int = 0, prefix: int = 0) -> Ragged:
    values = torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))
    return Ragged(values, torch.tensor([0, *np.cumsum(lengths)]), prefix)


@pytest.fixture
def golden_pal(golden: Path) -> tuple[Aligner, dict[str, np.ndarray]]:
    """The golden anchors as an aligner (float32, as aligners are), and the file."""
    file = dict(np.load(golden / "pal.npz"))
    heads = []
    for name in ("anchors_v", "anchors_t"):
        head = AnchorHead(file[name].shape[1], len(file[name]), temperature=float(file["tau_p"]))
        head.anchors.data.copy_(torch.from_numpy(file[name]))
        heads.append(head.requires_grad_(False))
    return Aligner(heads[0], heads[1], "pal"), file


def test_golden_mean_pooling(golden: Path):
    file = np.load(golden / "pal.npz")
    mean = anchor_profile(file["tokens_v"], file["anchors_v"], pooling="mean")
    np.testing.assert_allclose(mean, file["h_v_mean"], atol=1e-9)
    mean = anchor_profile(file["tokens_t"], file["anchors_t"], mask=file["mask_t"], pooling="mean")
    np.testing.assert_allclose(mean, file["h_t_mean"], atol=1e-9)


def by_formula(
    tokens: np.ndarray, mask: np.ndarray, anchors: np.ndarray, weigh: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """p_k = sum_t w_t cos(z_t, a_k) over the real tokens of each row, p / ||p||; `weigh` gives (tokens,) weights."""
    rows = []
    for own, real in zip(tokens, mask, strict=True):
        unit = own[real] / np.linalg.norm(own[real], axis=1, keepdims=True)
        profile = weigh(unit) @ (unit @ (anchors / np.linalg.norm(anchors, axis=1, keepdims=True)).T)
        rows.append(profile / np.linalg.norm(profile))
    return np.stack(rows)


def test_the_controls_of_the_attention_are_their_formulas(golden: Path):
    """Uniform weights, and one query for all anchors; both sides of padding hold garbage."""
    file = np.load(golden / "pal.npz")
    tokens, mask, anchors = file["tokens_t"], file["mask_t"], file["anchors_t"]
    query = np.random.default_rng(0).normal(size=anchors.shape[1])

    def uniform(unit: np.ndarray) -> np.ndarray:
        return np.full(len(unit), 1 / len(unit))

    def one_query(unit: np.ndarray) -> np.ndarray:
        weights = np.exp(unit @ (query / np.linalg.norm(query)) / 0.1)
        return np.asarray(weights / weights.sum())

    head = make_head("anchors", 10, 5, pooling="query", temperature=0.1).double()
    head.anchors.data.copy_(torch.from_numpy(anchors))
    head.query.data.copy_(torch.from_numpy(query))
    asked = head(Padded(torch.from_numpy(tokens), torch.from_numpy(mask))).detach()
    np.testing.assert_allclose(asked, by_formula(tokens, mask, anchors, one_query), atol=1e-12)
    plain = make_head("anchors", 10, 5, pooling="mean").double()
    plain.anchors.data.copy_(torch.from_numpy(anchors))
    mean = plain(Padded(torch.from_numpy(tokens), torch.from_numpy(mask))).detach()
    np.testing.assert_allclose(mean, by_formula(tokens, mask, anchors, uniform), atol=1e-12)


def test_one_query_has_the_same_gradient_in_pieces(monkeypatch):
    tokens = torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    mask = torch.arange(4)[None] <= torch.arange(9)[:, None] % 4
    parameters = [torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double() for shape in ((5, 6), (6,))]

    def gradients() -> list[torch.Tensor]:
        leaves = [one.clone().requires_grad_() for one in parameters]
        query_profile(tokens, *leaves, mask=mask, temperature=0.2).pow(3).sum().backward()
        return [leaf.grad for leaf in leaves]

    whole = gradients()
    monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": 50})
    for one, other in zip(whole, gradients(), strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other)


def test_golden_classes_and_patches(golden_pal):
    aligner, file = golden_pal
    tokens, mask = file["class_tokens"], file["class_mask"]
    prompts = aligner.embed_texts(tokens.reshape(6, 7, 10), mask=mask.reshape(6, 7))
    profiles = class_vectors(prompts.reshape(3, 2, -1)).numpy()
    np.testing.assert_allclose(profiles, file["class_profiles"], atol=1e-6)
    exact = file["class_profiles"]
    scores = aligner.patch_scores(file["seg_tokens"][None], exact, prefix=1)
    assert scores.shape == (1, 16, 3)
    np.testing.assert_allclose(scores[0], file["seg_scores"], atol=1e-6)
    np.testing.assert_allclose(aligner.patch_scores(file["tokens_v"], exact), file["patch_scores_tokens_v"], atol=1e-6)
    anchors, patches = torch.from_numpy(file["anchors_v"]), torch.from_numpy(file["seg_tokens"][1:])
    codes = anchor_code(patches, anchors) @ torch.from_numpy(exact).T
    np.testing.assert_allclose(codes, file["seg_scores"], atol=1e-9)
    large = torch.nn.functional.interpolate(
        codes.T.view(1, 3, 4, 4), size=tuple(file["seg_size"].tolist()), mode="bilinear", align_corners=False
    )
    np.testing.assert_array_equal(large[0].argmax(dim=0), file["seg_labels"])


def test_the_ablation_to_one_vector(golden_pal):
    _, file = golden_pal
    head = AnchorHead(12, 5, pooling="global").double()
    head.anchors.data.copy_(torch.from_numpy(file["anchors_v"]))
    assert not head.takes_tokens
    np.testing.assert_allclose(head(torch.from_numpy(file["tokens_v"][:, 0])).detach(), file["h_cls"], atol=1e-9)


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=7), data=st.data())
def test_ragged_and_padded_hold_the_same_rows(lengths, data):
    whole = ragged(lengths, 3)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6))
    padded = whole.take(np.array(chosen, dtype=int))
    assert padded.values.shape == (len(chosen), max((lengths[i] for i in chosen), default=0), 3)
    for row, i in enumerate(chosen):
        assert int(padded.mask[row].sum()) == lengths[i]
        rows = whole.values[whole.offsets[i] : whole.offsets[i + 1]]
        assert torch.equal(padded.values[row][padded.mask[row]], rows)


def heads(width: int = 6) -> list[Head]:
    made: list[Head] = [
        AnchorHead(width, 5),
        AnchorHead(width, 5, pooling="mean"),
        TokenHead(width, 5, hidden=4, cls=False),
        AnchorHead(width, 5, pooling="query"),
    ]
    for head in made:
        head.reset(torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize("number", range(4))
class TestEveryTokenHead:
    def test_padding_and_pieces_change_nothing(self, number, monkeypatch):
        head = heads()[number]
        tokens = ragged([3, 1, 4, 2], 6)

        def run(x: Padded) -> tuple[torch.Tensor, list[torch.Tensor]]:
            head.zero_grad()
            out = head(x)
            out[:, 0].sum().backward()
            return out.detach(), [parameter.grad.clone() for parameter in head.parameters()]

        plain = run(tokens.take(slice(None)))
        padded = tokens.take(slice(None))
        wide = Padded(torch.full((4, 9, 6), torch.nan), torch.zeros(4, 9, dtype=torch.bool))
        wide.values[:, 2:6], wide.mask[:, 2:6] = padded.values, padded.mask
        wide.values[~wide.mask] = torch.nan
        monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": 1})
        again = run(wide)
        torch.testing.assert_close(again, plain)

    def test_one_item_is_its_formula(self, number):
        head = heads()[number]
        rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
        out = head(Padded(rows[None], torch.ones(1, 4, dtype=torch.bool)))[0]
        if number == 2:
            inner = torch.nn.functional.gelu(rows @ head.weight1.T + head.bias1) @ head.weight2.T
            torch.testing.assert_close(out, (rows @ head.weight.T + head.bias + inner).mean(dim=0))
            return
        unit = torch.nn.functional.normalize
        cosines = unit(rows, dim=1) @ unit(head.anchors, dim=1).T
        asked = unit(rows, dim=1) @ unit(head.query, dim=0)[:, None] if number == 3 else cosines
        share = torch.full_like(cosines, 1 / 4) if number == 1 else torch.softmax(asked / 0.03, dim=0)
        torch.testing.assert_close(out, unit((share * cosines).sum(dim=0), dim=0))

    def test_an_aligner_of_it_saves_and_embeds(self, number, tmp_path):
        aligner = Aligner(heads()[number].eval(), heads()[number].eval(), "pal")
        tokens = ragged([3, 1, 4], 6)
        stored = StoredTokens(tokens.values.numpy(), tokens.offsets.numpy(), 0)
        images = aligner.embed_images(stored)
        assert isinstance(images, np.ndarray)
        assert images.dtype == np.float32
        padded = tokens.take(slice(None))
        np.testing.assert_allclose(aligner.embed_images(padded.values.numpy(), mask=padded.mask.numpy()), images)
        assert torch.equal(aligner.embed_texts(tokens), torch.from_numpy(images))
        np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-6)
        back = load_aligner(aligner.save(tmp_path))
        assert back.takes_tokens
        np.testing.assert_array_equal(back.embed_images(stored), images)

    def test_says_what_it_cannot_take(self, number):
        aligner = Aligner(heads()[number], heads()[number], "pal")
        with pytest.raises(StructureError, match=r"must be \(rows, token, width\).*shape \(3, 6\).*--tokens"):
            aligner.embed_images(np.ones((3, 6)))
        with pytest.raises(StructureError, match="4 wide.*made for 6"):
            aligner.embed_texts(np.ones((3, 2, 4)))
        with pytest.raises(StructureError, match="Row 1 of the vision tokens has no real token"):
            aligner.embed_images(ragged([2, 0, 1], 6))
        broken = ragged([2, 2, 1], 6)
        broken.values[3, 1] = torch.inf
        with pytest.raises(StructureError, match="Row 1 of the text tokens holds a NaN"):
            aligner.embed_texts(broken)


def test_the_cls_token_has_a_projection_of_its_own():
    head = make_head("tokens", 6, 5, hidden=4, cls=True)
    head.reset(torch.Generator().manual_seed(0))
    plain = make_head("tokens", 6, 5, hidden=4, cls=False)
    plain.load_state_dict({name: value for name, value in head.state_dict().items() if name != "weight_cls"})
    tokens = ragged([5, 5], 6, prefix=2).take(slice(None))
    patches = Padded(tokens.values[:, 2:], tokens.mask[:, 2:])
    torch.testing.assert_close(head(tokens), plain(patches) + tokens.values[:, 0] @ head.weight_cls.T)
    with pytest.raises(StructureError, match="CLS"):
        head(patches)


def test_patches_of_an_ordinary_head_are_scored_by_cosine():
    head = LinearHead(6, 4)
    head.reset(torch.Generator().manual_seed(0))
    aligner = Aligner(head, LinearHead(3, 4), "linear")
    tokens, classes = ragged([4, 4], 6, prefix=1), torch.eye(4)[:3]
    scores = aligner.patch_scores(tokens, classes)
    assert scores.shape == (2, 3, 3)
    expected = torch.nn.functional.normalize(head(tokens.values[5:8]), dim=1) @ classes.T
    torch.testing.assert_close(scores[1], expected.detach())
    with pytest.raises(StructureError, match=r"must be \(rows, token, width\)"):
        aligner.patch_scores(torch.ones(2, 6), classes)


def test_pal_never_holds_the_tokens_by_anchors(monkeypatch):
    """Forward and backward together stay below one (batch, token, anchor) tensor, and keep their gradient."""
    monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": 1 << 16})
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("peak memory is read from /proc")

    def peak_mb() -> float:
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024

    def run(rows: int) -> float:
        tokens, bank = torch.randn(rows, 64, 16).half(), torch.randn(256, 16, requires_grad=True)
        reset.write_text("5")  # the high-water mark starts anew
        before = peak_mb()
        anchor_profile(tokens, bank).sum().backward()
        assert bank.grad is not None
        return peak_mb() - before

    run(64)
    most = 4096 * 64 * 256 * 4 / 2**20  # so large that what threads set up once does not count
    assert any(run(4096) < most for _ in range(3))  # the high-water mark is that of the process, other threads included
