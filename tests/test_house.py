"""The floor plan of the house, compared with the code: who may import whom, what is packaged, what starts fast."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("store", "pipeline", "cli", "configs")

VALUES = {
    f"pipeline.{name}"
    for name in (
        "progress",
        "device",
        "results",
        "owned_files",
        "charts",
        "registry",
        "run_context",
        "shown_paths",
        "keyword_form",
        "work_estimate",
        "strict_json",
        "stated",
        "csv_text",
        "yaml_file",
        "yaml_record",
        "hub_access",
        "installed_package",
        "finite_rows",
        "float32_products",
    )
}
PARTS = {f"pipeline.{name}" for name in ("encoders", "datasets", "similarity", "aligners", "suites", "metrics")}
# Which aligner suits the pairs: asked for by the stage align, described in its request.
SELECTION = {"pipeline.model_selection"}
# What the stages share between the parts and the store.
SHARED = {"pipeline.extraction", "pipeline.pairing", "pipeline.ranking"}
STAGES = {
    f"pipeline.stages.{name}"
    for name in (
        "extract",
        "rank_layers",
        "rank_models",
        "align",
        "evaluate",
        "report",
        "import_features",
        "repair",
        "status",
        "gc",
        "check_data",
        "pair_curve",
        "export",
        "open_bundle",
        "search",
        "search_hub",
        "label",
        "embed",
        "index",
        "serve",
        "remove",
        "drop_items",
        "verify",
    )
}
# Room -> rooms it may import. A room always may import itself; `store` and the values are open to all of pipeline.
ALLOWED: dict[str, set[str]] = {
    "store": set(),
    "configs": set(),
    **{value: {"store"} for value in VALUES},
    **{part: {"store", *VALUES} for part in PARTS},
    "pipeline.extraction": {"store", *VALUES, "pipeline.encoders", "pipeline.datasets"},
    "pipeline.pairing": {"store", *VALUES, *PARTS, "pipeline.extraction"},
    "pipeline.ranking": {"store", *VALUES, *PARTS, "pipeline.extraction", "pipeline.pairing"},
    # What evaluation is made of: an aligner's embeddings of a task's rows, each kind of task, what is saved.
    "pipeline.evaluation": {"store", *VALUES, *PARTS, *SHARED},
    **{
        stage: {"store", *VALUES, *PARTS, *SHARED, "pipeline.stage_requests", "pipeline.evaluation"} for stage in STAGES
    },
    # Aligned models in the forms of other tools: an encoder, a layer, a head.
    "pipeline.exports": {
        "store",
        *VALUES,
        "pipeline.datasets",
        "pipeline.encoders",
        "pipeline.aligners",
        *SHARED,
    },
    # An aligned model in use: stored embeddings, search, labels.
    "pipeline.inference": {"store", *VALUES, *PARTS, *SHARED, "pipeline.evaluation", "pipeline.exports"},
    # The page and the API of a search, and the server of both.
    "pipeline.serving": {
        "store",
        *VALUES,
        *PARTS,
        *SHARED,
        "pipeline.evaluation",
        "pipeline.exports",
        "pipeline.inference",
    },
    # A recipe runs stages one after the other; only the command line runs recipes.
    "pipeline.recipe": {
        "store",
        *SELECTION,
        "pipeline.stage_requests",
        *VALUES,
        *STAGES,
        *SHARED,
        *PARTS,
    },
    # What a stage is asked to do; checked without torch.
    "pipeline.stage_requests": {"store", *VALUES, *PARTS, *SHARED, *SELECTION},
    "pipeline.model_selection": {"store", *VALUES, *PARTS, *SHARED},
    "pipeline.stages": set(),
    "pipeline": set(),
    "cli": {"store", "pipeline", "pipeline.stage_requests", *VALUES, *PARTS, *STAGES, *SHARED, "pipeline.recipe"},
}
# Where a stage works: the device is resolved there, and what is told goes through it.
ALLOWED["pipeline.run_context"] |= {"pipeline.device", "pipeline.progress"}
ALLOWED["pipeline.results"] |= {"pipeline.owned_files"}
ALLOWED["pipeline.yaml_record"] |= {"pipeline.yaml_file"}
ALLOWED["pipeline.keyword_form"] |= {"pipeline.run_context"}
# The suites take class names and templates as datasets bring them, and name the metrics.
ALLOWED["pipeline.suites"] |= {"pipeline.datasets", "pipeline.metrics"}
ALLOWED["pipeline.stages.align"] |= {*SELECTION, "pipeline.alignment"}
# A training of pairs in the store: what it reads, which run it is, what it takes, and the run itself.
ALLOWED["pipeline.alignment"] = {"store", *VALUES, *PARTS, *SHARED, *SELECTION, "pipeline.stage_requests"}
# What more pairs would bring: fits of a method on the folds of the selection; a ranking ends with it.
ALLOWED["pipeline.forecast"] = {"store", *VALUES, *PARTS, *SHARED, *SELECTION}
ALLOWED["pipeline.stages.rank_layers"] |= {"pipeline.forecast"}
# Fits of several methods on the same pairs, and their figure.
ALLOWED["pipeline.pair_curves"] = {"store", *VALUES, *PARTS, "pipeline.pairing"}
ALLOWED["pipeline.stages.pair_curve"] |= {"pipeline.pair_curves"}
ALLOWED["cli"] |= {"pipeline.pair_curves"}
ALLOWED["pipeline.stages.export"] |= {"pipeline.exports"}
ALLOWED["pipeline.stages.open_bundle"] |= {"pipeline.exports", "pipeline.inference"}
# The command line asks the registry for the formats.
ALLOWED["cli"] |= {"pipeline.exports"}
# What a pipeline costs, from sizes that the parts state of themselves and rates that were measured.
ALLOWED["pipeline.cost_model"] = {"store", *VALUES, *PARTS, *SHARED, "pipeline.stage_requests", "pipeline.inference"}
ALLOWED["cli"] |= {"pipeline.cost_model"}
# The report's sections, charts and HTML.
ALLOWED["pipeline.page"] = {"store", *VALUES, *PARTS, "pipeline.pair_curves"}
ALLOWED["pipeline.stages.report"] |= {"pipeline.page"}
ALLOWED["pipeline.stages.search"] |= {"pipeline.page", "pipeline.inference"}
ALLOWED["pipeline.stages.search_hub"] |= {"pipeline.inference"}
ALLOWED["pipeline.stages.gc"] |= {"pipeline.inference"}
ALLOWED["pipeline.stages.label"] |= {"pipeline.inference"}
# The page of a search is made of its hits.
ALLOWED["pipeline.inference"] |= {"pipeline.page"}
# What was made from what: asked before something is removed.
ALLOWED["pipeline.lineage"] = {"store", *VALUES, *PARTS, "pipeline.evaluation", "pipeline.inference"}
ALLOWED["pipeline.stages.remove"] |= {"pipeline.lineage"}
ALLOWED["pipeline.stages.drop_items"] |= {"pipeline.lineage"}
# Pages hold a checksum of their own.
ALLOWED["pipeline.stages.verify"] |= {"pipeline.page"}
ALLOWED["pipeline.stages.embed"] |= {"pipeline.inference"}
ALLOWED["pipeline.stages.index"] |= {"pipeline.inference"}
ALLOWED["pipeline.stages.serve"] |= {"pipeline.inference", "pipeline.serving"}
ALLOWED["cli"] |= {"pipeline.inference", "pipeline.serving"}
# A suite names metrics, which the registry knows.
ALLOWED["pipeline.suites"] |= {"pipeline.metrics"}
# The bundled encoders' pre-training reads generated scenes.
ALLOWED["pipeline.encoders.bundled"] = {"store", *VALUES, "pipeline.encoders", "pipeline.datasets"}


@cache
def modules() -> dict[str, Path]:
    """Dotted name without `structure.` -> file."""
    found = {}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str) -> str:
    """The longest known room that the module lies in."""
    parts = module.split(".")
    while parts and ".".join(parts) not in ALLOWED:
        parts.pop()
    return ".".join(parts)


def imports_of(source: str) -> set[str]:
    """Dotted names below `structure` that a source imports: at the top, in functions and for type checking."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {_imported(node.module, alias.name) for alias in node.names}
    return {name.removeprefix("structure.") for name in names if name.startswith("structure.")}


def _imported(module: str, name: str) -> str:
    """`from a.b import c` means the module a.b.c where there is one, else a.b."""
    inner = f"{module}.{name}".removeprefix("structure.")
    return f"structure.{inner}" if inner in modules() or room_of(inner) == inner else module


def faults(sources: dict[str, str]) -> list[str]:
    """Every import that the floor plan does not allow."""
    found = []
    for module, source in sorted(sources.items()):
        here = room_of(module)
        for name in sorted(imports_of(source)):
            there = room_of(name)
            if there == here or there in ALLOWED[here]:
                continue
            found.append(f"{module} imports {name}: {here} may not import {there}")
    return found


def test_every_import_follows_the_floor_plan() -> None:
    assert faults({name: path.read_text() for name, path in modules().items()}) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("store.shard", "import structure.pipeline.results"),
        ("pipeline.stages.align", "from structure.pipeline.stages.extract import extract"),
        ("pipeline.encoders.loading", "from structure.pipeline.stages import evaluate"),
        ("pipeline.progress", "from structure.pipeline.datasets import dataset"),
        ("pipeline.stages.rank_layers", "def f():\n    from structure.cli.main import main"),
        ("pipeline.similarity.exact", "from structure.pipeline.pairing.pairs import PairedRows"),
    ],
)
def test_a_forbidden_import_is_noticed(module: str, line: str) -> None:
    assert len(faults({module: line})) == 1


def test_modules_do_not_go_in_circles() -> None:
    """Between modules of the product, top-level imports only: a cycle would have to be hidden in a function."""
    known = modules()
    graph = {
        name: {other for other in imports_of(path.read_text()) if other in known and other != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for other in sorted(graph[name]):
            if not other.startswith(f"{name}.") and not name.startswith(f"{other}."):
                visit(other, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_heavy_libraries_stay_out_of_the_store() -> None:
    for name, path in modules().items():
        if room_of(name) == "store":
            text = path.read_text()
            for library in ("torch", "typer", "transformers", "timm", "open_clip"):
                assert f"import {library}" not in text, f"{name} imports {library}"


ABOVE_THE_STORE = (
    "ranking",
    "aligner",
    "recipe",
    "neighbour",
    "suite",
    "structure extract",
    "structure store",
    "torch",
)


def test_the_store_knows_nothing_of_what_is_made_from_features() -> None:
    """Neither in its code nor in its words: what it holds are named arrays under a fingerprint."""
    assert strangers({name: path.read_text() for name, path in modules().items()}) == []
    assert strangers({"store.shard": '"""Rows of a ranking."""'}) == ["store.shard speaks of ranking"]


def strangers(sources: dict[str, str]) -> list[str]:
    """Words of the floors above in the sources of the store."""
    return [
        f"{name} speaks of {word}"
        for name, source in sorted(sources.items())
        for word in ABOVE_THE_STORE
        if room_of(name) == "store" and word in _said(source)
    ]


def _said(source: str) -> str:
    """Names and strings of a source, without its imports of this package and the word torch of "no torch"."""
    lines = [line for line in source.splitlines() if not line.strip().startswith(("import ", "from "))]
    return "\n".join(lines).replace("no torch", "").lower()


def test_every_package_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    on_disk = {
        "structure." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert listed == on_disk


def test_only_the_command_line_prints_exits_or_reads_the_environment() -> None:
    for name, path in modules().items():
        if room_of(name) == "cli" or name.endswith("pretrain"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "exit", "input"), f"{name}:{node.lineno} calls {node.func.id}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                pair = f"{node.value.id}.{node.attr}"
                assert pair not in ("os.environ", "os.getenv", "sys.exit"), f"{name}:{node.lineno} uses {pair}"


def test_help_is_fast_and_imports_no_torch() -> None:
    code = (
        "import sys; from structure.cli.main import run; code = run(['--help']);"
        "heavy = {'torch', 'transformers', 'timm', 'open_clip', 'zarr', 'dask', 'xarray', 'pandas', 'altair'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
    )
    dumb = {**os.environ, "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dumb)
    assert done.returncode == 0, done.stderr
    assert not set("╭│╰") & set(done.stdout)  # frames are noise to who reads aloud
    for command in ("demo", "extract", "rank-layers", "align", "eval", "report", "store", "import", "models"):
        assert command in done.stdout


def test_contributing_draws_every_room() -> None:
    plan = (ROOT / "CONTRIBUTING.md").read_text().split("## Architecture")[1].split("## How to add")[0]
    rooms = {room.rpartition(".")[2] for room in ALLOWED} - {"bundled"}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", plan)} == set()


def test_no_file_has_more_than_400_lines() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    sources = [ROOT / name for name in tracked.stdout.splitlines()] or list(modules().values())
    assert [path for path in sources if path.exists() and len(path.read_text().splitlines()) > 400] == []


def test_top_level_is_the_floor_plan() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    allowed = {
        *ROOMS,
        "tests",
        "docs",
        "findings",
        ".ci",
        "README.md",
        "pyproject.toml",
        "LICENSE",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
        ".gitignore",
    }
    assert top <= allowed | {"BENCHMARKS.md"}


def test_the_citation_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_types(tmp_path: Path) -> None:
    """mypy, strict, over the product under its installed names (a folder of links stands in for an install)."""
    (tmp_path / "structure").mkdir()
    for room in ROOMS:
        (tmp_path / "structure" / room).symlink_to(ROOT / room)
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *settings, "-p", "structure"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
