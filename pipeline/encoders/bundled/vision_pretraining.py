"""Pre-training of `scenes-vit` on images alone: masked autoencoding and agreement of two masked views."""

from __future__ import annotations

import logging
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import ViTConfig, ViTModel
from transformers.models.vit.modeling_vit import ViTLayer

from structure.pipeline.datasets.scenes import Scenes

log = logging.getLogger(__name__)

MEAN, STD = 0.45, 0.25
PATCH = 8
WIDTH = 128
DEPTH = 6
DECODER_WIDTH = 64
KEPT = 26
TEMPERATURE = 0.15
AGREEMENT = 0.2


def _configure(*, width: int, depth: int) -> ViTConfig:
    return ViTConfig(
        image_size=64,
        patch_size=PATCH,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=4 * width,
        attn_implementation="eager",  # twice as fast as sdpa on a CPU for so few tokens
    )


def build_vit() -> ViTModel:
    """The untrained model: 64 px, patches of 8 px, width 128, 6 blocks, with a pooler."""
    return ViTModel(_configure(width=WIDTH, depth=DEPTH))


def render(count: int, *, seed: int) -> torch.Tensor:
    """`(count, 3, 64, 64)` uint8: the images of split `pretrain`; their captions are never made."""
    scenes = Scenes("pretrain", count, seed)
    return torch.from_numpy(np.stack([np.asarray(scenes.image(index)) for index in range(count)])).permute(0, 3, 1, 2)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`(batch, 3, 64, 64)` uint8 -> normalised float32 views: zoom and shift, contrast, a tint, grain. No flips."""
    count = len(images)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    zoom, shift = uniform(0.75, 1.1), uniform(-0.25, 0.25, 2)
    frame = torch.zeros(count, 2, 3)
    frame[:, 0, 0] = frame[:, 1, 1] = zoom
    frame[:, :, 2] = shift
    grid = F.affine_grid(frame, [count, 3, 64, 64], align_corners=False)
    view = F.grid_sample(images.float().div_(255), grid, padding_mode="reflection", align_corners=False)
    view = (view - MEAN) * uniform(0.7, 1.3, 1, 1, 1) + uniform(-0.12, 0.12, 3, 1, 1)
    view = view + uniform(0, 0.05, 1, 1, 1) * torch.randn(view.shape, generator=generator)
    return view / STD


class Decoder(nn.Module):
    """Two narrow blocks that paint the hidden patches from the encoded ones (MAE, He et al. 2022, arXiv:2111.06377)."""

    def __init__(self) -> None:
        super().__init__()
        blocks = _configure(width=DECODER_WIDTH, depth=2)
        self.enter = nn.Linear(WIDTH, DECODER_WIDTH)
        self.hidden = nn.Parameter(torch.zeros(1, 1, DECODER_WIDTH))
        self.place = nn.Parameter(0.02 * torch.randn(1, (64 // PATCH) ** 2, DECODER_WIDTH))
        self.blocks = nn.Sequential(*(ViTLayer(blocks) for _ in range(blocks.num_hidden_layers)))
        self.leave = nn.Sequential(nn.LayerNorm(DECODER_WIDTH), nn.Linear(DECODER_WIDTH, 3 * PATCH * PATCH))

    def forward(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """`(batch, kept, WIDTH)` and their places `(batch, kept)` -> `(batch, 64, 192)` pixels of every patch."""
        seen = self.enter(tokens)
        canvas = self.hidden.to(seen.dtype).expand(len(tokens), self.place.shape[1], -1)
        canvas = canvas.scatter(1, kept[..., None].expand(-1, -1, DECODER_WIDTH), seen)
        painted: torch.Tensor = self.leave(self.blocks(canvas + self.place))
        return painted


def encode_kept(vit: ViTModel, images: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode only the patches at `kept` `(batch, kept)`: normed tokens without CLS, and the pooled vector."""
    place = vit.embeddings.position_embeddings
    patches = vit.embeddings.patch_embeddings(images) + place[:, 1:]
    patches = patches.gather(1, kept[..., None].expand(-1, -1, WIDTH))
    hidden = torch.cat([(vit.embeddings.cls_token + place[:, :1]).expand(len(patches), -1, -1), patches], dim=1)
    for layer in vit.layers:
        hidden = layer(hidden)
    hidden = vit.layernorm(hidden)
    return hidden[:, 1:], vit.pooler(hidden)


def into_patches(images: torch.Tensor) -> torch.Tensor:
    """`(batch, 3, 64, 64)` -> `(batch, 64, 192)`."""
    return F.unfold(images, PATCH, stride=PATCH).transpose(1, 2)


def agreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """NT-Xent over 2 x batch views (SimCLR, Chen et al. 2020, eq. 1): 0-d."""
    both = F.normalize(torch.cat([one, other]).float(), dim=1)
    scores = (both @ both.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(scores, torch.arange(len(both)).roll(len(one)))


def pretrain_vit(*, images: int, steps: int, batch: int, seed: int, rate: float = 1.5e-3) -> ViTModel:
    """Train on `images` rendered scenes; CAN's two losses (Mishra et al. 2022, arXiv:2210.16870) without its noise.

    Each step takes two views of every image, hides all but `KEPT` of 64 patches of each, paints the hidden patches
    back, and asks the pooled vectors of the two views to find each other in the batch.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    stock = render(images, seed=seed)
    vit, decoder = build_vit().train(), Decoder()
    head = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, 64))
    weights = [*vit.parameters(), *decoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    warm = max(steps // 15, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))
    )
    started = time.monotonic()
    order = torch.randperm(images, generator=generator)
    for step in range(steps):
        if (step + 1) * batch % images < batch:
            order = torch.randperm(images, generator=generator)
        chosen = stock[order[torch.arange(step * batch, (step + 1) * batch) % images]]
        views = torch.cat([augment(chosen, generator), augment(chosen, generator)])
        places = torch.rand(len(views), 64, generator=generator).argsort(dim=1)
        kept, hidden = places[:, :KEPT], places[:, KEPT:]
        with torch.autocast("cpu", torch.bfloat16):
            tokens, pooled = encode_kept(vit, views, kept)
            painted = decoder(tokens[:batch], kept[:batch])
            heads = head(pooled)
        index = hidden[:batch, :, None].expand(-1, -1, painted.shape[2])
        painting = F.mse_loss(painted.float().gather(1, index), into_patches(views[:batch]).gather(1, index))
        finding = agreement(*heads.chunk(2))
        optimiser.zero_grad()
        (painting + AGREEMENT * finding).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            spent = time.monotonic() - started
            log.info(
                "step %d/%d painting %.4f finding %.3f %.0f s", step, steps, painting.item(), finding.item(), spent
            )
    return vit.eval()
