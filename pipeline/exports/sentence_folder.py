"""An aligned model as a folder that `SentenceTransformer(DIR)` loads: a Router with one route a modality."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from structure.pipeline.aligners.heads.head import Head
from structure.pipeline.encoders.quiet import quiet
from structure.pipeline.exports.encoder_files import write_encoder, write_tensors
from structure.pipeline.exports.export_format import ExportSubject
from structure.pipeline.exports.native_modules import MODULES, NotNative, write_native
from structure.pipeline.exports.probes import PROBE_TEXTS, ours, probe_images
from structure.pipeline.exports.side import WHICH, ExportedSide, Which, load_side
from structure.pipeline.installed_package import install_command
from structure.store.errors import NotPresentError, StructureError

TOWER = "aligned_tower"
ROUTES: Mapping[Which, str] = {"text": "text", "vision": "image"}
"""What sentence-transformers calls each side's modality; the text route first, which names the tokenizer."""
AGREEMENT = 2e-5
"""Largest difference of two embeddings (unit rows, float32) that counts as rounding."""


@dataclass(frozen=True)
class SentenceFolder:
    """What was written. `own_code`: by side, why the file `aligned_tower.py` runs there; empty where the modules of
    sentence-transformers do it all. `largest_difference`: by side, from the aligner's own embeddings of the probes."""

    own_code: Mapping[str, str]
    largest_difference: Mapping[str, float]

    @property
    def load(self) -> str:
        """The call that loads the folder as `{folder}`."""
        return f"SentenceTransformer('{{folder}}'{', trust_remote_code=True' if self.own_code else ''})"


def write_sentence_folder(subject: ExportSubject, folder: Path) -> SentenceFolder:
    """Write the folder, load it with sentence-transformers and compare its embeddings of probes with the aligner's.

    Each side is written in the modules that sentence-transformers brings where these give the same embeddings, and
    else with `portable/aligned_tower.py`. Raises `NotPresentError` without the package, `StructureError` for heads over
    tokens, for encoders that do not run alone, and where the embeddings differ by more than rounding.
    """
    if find_spec("sentence_transformers") is None:
        raise NotPresentError(
            "The folder is loaded and compared before it is handed out, with the package sentence-transformers, which "
            f"is not installed. Run: {install_command('sentence-transformers')}"
        )
    aligner = subject.aligner
    if aligner.takes_tokens:
        raise StructureError(
            f"The method {aligner.method} reads all tokens of a layer with masks, and modules of sentence-transformers "
            "hand on pooled vectors. Use --format clip-benchmark or bundle, which run the aligner itself."
        )
    sides = {which: load_side(aligner, which, trust_remote_code=subject.trust_remote_code) for which in WHICH}
    if (frames := sides["vision"].encoder.frames) > 1:
        raise StructureError(
            f"{sides['vision'].encoder.name} reads {frames} frames of a video, and sentence-transformers reads images: "
            "its embeddings would be of other data. Use --format bundle or clip-benchmark."
        )
    folder.mkdir(parents=True, exist_ok=True)
    reasons: dict[str, str] = {}
    modules: dict[Which, dict[str, str]] = {}
    for which, route in ROUTES.items():
        try:
            probe = PROBE_TEXTS[0] if route == "text" else probe_images()[0]
            modules[which] = write_native(sides[which], folder, modality=route, probe=probe)
        except NotNative as why:
            reasons[which] = str(why)
            modules[which] = _write_tower(sides[which], folder, route)
    _write_router(folder, modules, sides, own_code=bool(reasons))
    found = _differences(folder, sides, own_code=bool(reasons))
    for which in [which for which in WHICH if found[which] > AGREEMENT and which not in reasons]:
        reasons[which] = f"the modules of sentence-transformers give other embeddings here, by up to {found[which]:.1g}"
        modules[which] = _write_tower(sides[which], folder, ROUTES[which])
    if len(reasons) and any(found[which] > AGREEMENT for which in WHICH):
        _write_router(folder, modules, sides, own_code=True)
        found = _differences(folder, sides, own_code=True)
    if max(found.values()) > AGREEMENT:
        raise StructureError(
            f"The folder gives other embeddings than the aligner, by up to {max(found.values()):.1g} where "
            f"{AGREEMENT:g} is rounding. Use --format clip-benchmark or bundle, which run the aligner itself."
        )
    return SentenceFolder(reasons, found)


def _write_tower(side: ExportedSide, folder: Path, route: str) -> dict[str, str]:
    """One route as a single module whose code lies in the folder."""
    for old in folder.glob(f"{route}_*"):
        shutil.rmtree(old)
    name = f"{route}_0_AlignedTower"
    head: Head = getattr(side.aligner, side.which)
    _refuse_unknown_head(head)
    stated = write_encoder(side, folder / name / "encoder") | {
        "modality": route,
        "layers": [list(column) for column in side.columns],
        "head": {"kind": head.kind, "dim": head.dim, "settings": head.settings},
    }
    (folder / name / "tower.json").write_text(json.dumps(stated, indent=2), encoding="utf-8")
    write_tensors(head.state_dict(), folder / name / "head.safetensors")
    return {name: f"{TOWER}.AlignedTower"}


def _refuse_unknown_head(head: Head) -> None:
    from structure.pipeline.exports.portable.aligned_tower import MAPS

    kinds = [head.kind, *([head.settings["inner"]["kind"]] if "inner" in head.settings else [])]
    strange = [kind for kind in kinds if kind not in MAPS]
    if strange:
        raise StructureError(
            f"A {strange[0]} head does not run without the package that defines it. Use --format clip-benchmark or "
            "bundle, which run the aligner itself."
        )


def _write_router(
    folder: Path, modules: Mapping[Which, dict[str, str]], sides: Mapping[Which, ExportedSide], *, own_code: bool
) -> None:
    code = folder / f"{TOWER}.py"
    code.unlink(missing_ok=True)
    if own_code:
        source = files("structure.pipeline.exports.portable") / f"{TOWER}.py"
        code.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    routes = {ROUTES[which]: list(names) for which, names in modules.items()}
    router = {
        "types": {name: kind for names in modules.values() for name, kind in names.items()},
        "structure": routes,
        "parameters": {
            "default_route": None,
            "allow_empty_key": False,
            "route_mappings": {f"(None, '{route}')": route for route in routes},
        },
    }
    prompt = ""
    if not any(name.endswith("_AlignedTower") for name in modules["text"]):
        prompt = getattr(sides["text"].encoder.preprocess, "prompt", "")
    config = {
        "model_type": "SentenceTransformer",
        "__version__": {},
        "prompts": {"query": prompt, "document": prompt} | ({"text": prompt} if prompt else {}),
        "default_prompt_name": "text" if prompt else None,
        "similarity_fn_name": "cosine",
    }
    listed = [{"idx": 0, "name": "0", "path": "", "type": f"{MODULES}.Router"}]
    for name, content in (
        ("router_config.json", router),
        ("config_sentence_transformers.json", config),
        ("modules.json", listed),
    ):
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _differences(folder: Path, sides: Mapping[Which, ExportedSide], *, own_code: bool) -> dict[str, float]:
    """By side, the largest difference of the folder's embeddings of the probes from the aligner's own."""
    from sentence_transformers import SentenceTransformer

    with quiet():
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=own_code)
        theirs = {
            "vision": model.encode(probe_images(), show_progress_bar=False),
            "text": model.encode(list(PROBE_TEXTS), show_progress_bar=False),
        }
    return {which: _largest(ours(sides[which]), np.asarray(theirs[which])) for which in WHICH}


def _largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    difference = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
    return difference if np.isfinite(difference) else float("inf")
