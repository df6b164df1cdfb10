"""Digests of what determines an encoder's values: its weights and its tokenizer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Hex SHA-256 over the state dict in sorted name order: name, dtype, shape and bytes of each tensor.

    Independent of the device, of the memory format, of the file that the weights came from, and of whether they lie
    in memory or, under a device map, still in that file.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            digest.update(f"{name}\0{tensor!r}\0".encode())
            continue
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        if tensor.is_meta:
            tensor = _offloaded(module, name)
        flat = tensor.detach().to("cpu", memory_format=torch.contiguous_format).contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _offloaded(module: nn.Module, name: str) -> torch.Tensor:
    """One weight that accelerate reads only when its part of the module runs."""
    from accelerate.utils import align_module_device

    path, _, own = name.rpartition(".")
    part = module.get_submodule(path)
    with align_module_device(part, "cpu"):
        tensor: torch.Tensor = getattr(part, own).detach().clone()
    return tensor


def tokenizer_digest(tokenizer: Any) -> str:
    """Hex SHA-256 of a Hugging Face tokenizer: its whole pipeline where it is a fast one, else its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # A call leaves its padding and truncation behind in the backend: they are no part of the tokenizer.
        state = {key: value for key, value in json.loads(backend.to_str()).items() if key not in _PER_CALL}
        text = json.dumps(state, sort_keys=True)
    else:
        text = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps({key: str(value) for key, value in tokenizer.special_tokens_map.items()}, sort_keys=True)
    return hashlib.sha256(f"{type(tokenizer).__name__}\0{special}\0{text}".encode()).hexdigest()


_PER_CALL = {"padding", "truncation"}
