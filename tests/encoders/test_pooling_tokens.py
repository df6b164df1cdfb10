"""Pooling against plain loops, padding, and token rows."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from structure.pipeline.encoders.pooling import POOLINGS, PoolingRule, pool, poolings_of
from structure.pipeline.encoders.tokens import TokenIds, pad
from structure.store.errors import StructureError


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    left=st.booleans(),
    junk=st.sampled_from([0.0, float("nan"), float("inf")]),
    seed=st.integers(0, 999),
)
def test_masked_pooling_equals_a_loop_over_unpadded_rows(lengths, left, junk, seed):
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.randn(length, 3, generator=draw) for length in lengths]
    longest = max(lengths) + 1
    values = torch.full((len(rows), longest, 3), junk)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        part = slice(longest - len(row), longest) if left else slice(0, len(row))
        values[index, part], mask[index, part] = row, True
    for kind, alone in (
        ("cls", lambda row: row[0]),
        ("last", lambda row: row[-1]),
        ("mean", lambda row: row.mean(dim=0)),
        ("max", lambda row: row.amax(dim=0)),
    ):
        torch.testing.assert_close(pool(values, kind, mask=mask), torch.stack([alone(row) for row in rows]))


def test_patch_pooling_leaves_the_prefix_out_and_cls_reads_it():
    values = torch.arange(24.0).reshape(1, 6, 4).to(torch.bfloat16)
    assert torch.equal(pool(values, "mean", prefix=2), values[:, 2:].float().mean(dim=1))
    assert torch.equal(pool(values, "max", prefix=2), values[:, 5].float())
    assert torch.equal(pool(values, "cls", prefix=2), values[:, 0].float())
    assert pool(values, "mean").dtype == torch.float32


def test_a_map_pools_over_its_pixels_and_has_no_cls():
    values = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(pool(values, "mean"), values.flatten(2).mean(dim=2))
    torch.testing.assert_close(pool(values, "max"), values.flatten(2).amax(dim=2))
    with pytest.raises(ValueError, match="no 'cls' token"):
        pool(values, "cls")


def test_tokens_keep_their_count_of_what_was_cut_through_pickle():
    tokens = pickle.loads(pickle.dumps(TokenIds([1, 2, 3], cut=4)))
    assert (list(tokens), tokens.cut, len(tokens)) == ([1, 2, 3], 4, 3)


def test_padding_is_on_the_right_and_masked():
    ids, mask = pad([[5, 6], [7]], value=1, length=3)
    assert ids.tolist() == [[5, 6, 1], [7, 1, 1]]
    assert mask.tolist() == [[True, True, False], [True, False, False]]


def test_a_pooling_is_one_entry_that_everything_asks(monkeypatch):
    from structure.pipeline.encoders import load_encoder, pooling

    assert poolings_of("tokens") == tuple(POOLINGS)
    assert poolings_of("tokens", has_cls=False) == ("mean", "last", "max")
    assert poolings_of("map") == ("mean", "max")
    second = PoolingRule("the second token", lambda values, mask, prefix: values[:, 1].float())
    for module in (pooling, sys.modules["structure.pipeline.encoders.encoder"]):
        monkeypatch.setattr(module, "POOLINGS", {**POOLINGS, "second": second})
    encoder = load_encoder("bundled:scenes-vit")
    assert "second" in encoder.poolings
    image = encoder.preprocess(Image.new("RGB", (64, 64)))
    out = encoder.encode([image], pooling=["cls", "second"], layers=["block.00"])
    assert set(out) == {"block.00@cls", "block.00@second"}
    with pytest.raises(StructureError, match="Did you mean second"):
        encoder.encode([image], pooling=["secnd"], layers=["block.00"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_masked_mean_is_to_the_bit_that_of_filled_values(dtype):
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(5, 17, 33, generator=draw).to(dtype).transpose(1, 2)[:, :, 2:]
    mask = torch.rand(5, 33, generator=draw) < 0.7
    values[:, :, 3] = float("nan")
    values[~mask] = float("inf")
    filled = values.float().masked_fill(~mask[..., None], 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    assert torch.equal(pool(values, "mean", mask=mask).nan_to_num(7.0), filled.nan_to_num(7.0))
    assert filled.isfinite().any()
