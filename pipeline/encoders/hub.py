"""Weights on this machine or from the Hugging Face hub: one place that looks, downloads, and says what is missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from structure.pipeline.hub_access import ANSWER_SECONDS, hub_obstacle
from structure.store.errors import NotPresentError, StructureError

HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
)
_SIDE_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")


def weights_in(folder: Path, names: Sequence[str] = HF_WEIGHTS) -> Path | None:
    """The first of `names` that lies complete in `folder`: the file, or its index with every shard; else None."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = set(json.loads(index.read_text())["weight_map"].values())
            if all((folder / shard).is_file() for shard in shards):
                return index
    return None


def cached(repo: str, *, revision: str | None, anchors: Sequence[str] = ("config.json",)) -> Path | None:
    """The snapshot folder of `repo` in the hub's cache that holds one of `anchors`; None where there is none."""
    from huggingface_hub import constants, try_to_load_from_cache

    for anchor in anchors:
        path = try_to_load_from_cache(repo, anchor, cache_dir=constants.HF_HUB_CACHE, revision=revision)
        if isinstance(path, str):
            return Path(path).parent
    return None


def snapshot(
    repo: str, *, revision: str | None, weights: Sequence[str] = HF_WEIGHTS, anchors: Sequence[str] = ("config.json",)
) -> Path:
    """Folder with `repo`'s files: from the cache where complete, else downloaded.

    Raises `NotPresentError`, within ten seconds, where the weights are neither here nor to be had.
    """
    folder = cached(repo, revision=revision, anchors=anchors)
    if folder is not None and weights_in(folder, weights):
        return folder
    obstacle = hub_obstacle()
    if obstacle:
        raise not_present(repo, obstacle, revision=revision, weights=weights)
    return _download(repo, revision=revision, weights=weights)


def not_present(repo: str, why: str, *, revision: str | None, weights: Sequence[str] = HF_WEIGHTS) -> NotPresentError:
    """The answer where `repo` is not on this machine: where it was looked for, and how to get it."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    pin = f" --revision {revision}" if revision else ""
    return NotPresentError(
        f"The weights of {repo} are not on this machine. Looked in {folder}; {why}. "
        f"Where there is a network, run `hf download {repo}{pin}` and copy that folder to the same place here; or put "
        f"the repository's files (config, preprocessing or tokenizer, {weights[0]}) into a folder and name the folder "
        "in the model's spec instead, as in hf:/that/folder."
    )


def _download(repo: str, *, revision: str | None, weights: Sequence[str]) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        # One request, as listing the files page by page retries for half a minute where the hub is down.
        asked = HfApi().model_info(repo, revision=revision, timeout=2 * ANSWER_SECONDS)
        files = {file.rfilename for file in asked.siblings or ()}
        chosen = next((name for name in weights if {name, f"{name}.index.json"} & files), None)
        if chosen is None:
            raise StructureError(
                f"{repo} holds none of {', '.join(weights)}: its weights are in no format that is read here. "
                "Look for a repository with safetensors weights."
            )
        stem, _, suffix = chosen.rpartition(".")
        patterns = [*_SIDE_FILES, chosen, f"{stem}-*-of-*.{suffix}", f"{chosen}.index.json"]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise NotPresentError(
            f"{repo} is gated: its owner wants the licence accepted first. Accept it at https://huggingface.co/{repo}, "
            "run `hf auth login`, then try again."
        ) from error
    except RepositoryNotFoundError as error:
        raise NotPresentError(
            f"The hub knows no model {repo} (or it is private and this machine is not logged in: `hf auth login`). "
            "Check the spelling; a local folder is written hf:/path/to/folder."
        ) from error
    except RevisionNotFoundError as error:
        raise NotPresentError(f"{repo} has no revision {revision}. Leave --revision out, or name a commit.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise not_present(
            repo, f"the download failed ({str(error).partition(chr(10))[0]})", revision=revision, weights=weights
        ) from error
