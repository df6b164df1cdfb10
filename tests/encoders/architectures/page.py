"""Writes docs/encoders.md: `python -m tests.encoders.architectures.page` (half a minute on one core)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from structure.pipeline.encoders.catalogue import catalogue
from tests.encoders.architectures import of_timm, of_transformers
from tests.encoders.architectures.comparison import TOLERANCE, Verdict
from tests.encoders.architectures.sample import REFUSED, TIMM, TRANSFORMERS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "encoders.md"
HEAD = f"""# Encoders

```
python -m tests.encoders.architectures.page
```

This command writes the page. The first table has the architectures that the test suite compares with the library
itself: a small model of the architecture is built, saved and loaded as a user would, and every layer is compared with
the library's hidden states. "equal" means that the norm of the difference is at most {TOLERANCE:g} of the norm of the
library's values (float32), for one example and (text and images) in a batch, and that `pooled` is the library's own
where it has one. "not built" means that no small model of it could be made here. Other architectures are
read by the same code; `python -m tests.encoders.architectures transformers` (or `timm`) compares every architecture of
the installed library, in some ten minutes.

"tokens" says whether `--tokens LAYER` can store every token (or pixel) of a layer. Poolings are the choices of
`--pool`, the default first.

"""
ALIASES = """
## Names

The aliases of `--model`; `structure models NAME` shows the layers of one. Any other model is named by library and name
([your own encoder](your-encoder.md)).

"""


def row(name: str, library: str, verdict: Verdict) -> str:
    facts = verdict.facts
    if not facts:
        said = f"refused: {verdict.why.split('. ')[0]}" if verdict.kind == "refused" else verdict.kind
        return f"| `{name}` | {library} | {said.replace('|', '/')} |  |  |  |  |"
    others = [pooling for pooling in facts["poolings"].split(", ") if pooling != facts["default"]]
    poolings = ", ".join([facts["default"], *others])
    tokens = "yes" if {"tokens", "map"} & set(facts["forms"].split(", ")) else "no"
    return f"| `{name}` | {library} | {verdict.kind} | {facts['modality']} | {poolings} | {tokens} | {facts['forms']} |"


def aliases() -> str:
    """The table of names, from the catalogue."""
    lines = ["| name | modality | layers | width | pooling | spec |", "|---|---|---|---|---|---|"]
    for alias in catalogue().values():
        width = f"{max(alias.widths):,}"
        cells = (f"`{alias.name}`", alias.modality, str(len(alias.layers)), width, alias.pooling, f"`{alias.spec}`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compared() -> Iterable[tuple[str, Mapping[str, Verdict]]]:
    for name in (*TRANSFORMERS, *REFUSED):
        with TemporaryDirectory() as root:
            yield "transformers", of_transformers.check(name, Path(root) / "model")
    for name in TIMM:
        yield "timm", of_timm.check(name)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    lines = [
        "| architecture | library | layers | modality | poolings | tokens | forms of layers |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [row(name, library, verdict) for library, found in compared() for name, verdict in found.items()]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n" + ALIASES + aliases() + "\n")


if __name__ == "__main__":
    main()
