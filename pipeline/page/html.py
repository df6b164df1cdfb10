"""Sections become one HTML file that loads nothing: images inside, Vega inside, and a policy that forbids the rest.

Whatever comes from the data is escaped by the template, and inside chart specifications by JSON with `<`, `>`, `&` and
`'` as escapes. Should something get past that, the page's policy runs no script but the two whose digests it names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from typing import Any

import jinja2
from markupsafe import Markup

from structure.pipeline.charts.address_space import BUNDLING, require_address_space
from structure.pipeline.page.blocks import Block, Chart, Section
from structure.pipeline.page.script_cache import kept
from structure.pipeline.strict_json import strict

_HOME = files("structure.pipeline.page")
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What a page's own script calls of the library."""


@dataclass(frozen=True)
class _Rendering:
    """Blocks of one kind that follow each other; charts stand side by side."""

    kind: str
    blocks: tuple[Block, ...]


def render(title: str, store: str, sections: Sequence[Section]) -> str:
    """The page; sections without a block are left out."""
    kept = [section for section in sections if section.blocks]
    drawn = any(isinstance(block, Chart) for section in kept for block in section.blocks)
    script = _text("page.js")
    return template("page.html.j2").render(
        title=title,
        store=store,
        sections=kept,
        drawn=drawn,
        css=style(),
        library=library() if drawn else "",
        script=script,
        policy=policy([library(), script] if drawn else [script]),
        version=version(),
    )


@cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, from the package vl-convert-python; bundling takes a second, so it
    is kept. Raises MachineError where it would end the program."""
    bundler = importlib.metadata.version("vl-convert-python")
    bundle = kept(f"vega-{bundler}.js", f"vl-convert-python {bundler}: {SNIPPET}", _bundled)
    if "</script" in bundle or "<!--" in bundle:  # either would end, or hide, the script inside HTML
        bundle = bundle.replace("</script", r"<\/script").replace("<!--", r"<\!--")
    return bundle


def _bundled() -> str:
    require_address_space(BUNDLING, "Bundling the scripts of the page")
    import vl_convert

    return str(vl_convert.javascript_bundle(SNIPPET))


def style() -> str:
    """The style sheet of every page."""
    return _text("page.css")


def version() -> str:
    """Of this package."""
    return importlib.metadata.version("structure-align")


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: nothing is fetched, and only these scripts run."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def template(name: str) -> jinja2.Template:
    """A template of this folder; what it is given is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"image": _image, "chart": _chart, "runs": _runs}
    return environment.from_string(_text(name))


def _runs(blocks: Sequence[Block]) -> list[_Rendering]:
    return [_Rendering(kind, tuple(run)) for kind, run in groupby(blocks, key=lambda block: block.kind)]


def _chart(spec: Mapping[str, Any], alt: str) -> Markup:
    """The specification as JSON that cannot end the element it stands in; Vega tells `alt` to screen readers.

    A NaN, such as the interval of a single seed, becomes null, which is not drawn.
    """
    dumps = partial(json.dumps, allow_nan=False, separators=(",", ":"))
    return jinja2.utils.htmlsafe_json_dumps(strict({**spec, "description": alt}), dumps=dumps)


def _image(data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _text(name: str) -> str:
    return _HOME.joinpath(name).read_text(encoding="utf-8")
