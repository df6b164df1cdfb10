"""Serve: a local web page and JSON API for search, with the encoders loaded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from structure.pipeline.evaluation.evaluated_aligner import EvaluatedAligner
from structure.pipeline.inference.gallery_sources import GalleryChoice, GallerySource
from structure.pipeline.installed_package import install_command
from structure.pipeline.keyword_form import keyword_form
from structure.pipeline.run_context import RunContext
from structure.pipeline.similarity.knn.top_k import MEMORY
from structure.pipeline.work_estimate import WorkEstimate
from structure.store.errors import StructureError, UsageError

if TYPE_CHECKING:
    from structure.pipeline.serving.search_server import SearchServer

PACKAGES = ("starlette", "uvicorn")
HOST, PORT = "127.0.0.1", 8765


@dataclass(frozen=True, kw_only=True)
class ServeRequest:
    """Search from a web page and over a JSON API, until the server is closed.

    `aligner` is a name in the store, the newest by default. What is searched: a `dataset` of the store or of any kind,
    one `split` of it, or the folder `images`, which is encoded once; without these the dataset that the aligner was
    trained on. `host` and `port` say where it listens: this machine alone by default, and any free port with 0.
    `memory` bounds the bytes of a search. Returns the running server: it has a `url`, is closed at the end of a `with`
    block, and `wait()` lasts until Ctrl-C. Raises UsageError where its packages are not installed or nothing can listen
    there, StructureError for names that do not exist.
    """

    aligner: str | None = None
    dataset: str | None = None
    split: str | None = None
    images: str | Path | None = None
    host: str = HOST
    port: int = PORT
    memory: int = MEMORY

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UsageError(f"--host is empty. Leave it out, or write --host {HOST}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port {self.port} is not between 0 and 65535. Take any that is free with --port 0")
        _ = self.gallery  # raises for places that exclude each other

    @property
    def gallery(self) -> GalleryChoice:
        """What is searched."""
        return GalleryChoice(self.dataset, self.split, self.images)


def plan(request: ServeRequest, context: RunContext) -> Sequence[WorkEstimate]:
    """What has to be encoded and aligned before the first search; nothing is written. Raises as `run` does."""
    subject = EvaluatedAligner.of(context, request.aligner)
    source = GallerySource(context, subject, save=False)
    return (*source.plan(request.gallery, "vision"), *_texts_ahead(source, request.gallery))


def _texts_ahead(source: GallerySource, choice: GalleryChoice) -> Iterator[WorkEstimate]:
    """What is pending of captions: they are searched where their features are in the store, and never encoded."""
    if choice.folder is None:
        try:
            texts = source.open_stored(choice, "text")
        except StructureError:
            return
        yield from (split.aligned.ahead() for split in (texts.splits if texts is not None else ()))


def run(request: ServeRequest, context: RunContext) -> SearchServer:
    """Load everything, then listen. Raises as `SearchEngine.load` does, and as the request says."""
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        raise UsageError(
            f"structure serve needs the package {' and '.join(lacking)}, which is not installed. Run: "
            f"{install_command(lacking[0])}"
        )
    from structure.pipeline.serving.address import listen
    from structure.pipeline.serving.search_engine import SearchEngine
    from structure.pipeline.serving.search_server import SearchServer

    socket, address = listen(request.host, request.port)  # before anything is loaded for nothing
    try:
        subject = EvaluatedAligner.of(context, request.aligner)
        engine = SearchEngine.load(context, subject, request.gallery, memory=request.memory)
    except BaseException:
        socket.close()
        raise
    if not address.is_loopback:
        context.note(
            f"--host {request.host}: whoever reaches this machine over the network can search {engine.dataset} and see "
            "its images. There is no password, and nothing is encrypted."
        )
    return SearchServer(engine, socket, address)


serve = keyword_form(
    "serve", ServeRequest, run, plan, about="Serve a web page and a JSON API for search, with the encoders loaded once."
)
