"""The model card of an aligner, in Markdown, from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from structure.store.joined_rows import SIGN

if TYPE_CHECKING:
    from structure.pipeline.aligners.aligner import Aligner

CARD = "README.md"

_USE = """\
```python
from structure.pipeline import load_aligner

aligner = load_aligner(".")
images = aligner.embed_images({vision_features})  # (rows, {vision}) of the vision layer below
texts = aligner.embed_texts({text_features})  # (rows, {text}) of the text layer below
scores = aligner.similarity(images, texts)
```"""


def card(aligner: Aligner, name: str) -> str:
    """What it is, what it was trained on, how well it did on pairs it was not fitted to, and what made it."""
    facts = aligner.metadata
    sections = [
        f"# {plain(name)}",
        summary(aligner),
        _usage(aligner),
        "## Features it takes",
        table(["side", "encoder", "layer", "width", "fingerprint"], encoder_rows(aligner)),
        *_several(aligner),
        "## Training",
        table(["", ""], training_rows(facts)),
        "## Held-out pairs",
        table(["metric", "value"], _metrics(facts)),
        "The validation pairs chose the epoch, so their figures are a little too good; test pairs, where there are "
        "any, chose nothing.",
        "## Versions",
        table(["", ""], list(facts.get("versions", {}).items())),
    ]
    return "\n\n".join(sections) + "\n"


def summary(aligner: Aligner) -> str:
    """One sentence on what it is."""
    return (
        f"Two heads (`{aligner.vision.kind}` and `{aligner.text.kind}`, method `{plain_code(aligner.method)}`) that "
        f"bring frozen vision and text features into one space of {aligner.dim} dimensions."
    )


def _usage(aligner: Aligner) -> str:
    inputs = {"vision": f"{aligner.widths[0]}", "text": f"{aligner.widths[1]}"}
    for side in ("vision", "text"):
        inputs[f"{side}_features"] = f"{side}_features"
        if aligner.takes_tokens:
            inputs[f"{side}_features"] += '.tokens("' + plain(str(aligner.metadata["layers"][side])) + '")'
            inputs[side] = f"token, {inputs[side]}"
    return _USE.format(**inputs)


def _several(aligner: Aligner) -> list[str]:
    """How rows of several layers are given, where a side has several."""
    layers = [str(layer) for layer in aligner.metadata.get("layers", {}).values() if SIGN in str(layer)]
    if not layers:
        return []
    return [f"Of `{layers[0]}` the rows of the layers stand side by side in this order, each of any length."]


def encoder_rows(aligner: Aligner) -> list[tuple[Any, ...]]:
    """Of each side: what it is, its encoder, the layer, its width and the fingerprint of its features."""
    facts = aligner.metadata
    rows = []
    for side, width in (("vision", aligner.widths[0]), ("text", aligner.widths[1])):
        called = encoder_name(facts.get("encoders", {}).get(side, {}))
        print_of = str(facts.get("fingerprints", {}).get(side, ""))[:16]
        rows.append((side, called, facts.get("layers", {}).get(side, ""), width, print_of))
    return rows


def encoder_name(record: Mapping[str, Any]) -> str:
    """Library and model of an encoder on record, without the folders of the machine where it was read."""
    return str(record.get("identity", {}).get("source") or record.get("name", ""))


def training_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What the heads were trained on, and how."""
    data, options = facts.get("data", {}), facts.get("options", {})
    rows = [
        ("data", " / ".join(str(part) for part in data.values())),
        ("training pairs", facts.get("pairs")),
        ("validation pairs", facts.get("validation_pairs")),
        ("test pairs", facts.get("test_pairs")),
        ("refitted to", facts.get("refit_pairs")),
        ("labelled pairs added", ", ".join(facts.get("added", [])) or None),
        ("layers chosen by", facts.get("layers_chosen_by")),
        ("seed", options.get("seed")),
    ]
    if facts.get("epochs"):
        regulariser = "none"
        if options.get("regulariser") == "structure":
            regulariser = f"R_S, weight {options['weight']:g}, levels {options['levels']}, {options['divergence']}"
        rows += [
            ("regulariser", regulariser),
            ("loss", options.get("loss")),
            ("learning rate", f"{facts['rate']:.3g}"),
            ("epochs", f"{facts['epochs']}, the weights are those of epoch {facts['best_epoch']}"),
            ("epoch chosen by", options.get("selection")),
        ]
    return [row for row in rows if row[1] not in (None, "")]


def _metrics(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = [(f"validation {name}", value) for name, value in facts.get("metrics", {}).items()]
    told += [(f"test {name}", value) for name, value in facts.get("test_metrics", {}).items()]
    return [(name, f"{value:.4f}") for name, value in told]


def table(header: list[str], rows: list[Any]) -> str:
    """A Markdown table; every cell is text that may come from anywhere."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(plain(str(cell)) for cell in row) + " |" for row in rows])


def plain(text: str) -> str:
    """Text that comes from names of data: no markup, no cell break."""
    for sign in "\\`*_[]<>|#~":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").split())


def plain_code(text: str) -> str:
    """The same within backticks, where nothing can be escaped."""
    return " ".join(text.replace("`", "'").split())
