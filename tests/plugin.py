"""Another package, installed for one test: a module and an entry point that the registries find."""

from __future__ import annotations

from pathlib import Path

import pytest

from structure.pipeline.registry import Registry


def install_plugin(
    registry: Registry, *, source: str, member: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Until the test ends, `source` is the module `toy_<kind>_<member>` of an installed package, and its class `Toy`
    the registry's member `member`."""
    module = f"toy_{registry.group.rpartition('.')[2]}_{member}"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.group}]\n{member} = {module}:Toy\n")
    monkeypatch.syspath_prepend(str(folder))
    # The registry remembers what it found: look again now, and forget it afterwards.
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.setitem(registry.__dict__, "_others", {})
    del registry.__dict__["_others"]
