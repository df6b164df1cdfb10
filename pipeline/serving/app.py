"""The routes: the page, the API behind it, and what each request must look like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from structure.pipeline.serving.batch_queue import BatchQueue
from structure.pipeline.serving.gallery_images import Content, GalleryImages
from structure.pipeline.serving.openapi import openapi
from structure.pipeline.serving.parameters import MOST_HITS, MOST_WORDS, read_question
from structure.pipeline.serving.refused import RefusedError
from structure.pipeline.serving.search_engine import LocatedHit, SearchEngine, SearchQuestion, SearchReply
from structure.pipeline.serving.uploads import MOST_BYTES, MOST_PIXELS, open_upload
from structure.store.errors import BadSampleError, StructureError

BATCH = 32
"""Questions that go through the encoder together, at most."""
WAITING = 512
"""Questions that may wait; the next one is told to come again."""
AT_ONCE = 4
"""Uploads that are held in memory together."""
UPLOAD_SECONDS = 60.0

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
IMAGE_HEADERS = {
    "cache-control": "private, max-age=300",
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox",
}
"""Browsers show an image on a page of their own, which has a style inline."""

Made = TypeVar("Made")


class SearchApp:
    """The application and the threads behind it: one for the encoders, one that reads images of the datasets, one that
    reads uploads. `close` ends them."""

    def __init__(self, engine: SearchEngine) -> None:
        self.engine = engine
        self.images = GalleryImages(engine.found["images"])
        self.questions = BatchQueue[SearchQuestion, SearchReply](engine.answer, most=BATCH, waiting=WAITING)
        self.reader = ThreadPoolExecutor(1, "structure-images")
        self.uploads = ThreadPoolExecutor(1, "structure-uploads")
        self.upload_slots = asyncio.Semaphore(AT_ONCE)
        self.starlette = Starlette(
            routes=[
                *(Route(path, partial(_static, name, kind)) for path, (name, kind) in PAGE.items()),
                Route("/openapi.json", self.describe),
                Route("/api/about", self.about),
                Route("/api/search", self.search, methods=["GET", "POST"]),
                Route("/api/images/{row:int}/thumbnail", partial(self.image, self.images.thumbnail)),
                Route("/api/images/{row:int}/file", partial(self.image, self.images.original)),
            ],
            exception_handlers={
                RefusedError: _refused,
                StructureError: _refused,
                HTTPException: _not_routed,
                Exception: _failed,
            },
        )

    def close(self) -> None:
        """End the threads."""
        self.questions.close()
        for pool in (self.reader, self.uploads):
            pool.shutdown(cancel_futures=True)

    async def describe(self, request: Request) -> Response:
        """The OpenAPI document."""
        return JSONResponse(openapi())

    async def about(self, request: Request) -> Response:
        """What is searched, with what, and the limits."""
        return JSONResponse(self.facts())

    def facts(self) -> dict[str, Any]:
        """What is searched, with what, and the limits."""
        engine = self.engine
        engine.refresh()
        return {
            "structure": version("structure-align"),
            "aligner": engine.subject.name,
            "dataset": engine.dataset,
            "splits": [split.samples.split for split in engine.found["images"].gallery.splits],
            "rows": {to: engine.rows.get(to, 0) for to in ("images", "text")},
            "queries": [name for side, name in (("text", "words"), ("vision", "image")) if side in engine.sides],
            "limits": {"k": MOST_HITS, "characters": MOST_WORDS, "bytes": MOST_BYTES, "pixels": MOST_PIXELS},
        }

    async def search(self, request: Request) -> Response:
        """The nearest images or texts to words, to an image of the gallery, or to an image that is sent."""
        began = time.perf_counter()
        question = read_question(request, self.engine)
        if request.method == "POST":
            question = await self._with_upload(request, question)
        reply = await asyncio.wrap_future(self.questions.submit(question))
        hits = [self._shown(located) for located in reply.hits]
        return JSONResponse(
            {
                "to": question.to,
                "k": question.k,
                "rows": reply.rows,
                "notes": list(reply.notes),
                "hits": hits,
                "seconds": round(time.perf_counter() - began, 6),
            }
        )

    async def image(self, read: Callable[[int], Content], request: Request) -> Response:
        """An image of the gallery, by its row."""
        try:
            data, kind = await self._in(self.reader, self._read, read, request.path_params["row"])
        except RefusedError:
            raise
        except BadSampleError as error:  # its reason may name paths, or the first bytes of what is no image
            raise RefusedError(404, f"{error.item}: its image cannot be read.") from None
        except StructureError as error:
            raise RefusedError(404, str(error)) from None
        return Response(data, media_type=kind, headers=IMAGE_HEADERS)

    def _read(self, read: Callable[[int], Content], row: int) -> Content:
        if self.engine.refresh():
            self.images.forget()
        return read(row)

    async def _with_upload(self, request: Request, question: SearchQuestion) -> SearchQuestion:
        """The question with the image of the request's body, made ready for the encoder."""
        async with self.upload_slots:
            data = await _body(request)
            return await self._in(self.uploads, self._prepared, data, question)

    def _prepared(self, data: bytes, question: SearchQuestion) -> SearchQuestion:
        example = self.engine.sides["vision"].encoder.preprocess(open_upload(data))
        return SearchQuestion(question.to, question.k, example=example)

    def _shown(self, located: LocatedHit) -> dict[str, Any]:
        hit, row = located.hit, located.image_row
        seen = row is not None and hit.file in ("", "moved", "changed")
        return {
            "rank": hit.rank,
            "score": round(hit.score, 6),
            "id": hit.id,
            "caption": hit.caption,
            "split": hit.split,
            "path": self.images.path(hit),
            "note": hit.note,
            "row": row,
            "thumbnail": f"api/images/{row}/thumbnail" if seen else None,
            "file": f"api/images/{row}/file" if seen else None,
        }

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., Made], *given: Any) -> Made:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)


async def _static(name: str, kind: str, request: Request) -> Response:
    return Response(files("structure.pipeline.serving").joinpath(name).read_bytes(), media_type=kind)


async def _body(request: Request) -> bytes:
    """The body. Raises RefusedError for one that is too long (the rest is read and dropped, so that the sender hears
    of it), too slow, or empty."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MOST_BYTES:
                    parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"The image was not here after {UPLOAD_SECONDS:.0f} s. Send a smaller one.") from None
    except ClientDisconnect:
        raise RefusedError(400, "The image was not sent to its end.") from None
    if size > MOST_BYTES:
        raise RefusedError(413, f"The image has {size:,} bytes, at most {MOST_BYTES:,} are taken. Scale it down.")
    return b"".join(parts)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 400
    return JSONResponse({"error": str(error)}, status, {"retry-after": "1"} if status == 503 else None)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: "There is nothing here.", 405: f"{request.method} is not understood here."}
    text = told.get(error.status_code, error.detail)
    return JSONResponse({"error": f"{text} GET /openapi.json says what is."}, error.status_code, error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The server could not answer this. The terminal where it runs says why."}, 500)
