"""What adding a member to each registry takes, counted: once in a copy of this tree, once from outside.

    python -m tests.extensions.count_edits

In the tree: the file is copied beside the others of its kind, one line is added to the registry, and the member must be
found; the difference to the tree is counted. From outside: the package is put on the path, and the tree is not touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).parent / "toy"
KINDS = {
    # kind: file of the toy package, registered name, class, folder for it, registry and its name
    "encoder library": ("toy_encoder", "toy", "ToyLibrary", "encoders/libraries", "encoders", "ENCODER_LIBRARIES"),
    "dataset kind": ("toy_dataset", "stripes", "StripesKind", "datasets", "datasets", "DATASET_KINDS"),
    "similarity metric": ("toy_similarity", "jaccard_knn", "JaccardKnn", "similarity", "similarity", "SIMILARITIES"),
    "aligner": ("toy_aligner", "shrunk-regression", "ShrunkRegression", "aligners/methods", "aligners", "ALIGNERS"),
    "evaluation metric": (
        "toy_metric",
        "image_retrieval_mrr",
        "ImageRetrievalMrr",
        "metrics/retrieval",
        "metrics",
        "METRICS",
    ),
    "export format": ("toy_export", "npz", "NpzFormat", "exports/formats", "exports", "EXPORT_FORMATS"),
}


def in_tree(kind: str) -> dict[str, int]:
    """New files, and lines added to or removed from files that were there, for a member inside the tree."""
    module, name, member, folder, room, registry = KINDS[kind]
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "structure"
        copy.mkdir()
        for top in ("store", "pipeline", "cli", "configs"):
            shutil.copytree(ROOT / top, copy / top, ignore=shutil.ignore_patterns("__pycache__"))
        git = ["git", "-C", str(copy), "-c", "user.name=n", "-c", "user.email=e@example.org"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tree"]):
            subprocess.run([*git, *words], check=True)
        shutil.copy(TOY / f"{module}.py", copy / "pipeline" / folder / f"{module}.py")
        file = copy / "pipeline" / room / "registry.py"
        home = f"structure.pipeline.{folder.replace('/', '.')}.{module}:{member}"
        lines = file.read_text().splitlines(keepends=True)
        first = next(at for at, line in enumerate(lines) if line.startswith((" " * 8, " " * 4)) and '": ' in line)
        indent = lines[first][: len(lines[first]) - len(lines[first].lstrip())]
        lines.insert(first, f'{indent}"{name}": "{home}",\n')
        file.write_text("".join(lines))
        found = _finds(room, registry, name, path=place)
        subprocess.run([*git, "add", "-A"], check=True)
        numbers = subprocess.run([*git, "diff", "--cached", "--numstat"], capture_output=True, text=True, check=True)
        rows = [line.split("\t") for line in numbers.stdout.splitlines()]
        changed = [row for row in rows if not row[2].endswith(f"{module}.py")]
        return {
            "found": int(found),
            "new_files": len(rows) - len(changed),
            "changed_files": len(changed),
            "changed_lines": sum(int(row[0]) + int(row[1]) for row in changed),
        }


def from_outside(kind: str) -> dict[str, int]:
    """The same for a member of another package: nothing here is touched."""
    _, name, _, _, room, registry = KINDS[kind]
    return {"found": int(_finds(room, registry, name, path=str(TOY))), "new_files": 0, "changed_lines": 0}


def _finds(room: str, registry: str, name: str, *, path: str) -> bool:
    code = (
        f"from structure.pipeline.{room}.registry import {registry} as members; member = members[{name!r}]; "
        "print(member.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0 and "toy_" in done.stdout


if __name__ == "__main__":
    for kind in KINDS:
        print(json.dumps({"kind": kind, "in_tree": in_tree(kind), "from_outside": from_outside(kind)}))
