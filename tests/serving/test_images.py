"""Images that are in tars or of deep pixels are sent through their dataset's own reader."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from structure.pipeline import align, extract, serve
from structure.pipeline.datasets import open_dataset
from structure.pipeline.serving.gallery_images import media_type
from tests.inference.conftest import LAYERS, MODELS
from tests.serving.conftest import ask, found


def encoded(image: Image.Image, form: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form)
    return sink.getvalue()


def test_members_of_tars(tmp_path: Path) -> None:
    scenes = open_dataset("scenes:24", split="train", data_root=tmp_path)
    sent: dict[str, bytes] = {}
    with tarfile.open(tmp_path / "scenes.tar", "w") as tar:
        for number in range(24):
            ending, form = ("tif", "TIFF") if number == 3 else ("jpg", "JPEG")
            data = encoded(scenes.image(number), form)
            sent[f"{number:03d}"] = data
            for name, content in ((ending, data), ("txt", scenes.item(number).captions[0].encode())):
                member = tarfile.TarInfo(f"{number:03d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    store, spec = tmp_path / "store", f"wds:{tmp_path}/scenes.tar"
    extract(MODELS, spec, store=store, layers=LAYERS)
    align("last", store=store, method="ridge")
    with serve(store=store, port=0, device="cpu") as server:
        hits = {hit["id"]: hit for hit in found(server, "/api/search?q=a+red+circle&k=24")["hits"]}
        assert len(hits) == 24
        for name, data in sent.items():
            (own,) = [hit for item, hit in hits.items() if item.endswith(name)]
            assert own["path"] == ""
            answer = ask(server, f"/{own['file']}")
            if name == "003":  # no browser shows a TIFF
                assert answer.headers["content-type"] == "image/png"
                with Image.open(io.BytesIO(answer.body)) as image:
                    assert np.array_equal(np.asarray(image), np.asarray(scenes.image(3)))
            else:
                assert (answer.headers["content-type"], answer.body) == ("image/jpeg", data)
            assert ask(server, f"/{own['thumbnail']}").status == 200


def test_only_what_is_an_image_is_sent_as_one() -> None:
    image = Image.new("RGB", (4, 4))
    assert {form: media_type(encoded(image, form)) for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")} == {
        "PNG": "image/png",
        "JPEG": "image/jpeg",
        "GIF": "image/gif",
        "WEBP": "image/webp",
        "BMP": "image/bmp",
        "TIFF": "",
    }
    assert media_type(b"GIF89a<script>alert(1)</script>"[:8]) == ""
    assert media_type(b"BM, said the sea") == ""
    assert media_type(b"") == ""
