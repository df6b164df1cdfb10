"""Every architecture of the installed transformers and timm: equal to the library, refused in words, or a fault.

    python -m tests.encoders.architectures transformers [NAME ...]
    python -m tests.encoders.architectures timm [NAME ...]

Takes ten minutes a library on one core. The exit code is 1 where one is different or stopped.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.encoders.architectures import of_timm, of_transformers
from tests.encoders.architectures.comparison import Verdict


def main(library: str, *only: str) -> int:
    """Print a line for each that is not equal, and how many there are of each kind."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    known: dict[str, tuple[Callable[[], Iterable[str]], Callable[[str, Path], dict[str, Verdict]]]] = {
        "transformers": (of_transformers.names, of_transformers.check),
        "timm": (of_timm.names, lambda name, _: of_timm.check(name)),
    }
    names, check = known[library]
    counts: Counter[str] = Counter()
    for name in only or names():
        with TemporaryDirectory() as root:
            verdicts = check(name, Path(root) / name.replace("/", "_"))
        for part, verdict in verdicts.items():
            counts[verdict.kind] += 1
            if verdict.kind != "equal" or only:
                print(f"{part:40} {verdict.kind:10} {verdict.why[:200]}", flush=True)
    print(f"{library}: {dict(sorted(counts.items()))}")
    return int(bool(counts["different"] + counts["stopped"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
