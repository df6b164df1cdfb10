"""Pre-training of `scenes-text` on captions alone: masked words and agreement of two dropout views."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from structure.pipeline.datasets.scenes import Scenes

log = logging.getLogger(__name__)

WIDTH = 128
DEPTH = 4
LENGTH = 96
HIDDEN = 0.2
TEMPERATURE = 0.1
AGREEMENT = 0.1
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()-"


def write_captions(count: int, *, seed: int) -> list[str]:
    """All five captions of `count` scenes of split `pretrain`, as loose sentences; their images are never drawn."""
    scenes = Scenes("pretrain", count, seed)
    return [caption for index in range(count) for caption in scenes.item(index).captions]


def build_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """Every word of the captions, and single letters for the rest, so that a word never seen is spelled out."""
    split = pre_tokenizers.BertPreTokenizer()
    words = Counter(word for caption in captions for word, _ in split.pre_tokenize_str(caption.lower()))
    pieces = [*SPECIAL, *CHARACTERS, *(f"##{mark}" for mark in CHARACTERS), *sorted(words)]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LENGTH,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def build_bert(vocabulary: int) -> BertModel:
    """The untrained model: width 128, 4 blocks, with a pooler."""
    return BertModel(
        BertConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=4,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=LENGTH,
            type_vocab_size=1,
            attn_implementation="eager",  # faster than sdpa on a CPU for so few tokens
        )
    )


def agreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Unsupervised SimCSE (Gao et al. 2021, arXiv:2104.08821, eq. 4): 0-d."""
    scores = F.normalize(one.float(), dim=1) @ F.normalize(other.float(), dim=1).T / TEMPERATURE
    return F.cross_entropy(scores, torch.arange(len(scores)))


def pretrain_bert(
    *, scenes: int, steps: int, batch: int, seed: int, rate: float = 1e-3
) -> tuple[BertModel, PreTrainedTokenizerFast]:
    """Train on the loose captions of `scenes` scenes: masked words, and the same caption found under two dropouts.

    Each step reads every caption of the batch twice with other words hidden and other units dropped; captions of one
    length class are batched together, so little is padding.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    captions = sorted(set(write_captions(scenes, seed=seed)))
    tokenizer = build_tokenizer(captions)
    ids = [torch.tensor(row) for row in tokenizer(captions)["input_ids"]]
    shuffled = torch.randperm(len(ids), generator=generator).tolist()
    by_length = sorted(shuffled, key=lambda index: len(ids[index]))
    bert = build_bert(len(tokenizer)).train()
    words = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(tokenizer)))
    weights = [*bert.parameters(), *words.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(steps // 15, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    started = time.monotonic()
    for step in range(steps):
        start = int(torch.randint(len(ids) - batch + 1, (1,), generator=generator))
        rows = nn.utils.rnn.pad_sequence([ids[index] for index in by_length[start : start + batch]], batch_first=True)
        rows = rows.repeat(2, 1)
        hidden = (torch.rand(rows.shape, generator=generator) < HIDDEN) & (rows >= len(SPECIAL))
        with torch.autocast("cpu", torch.bfloat16):
            seen = bert(
                rows.masked_fill(hidden, tokenizer.mask_token_id),
                attention_mask=(rows != tokenizer.pad_token_id).long(),
            )
            guesses = words(seen.last_hidden_state[hidden])
        naming = F.cross_entropy(guesses.float(), rows[hidden])
        finding = agreement(*seen.pooler_output.chunk(2))
        optimiser.zero_grad()
        (naming + AGREEMENT * finding).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            spent = time.monotonic() - started
            log.info("step %d/%d naming %.4f finding %.3f %.0f s", step, steps, naming.item(), finding.item(), spent)
    return bert.eval(), tokenizer
