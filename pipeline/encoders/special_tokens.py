"""The CLS and register tokens of a vision transformer, told by its parameters."""

from __future__ import annotations

from torch import nn

CLS_NAMES = frozenset({"cls_token", "class_token", "class_embedding", "cls_embedding", "cls_emb", "cls_register_token"})
"""Parameters that are put in front of the patch tokens as CLS; RADIO's holds its registers too."""

REGISTER_NAMES = frozenset({"register_tokens", "reg_token", "distillation_token", "dist_token"})
"""Parameters that are put there besides, as registers."""


def special_tokens(module: nn.Module) -> tuple[bool, int]:
    """Whether `module` has a CLS token, and how many tokens its CLS and register parameters hold; those of pooling
    heads, which patch tokens never see, are left out."""
    has_cls, count = False, 0
    for path, parameter in module.named_parameters():
        *parents, name = path.split(".")
        if any("head" in part or "pool" in part for part in parents) or name not in CLS_NAMES | REGISTER_NAMES:
            continue
        has_cls |= name in CLS_NAMES
        count += parameter.numel() // parameter.shape[-1]
    return has_cls, count


def prefix_of(module: nn.Module, *, tokens: int, patches: int) -> tuple[bool, int | None]:
    """Whether pooling may take the first of `tokens` for CLS, and how many of them precede the `patches`.

    None where the parameters do not account for the other tokens (YOLOS appends tokens of its own): then nothing says
    which ones are patches, and all count alike.
    """
    has_cls, special = special_tokens(module)
    if tokens == patches:
        return False, 0
    return has_cls and tokens > patches, special if tokens == patches + special else None
