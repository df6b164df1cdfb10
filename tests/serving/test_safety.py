"""What must not be served: other sites' requests, paths, links out of the dataset, uploads that are too large."""

from __future__ import annotations

import io
import os
import socket
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from structure.pipeline import serve
from structure.pipeline.serving import uploads
from structure.pipeline.serving.address import Address, listen
from structure.pipeline.serving.search_server import SearchServer
from tests.inference.conftest import Place
from tests.serving.conftest import ask, found

SECRET = b"the secret of the machine"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9000"}, 200),
        ({"Host": "LOCALHOST."}, 200),
        ({"Host": "[::1]:8765"}, 200),
        ({"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": None}, 400),
        ({"Host": ""}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "evil.example:80#localhost"}, 403),
        ({"Host": "localhost.evil.example:8765"}, 403),
        ({"Host": "192.168.0.1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_only_this_machine_and_this_page_are_answered(
    server: SearchServer, headers: dict[str, str | None], status: int
) -> None:
    for path, method in (("/api/search?q=a", "GET"), ("/api/images/0/file", "GET"), ("/api/search", "POST")):
        answer = ask(server, path, method=method, headers=headers, body=b"" if method == "POST" else None)
        refused = answer.status if answer.status == 403 or status == 400 else 200
        assert refused == status, answer.body
        if status == 403:
            assert server.url in answer.document["error"]


def test_every_response_tells_browsers_what_they_may(server: SearchServer) -> None:
    for path in ("/", "/page.js", "/page.css", "/api/about", "/nothing", "/api/search", "/api/images/0/file"):
        answer = ask(server, path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        alone = "sandbox" if path.endswith("file") else "frame-ancestors 'none'"
        assert alone in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"].replace("script-src 'self'", "")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not {"server", "access-control-allow-origin"} & set(answer.headers)
    page = ask(server, "/").body.decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "innerHTML" not in ask(server, "/page.js").body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/../mine.csv",
        "/..%2f..%2fmine.csv",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/\\..\\mine.csv",
        "/page.js/../../mine.csv",
        "/page.html",
        "/search_engine.py",
        "/api/images/0/file/../../../mine.csv",
        "/api/images/..%2f..%2fmine.csv/file",
        "/api/images/%2fetc%2fpasswd/file",
        "/api/images/mine%2F000/thumbnail",
        "/api/images/-1/file",
        "/api/images/80/file",
        "/api/images/1e1/file",
        "/api/images/0x1/file",
        "/api/images/99999999999999999999999999/file",
        "/api/images/0%00/file",
        "/api/images/0/file%00.png",
        "/api/images/%D9%A3/nothing",
        "/api/search?like=../../mine.csv",
        "/api/search?like=/etc/passwd",
    ],
)
def test_no_path_leads_out(server: SearchServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status in (400, 404), answer.body
    assert b"caption" not in answer.body
    assert b"root:" not in answer.body


def test_links_out_of_the_dataset_are_not_followed(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(secret, "PNG")
    (outside / "secret.png").write_bytes(secret.getvalue())
    (outside / "words.png").write_bytes(SECRET)
    photos = place.photos
    for name, target in (
        ("001.png", outside / "secret.png"),
        ("002.png", outside / "words.png"),
        ("003.png", photos / "004.png"),
    ):
        (photos / name).unlink()
        (photos / name).symlink_to(target)
    (photos / "005.png").unlink()
    os.mkfifo(photos / "005.png")
    (photos / "006.png").write_bytes(SECRET)
    with serve(store=place.store, dataset=f"pairs:{place.pairs}", port=0, device="cpu") as server:
        hits = {hit["path"]: hit for hit in found(server, "/api/search?q=a+red+circle&k=80")["hits"]}
        for name in ("001.png", "002.png"):
            for part in ("file", "thumbnail"):
                answer = ask(server, f"/api/images/{hits[name]['row']}/{part}")
                assert answer.status == 404
                assert "a link out of the folder of the dataset" in answer.document["error"]
        inner = ask(server, f"/{hits['003.png']['file']}")
        assert inner.body == (photos / "004.png").read_bytes()
        assert hits["005.png"]["file"] is None  # no file: a pipe would never end
        assert ask(server, f"/api/images/{hits['005.png']['row']}/file").status == 404
        answer = ask(server, f"/{hits['006.png']['file']}")
        assert answer.status == 404
        assert SECRET[:8] not in answer.body
        assert str(place.root) not in answer.body.decode()
        assert ask(server, f"/{hits['000.png']['file']}").status == 200


def png(side: int) -> bytes:
    """A white image of one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + b"\xff" * ((side + 7) // 8)
    packed = zlib.compressobj(1)
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def unclear(form: str, mode: str, **options: Any) -> bytes:
    """An image whose file leaves open how it is shown."""
    file = io.BytesIO()
    Image.new(mode, (8, 8), 1).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (png(20_000), 400, "400000000 pixels"),
        (png(7_100), 400, "7100 x 7100 = 50,410,000 pixels, at most 50,000,000 are read"),
        (b"", 400, "the file is empty"),
        (b"GIF89a" + SECRET, 400, "the image"),
        (b"<svg onload='alert(1)'/>", 400, "not an image"),
        (png(32)[:-28], 400, "the image"),
        (unclear("TIFF", "F"), 400, "no agreed range. Save it as 8-bit RGB"),
        (unclear("PNG", "I;16"), 400, "no agreed range. Save it as 8-bit RGB"),
        (unclear("TIFF", "RGB", save_all=True, append_images=[Image.new("RGB", (8, 8))]), 400, "2 pages"),
    ],
    ids=["400-megapixels", "50-megapixels", "empty", "damaged", "svg", "truncated", "floats", "16-bits", "pages"],
)
def test_an_upload_that_is_no_image_of_a_fair_size_is_refused(
    server: SearchServer, body: bytes, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = ask(server, "/api/search", method="POST", body=body, headers={"Content-Type": "image/png"})
    assert answer.status == status
    assert said in answer.document["error"]
    assert "Say which" not in answer.document["error"]  # an option of a data set, which no upload has
    assert ask(server, "/api/search?q=a&k=1").status == 200  # it goes on


def test_uploads_are_bounded_in_bytes_and_named_by_their_type(
    server: SearchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("structure.pipeline.serving.app.MOST_BYTES", 1000)
    answer = ask(server, "/api/search", method="POST", body=b"x" * 300_000)
    assert answer.status == 413
    assert "300,000 bytes, at most 1,000" in answer.document["error"]
    form = ask(
        server, "/api/search", method="POST", body=b"x", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert form.status == 415
    assert "curl --data-binary @FILE" in form.document["error"]
    assert uploads.MOST_BYTES == 32 * 2**20


def test_an_upload_that_does_not_come_is_not_waited_for(server: SearchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("structure.pipeline.serving.app.UPLOAD_SECONDS", 0.0)
    with socket.create_connection(("127.0.0.1", server.address.port), timeout=60) as slow:
        slow.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        assert b" 408 " in slow.recv(4096)
    with socket.create_connection(("127.0.0.1", server.address.port)) as broken:
        broken.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
    monkeypatch.undo()
    assert ask(server, "/api/search?q=a").status == 200


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """asyncio turns Nagle's algorithm off for sockets that say that they are TCP."""
    listening, address = listen("127.0.0.1", 0)
    with listening:
        assert listening.proto == socket.IPPROTO_TCP
        assert listening.getsockname()[1] == address.port


def test_addresses() -> None:
    home, lan = Address("127.0.0.1", "127.0.0.1", 8765), Address("0.0.0.0", "0.0.0.0", 80)
    assert home.is_loopback
    assert not lan.is_loopback
    assert (home.url, lan.url) == ("http://127.0.0.1:8765", "http://127.0.0.1:80")
    assert Address("::", "::", 5).url == "http://[::1]:5"
    assert lan.answers_to("192.168.1.7:80")
    assert lan.answers_to(os.uname().nodename)
    assert not lan.answers_to("evil.example")
    assert Address("gpu7", "10.0.0.7", 80).answers_to("gpu7:80")
