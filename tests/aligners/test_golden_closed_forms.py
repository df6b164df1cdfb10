from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from structure.pipeline.aligners.csa_solver import fit_csa, fit_csa_moments, moments
from structure.pipeline.aligners.heads.anchors import anchor_profile
from structure.pipeline.aligners.losses.contrastive import info_nce
from structure.pipeline.aligners.losses.set_alignment import set_alignment_loss
from structure.pipeline.aligners.losses.submodular import largest_information, maximum, submodular_information
from structure.store.errors import StructureError


def test_golden_csa(golden: Path):
    file = np.load(golden / "csa.npz")
    n = int(file["n_train"])
    fitted = fit_csa(file["X"][:n], file["Y"][:n], dim=int(file["n_components"]))
    np.testing.assert_allclose(fitted.correlations, file["canonical_correlations"], atol=1e-8)
    x, y = fitted.embed_images(file["X"][n:]), fitted.embed_texts(file["Y"][n:])
    scores = fitted.similarity(x, y)
    np.testing.assert_allclose(scores, file["test_cosine"], atol=1e-7)
    np.testing.assert_allclose(fitted.similarity(x, y, weighted=True), file["test_weighted_cosine"], atol=1e-7)
    np.testing.assert_array_equal((scores > np.diag(scores)[:, None]).sum(1), file["rank_x_to_y"])
    single = fit_csa(file["X"][:n].astype("f4"), file["Y"][:n].astype("f4"), dim=int(file["n_components"]))
    np.testing.assert_allclose(single.correlations, file["canonical_correlations"], atol=1e-4)
    assert single.embed_images(file["X"][n:].astype("f4")).dtype == np.float32
    full = fit_csa(file["X"][:n], file["Y"][:n], dim=16)
    np.testing.assert_allclose(full.correlations, file["all_canonical_correlations"], atol=1e-8)


def test_csa_moments_do_not_depend_on_the_chunks():
    rng = np.random.default_rng(0)
    x, y = rng.normal(50, 1, (301, 9)), rng.normal(-3, 1, (301, 7))
    whole = moments([(x, y)])
    parts = moments((x[a:b], y[a:b]) for a, b in ((0, 1), (1, 120), (120, 120), (120, 301)))
    for name in ("mean_x", "mean_y", "xx", "yy", "xy"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole.xx.numpy(), np.cov(x.T, bias=True), atol=1e-10)
    assert fit_csa_moments(parts, dim=3).rows == 301


def test_csa_says_what_it_cut_and_what_is_missing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 6)), rng.normal(size=(200, 5))
    deficient = np.hstack([x, x[:, :2]])
    fitted = fit_csa(deficient, y, dim=4)
    assert "2 of 8" in fitted.cut[0]
    assert np.isfinite(fitted.embed_images(deficient)).all()
    np.testing.assert_allclose(fitted.correlations, fit_csa(x, y, dim=4).correlations, atol=1e-8)
    with pytest.raises(StructureError, match=r"7 dimensions.*5"):
        fit_csa(x, y, dim=7)
    with pytest.raises(StructureError, match="3 pairs"):
        fit_csa(x[:3], y[:3], dim=4)
    assert (fit_csa(x, y, dim=4, ridge=1.0).correlations < fit_csa(x, y, dim=4).correlations).all()


def test_golden_pal(golden: Path):
    file = np.load(golden / "pal.npz")
    bank_v, bank_t = (torch.tensor(file[name], requires_grad=True) for name in ("anchors_v", "anchors_t"))
    tau_p = float(file["tau_p"])
    h_v = anchor_profile(file["tokens_v"], bank_v, temperature=tau_p)
    h_t = anchor_profile(file["tokens_t"], bank_t, mask=file["mask_t"], temperature=tau_p)
    np.testing.assert_allclose(h_v.detach(), file["h_v"], atol=1e-9)
    np.testing.assert_allclose(h_t.detach(), file["h_t"], atol=1e-9)
    loss = info_nce(h_v, h_t, temperature=float(file["tau"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(file["loss"]), rel=1e-8)
    for bank, name in ((bank_v, "grad_anchors_v"), (bank_t, "grad_anchors_t")):
        assert np.abs(bank.grad.numpy() - file[name]).max() <= 1e-7 * np.abs(file[name]).max()
    warmer = anchor_profile(file["tokens_v"], file["anchors_v"], temperature=0.05)
    np.testing.assert_allclose(warmer, file["h_v_taup005"], atol=1e-9)
    np.testing.assert_allclose(anchor_profile(file["tokens_v"][:, 0], file["anchors_v"]), file["h_cls"], atol=1e-9)
    single = anchor_profile(file["tokens_v"].astype("f4"), file["anchors_v"].astype("f4"), temperature=tau_p)
    np.testing.assert_allclose(single, file["h_v"], atol=1e-4)


def test_pal_in_pieces_and_with_any_padding(monkeypatch, golden: Path):
    file = np.load(golden / "pal.npz")
    tokens, mask = file["tokens_t"].copy(), file["mask_t"]
    tokens[~mask] = np.nan

    def run():
        bank = torch.tensor(file["anchors_t"], requires_grad=True)
        profile = anchor_profile(tokens, bank, mask=mask, temperature=0.03)
        profile[:, 0].sum().backward()
        return profile.detach(), bank.grad

    whole = run()
    monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": 1})
    for pieces, once in zip(run(), whole, strict=True):
        torch.testing.assert_close(pieces, once, rtol=1e-10, atol=1e-12)
    empty = mask.copy()
    empty[2] = False
    with pytest.raises(ValueError, match="no real token"):
        anchor_profile(tokens, file["anchors_t"], mask=empty)
    with pytest.raises(ValueError, match="12 wide, anchors 10"):
        anchor_profile(file["tokens_v"], file["anchors_t"])


def test_golden_submodular(monkeypatch, golden: Path):
    file = np.load(golden / "submodular.npz")
    views, captions = file["views"], file["captions"]
    n, m = captions.shape[1], views.shape[1]

    def check(most):
        monkeypatch.setattr("structure.pipeline.aligners.losses.submodular._MOST", most)
        monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": most})
        for e, eta in enumerate(map(float, file["etas"])):

            def made(*, eta=eta, **options):
                return submodular_information(views, captions, eta=eta, **options).numpy()

            np.testing.assert_allclose(made(), file["flqmi"][e], atol=1e-10)
            np.testing.assert_allclose(made() / (n + eta * m), file["flqmi_normalised"][e], atol=1e-10)
            np.testing.assert_allclose(made(kind="flvmi"), file["flvmi_ground_all"][e], atol=1e-9)
            np.testing.assert_allclose(made(kind="flvmi", ground="views"), file["flvmi_ground_views"][e], atol=1e-9)
            for r, ridge in enumerate(map(float, file["ridges"])):
                np.testing.assert_allclose(made(kind="logdetmi", ridge=ridge), file["logdetmi"][e, r], atol=1e-8)

    check(1 << 24)
    check(1)
    np.testing.assert_allclose(submodular_information(views, captions, kind="gcmi"), file["gcmi_lambda1"], atol=1e-10)
    single = submodular_information(views.astype("f4"), captions.astype("f4"), eta=float(file["etas"][0]))
    np.testing.assert_allclose(single, file["flqmi"][0], atol=1e-5)
    with pytest.raises(StructureError, match="Did you mean flqmi"):
        submodular_information(views, captions, kind="flqm")


@pytest.mark.parametrize("kind", ["flqmi", "flvmi", "gcmi", "logdetmi"])
def test_submodular_gradients(kind):
    generator = torch.Generator().manual_seed(3)
    sets = [torch.randn(3, size, 5, generator=generator, dtype=torch.float64).requires_grad_() for size in (2, 3)]
    assert torch.autograd.gradcheck(
        lambda a, q: submodular_information(a, q, kind=kind, eta=0.7, ridge=0.5), tuple(sets)
    )


def test_set_alignment_of_single_views_is_info_nce():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(20, 6, generator=generator, dtype=torch.float64) for _ in "ab")
    loss = set_alignment_loss(a[:, None], b[:, None], eta=1.0, temperature=0.05, divergence=0.0)
    torch.testing.assert_close(loss, info_nce(a, b, temperature=0.05))
    assert set_alignment_loss(a[:, None], b[:, None]).item() > loss.item()


def test_set_alignment_uses_the_normalised_information():
    generator = torch.Generator().manual_seed(0)
    views, captions = (torch.randn(6, size, 5, generator=generator, dtype=torch.float64) for size in (2, 4))
    information = submodular_information(views, captions, eta=0.5) / (4 + 0.5 * 2)
    target = torch.arange(6)
    logits = information / 0.1
    wanted = (
        torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    got = set_alignment_loss(views, captions, eta=0.5, temperature=0.1, sharpness=None, divergence=0.0)
    torch.testing.assert_close(got, wanted)
    smooth = set_alignment_loss(views, captions, eta=0.5, temperature=0.1, sharpness=1e4, divergence=0.0)
    torch.testing.assert_close(smooth, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("sharpness", [None, 20.0])
@pytest.mark.parametrize("kind", ["flqmi", "flvmi", "gcmi", "logdetmi"])
def test_sets_of_different_sizes_are_masked(kind, sharpness):
    """Entry (i, j) is that of the two sets alone, whatever lies in the padding."""
    generator = torch.Generator().manual_seed(1)
    views, captions = (torch.randn(4, size, 6, generator=generator, dtype=torch.float64) for size in (3, 4))
    of_views, of_captions = torch.tensor([3, 1, 2, 3]), torch.tensor([2, 4, 1, 3])
    views_mask, captions_mask = torch.arange(3) < of_views[:, None], torch.arange(4) < of_captions[:, None]
    views[~views_mask], captions[~captions_mask] = torch.nan, 1e9
    options = {"kind": kind, "eta": 0.7, "ridge": 0.2, "sharpness": sharpness}
    whole = submodular_information(views, captions, views_mask=views_mask, captions_mask=captions_mask, **options)
    largest = largest_information(
        views, captions, kind=kind, eta=0.7, views_mask=views_mask, captions_mask=captions_mask
    )
    if kind == "flvmi":  # its ground set is the whole batch: by hand

        def best(u, members):
            return maximum(u @ members.T, 1, None, sharpness=sharpness)

        unit = torch.nn.functional.normalize
        a = [unit(views[i, : of_views[i]], dim=1) for i in range(4)]
        q = [unit(captions[i, : of_captions[i]], dim=1) for i in range(4)]
        ground = torch.cat([*a, *q])
        for i in range(4):
            for j in range(4):
                one = torch.minimum(best(ground, a[i]), 0.7 * best(ground, q[j])).sum()
                torch.testing.assert_close(whole[i, j], one)
        assert largest[0, 0] == len(ground)
        return
    for i in range(4):
        for j in range(4):
            pair = views[None, i, : of_views[i]], captions[None, j, : of_captions[j]]
            torch.testing.assert_close(whole[i, j], submodular_information(*pair, **options)[0, 0])
            torch.testing.assert_close(largest[i, j], largest_information(*pair, kind=kind, eta=0.7)[0, 0])
    if kind != "logdetmi":
        alike = torch.ones(1, 3, 6, dtype=torch.float64)
        same = submodular_information(alike, alike, kind=kind, eta=0.7) / largest_information(
            alike, alike, kind=kind, eta=0.7
        )
        torch.testing.assert_close(same, torch.ones(1, 1, dtype=torch.float64))


def test_the_set_loss_is_masked_and_made_in_pieces(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    views, captions = (torch.randn(5, size, 6, generator=generator, dtype=torch.float64) for size in (2, 3))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 1], [0, 1, 0]], dtype=torch.bool)

    def run(fill):
        leaves = views.clone().requires_grad_(), captions.masked_fill(~mask[..., None], fill).requires_grad_()
        loss = set_alignment_loss(*leaves, captions_mask=mask)
        loss.backward()
        return loss.detach(), leaves[0].grad, leaves[1].grad

    once = run(0.5)
    assert (once[2][~mask] == 0).all()
    monkeypatch.setattr("structure.pipeline.aligners.chunked._MOST", {"cpu": 1})
    torch.testing.assert_close(run(-7.0), once)
    with pytest.raises(ValueError, match="each needs a real member"):
        set_alignment_loss(views, captions, captions_mask=torch.zeros(5, 3, dtype=torch.bool))
