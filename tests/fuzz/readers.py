"""Every reader of files that the product does not trust, with good files that the product itself wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structure.pipeline.aligners.aligner import Aligner, load_aligner
from structure.pipeline.aligners.checkpoint import Checkpoint
from structure.pipeline.aligners.heads.kinds import make_head
from structure.pipeline.datasets.decode_image import decode, size
from structure.pipeline.datasets.loading import open_dataset
from structure.pipeline.datasets.pixel_files import read_cifar, read_idx
from structure.pipeline.datasets.tar_index import index_tar, read_member
from structure.pipeline.datasets.unpacking import unpack
from structure.pipeline.recipe.schema import load_recipe
from structure.pipeline.similarity.layer_similarity import best_layers
from structure.pipeline.stages.import_features import import_features
from structure.pipeline.suites.suite import load_suite
from structure.store import Column, Manifest, SampleItem, Samples, Store, open_store
from structure.store.chunk import crc32c
from structure.store.completion_markers import CompletionMarker
from structure.store.errors import StructureError
from structure.store.fingerprint import canonical
from structure.store.local_files import LocalFiles
from structure.store.shard_writer import write_shard

from . import bundles, hostile
from .mutations import Reader


def readers(folder: Path) -> list[Reader]:
    """Every reader with good files, made below `folder` by the product itself."""
    store = open_store(folder / "store")
    features = {side: _features(store, side) for side in ("vision", "text")}
    torch.manual_seed(0)
    heads = {side: make_head("linear", 4, 3) for side in features}
    Aligner(heads["vision"], heads["text"], "linear", {"layers": {"vision": "a", "text": "a"}}).save(
        store.folder("aligners", "one")
    )
    record = store.folder("aligners", "one").read("aligner.json")
    weights = store.folder("aligners", "one").read("aligner.safetensors")
    prefix = "features/set/train/vision"
    ranking: dict[str, Any] = {side: {"fingerprint": found.fingerprint} for side, found in features.items()}
    ranking |= {"best": {"vision_layer": "a", "text_layer": "a"}}
    store.folder("rankings", "r").write("ranking.json", json.dumps(ranking).encode())
    state = Checkpoint(LocalFiles(folder / "state"), "c", {"a": 1})
    state.save({"w": torch.zeros(3)}, {"epoch": 1})
    suite = {"name": "s", "version": 1, "defaults": {"dataset": "scenes:9", "split": "test", "metric": "acc1"}}
    suite |= {"tasks": [{"label": "colour", "kind": "zeroshot_classification", "prompts": "plain"}]}
    recipe = {"name": "r", "about": "x", "encoders": [{"vision": "bundled:scenes-vit", "text": "bundled:scenes-text"}]}
    recipe |= {"extract": {"dataset": "scenes:64"}, "rank": [{"k": 5}], "align": {"options": {"dim": 8}, "seeds": [1]}}
    recipe |= {"evaluate": {"suite": "scenes"}}
    rows = [{"image": f"{n}.png", "caption": f"a {n}", "id": str(n), "label": "x", "split": "train"} for n in range(4)]

    def whole(key: str, then: Callable[[Store], object]) -> Callable[[Path], object]:
        """Read a copy of the store in which the file `key` is the input."""

        def read(path: Path) -> object:
            copy = path.parent / "store"
            shutil.copytree(folder / "store", copy, dirs_exist_ok=True)
            shutil.copyfile(path, copy / key)
            return then(open_store(copy))

        return read

    def marked(path: Path) -> object:
        return CompletionMarker.from_json(path.read_bytes(), source="mark")

    def ranked(opened: Store) -> object:
        return best_layers(opened, opened["set/train/vision"], opened["set/train/text"])

    def pairs(path: Path) -> object:
        for number in range(4):
            (path.parent / f"{number}.png").write_bytes(b"")
        dataset = open_dataset(f"pairs:{path}", split=None, data_root=path.parent)
        return [_tolerant(lambda i=i: dataset.item(i)) for i in range(min(len(dataset), 5))]

    def tar(path: Path) -> object:
        return [[read_member(path, m, item=g.key) for m in g.members.values()] for g in index_tar(path)]

    def imported(path: Path) -> object:
        return import_features(path, model="m", modality="vision", dataset="d", store=path.parent / "imported")

    def unpacked(path: Path) -> None:
        unpack(path, path.parent / "unpacked")

    def idx(path: Path) -> object:
        labels = path.parent / "labels"
        labels.write_bytes(b"\0\0\x08\x01\0\0\0\x02ab")
        return read_idx([path, labels])

    def samples(path: Path) -> object:
        data = path.read_bytes()
        files = LocalFiles(path.parent / "s")
        files.write("samples/set/train.parquet", data)
        files.write("samples/set/train.parquet.crc32c", f"{crc32c(memoryview(data)):08x}".encode())
        return Samples.read(files, "set", "train").texts()

    def checkpoint(path: Path) -> object:
        return replace(state, folder=LocalFiles(path.parent), name=path.name).load()

    def rechecked(body: dict[str, Any]) -> dict[str, Any]:
        body.pop("checksum", None)
        return {**body, "checksum": f"{crc32c(memoryview(canonical(body))):08x}"}

    name = (
        next(iter((folder / "store" / prefix / "done").rglob("*.json")))
        if (folder / "store" / prefix / "done").exists()
        else None
    )
    mark = name.read_bytes() if name else store.files.read(next(k for k in store.files.keys(prefix) if "done" in k))
    shard = next(key for key in store.files.keys(prefix) if "/a/c/" in key)
    return [
        Reader(
            "manifest",
            ".json",
            (store.files.read(f"{prefix}/manifest.json"),),
            whole(f"{prefix}/manifest.json", lambda opened: opened["set/train/vision"].rows("a")),
            (b"[" * 100_000, b"{}", b"null"),
            document=True,
            mended=rechecked,
        ),
        Reader("mark", ".json", (mark,), marked, (b"[" * 100_000, b"3"), document=True, mended=rechecked),
        Reader("shard", "", (store.files.read(shard),), whole(shard, lambda o: o["set/train/vision"].rows("a"))),
        Reader(
            "zarr.json",
            ".json",
            (store.files.read(f"{prefix}/zarr.json"),),
            whole(f"{prefix}/zarr.json", lambda o: [o["set/train/vision"].ids, o["set/train/vision"].verify()]),
            (b"[" * 100_000,),
            document=True,
        ),
        Reader("samples", ".parquet", (store.files.read("samples/set/train.parquet"),), samples),
        Reader(
            "aligner.json",
            ".json",
            (record,),
            whole("aligners/one/aligner.json", lambda o: load_aligner(o.folder("aligners", "one"))),
            (b"[" * 100_000, b"7"),
            document=True,
        ),
        Reader("aligner.safetensors", ".safetensors", (weights,), lambda path: _aligner(path, record)),
        *bundles.readers(folder / "bundle"),
        Reader("checkpoint", ".safetensors", (state.folder.read("c"),), checkpoint, (b"\x08" + b"\0" * 7 + b"[" * 8,)),
        Reader(
            "ranking.json",
            ".json",
            (json.dumps(ranking).encode(),),
            whole("rankings/r/ranking.json", ranked),
            (b"[" * 100_000, b"[]"),
            document=True,
        ),
        Reader(
            "suite", ".yaml", (json.dumps(suite).encode(),), lambda p: load_suite(str(p)), hostile.YAML, document=True
        ),
        Reader(
            "recipe",
            ".yaml",
            (json.dumps(recipe).encode(),),
            lambda p: load_recipe(str(p)),
            hostile.YAML,
            document=True,
        ),
        Reader(
            "jsonl",
            ".jsonl",
            (b"".join(json.dumps(row).encode() + b"\n" for row in rows),),
            pairs,
            (b"[" * 100_000, b'{"image": "a", "caption": ' + b"9" * 6000 + b"}"),
            document=True,
        ),
        Reader(
            "csv",
            ".csv",
            (b'image,caption,id\n0.png,one,1\n1.png,"two, 2",2\n',),
            pairs,
            (b'image\n"' + b"x" * 200_000,),
        ),
        Reader("parquet", ".parquet", (hostile.parquet_of(rows),), pairs),
        Reader("tar", ".tar", tuple(hostile.tars()), tar, tuple(hostile.bad_tars())),
        Reader(
            "unpacked archive",
            ".bin",
            (*hostile.tars(), hostile.zip_of({"a/b.txt": b"x"})),
            unpacked,
            (*hostile.bad_tars(), *hostile.bad_zips()),
        ),
        Reader("npz", ".npz", (hostile.npz(),), imported, tuple(hostile.bad_npz())),
        Reader(
            "safetensors",
            ".safetensors",
            (hostile.safetensors(),),
            imported,
            (b"\xff" * 8 + b"{}", b"\x02" + b"\0" * 7 + b"{}"),
        ),
        Reader(
            "picture",
            ".png",
            tuple(hostile.pictures()),
            _picture,
            tuple(hostile.bad_pictures()),
        ),
        Reader("cifar pickle", "", (hostile.cifar(),), lambda p: read_cifar([p]), tuple(hostile.bad_pickles())),
        Reader("idx", "", (hostile.idx(),), idx, (b"\0\0\x08\x03" + b"\xff" * 12,)),
    ]


def _features(store: Store, side: str) -> Any:
    rows = 6
    items = [SampleItem(f"i{n}", (f"text {n}",)) for n in range(rows)]
    table = store.put_samples(Samples.build("set", "train", items))
    identity = {"encoder": {"source": side}, "data": {"dataset": "set"}, "extraction": {"layers": ["a"]}}
    kind, captions = ("items", None) if side == "vision" else ("captions", 1)
    columns = (Column("a", 4), Column("b", 3, "float32"))
    made = Manifest(
        dataset="set",
        split="train",
        encoder=side,
        modality=side,  # type: ignore[arg-type]
        rows_of=kind,  # type: ignore[arg-type]
        rows=rows,
        captions=captions,
        shard_rows=4,
        columns=columns,
        identity=identity,
    )
    features = store.allocate(made, table)
    for shard in features.pending():
        count = shard.stop - shard.start
        write_shard(features, shard, {c.name: np.ones((count, c.width), c.dtype) for c in columns})
    return features


def _aligner(path: Path, record: bytes) -> object:
    """Its weights' digest fits, so that the bytes are read."""
    written = {name: value for name, value in json.loads(record).items() if name != "seal"}
    body = {**written, "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    home = path.parent / "aligner"
    home.mkdir(exist_ok=True)
    shutil.copyfile(path, home / "aligner.safetensors")
    (home / "aligner.json").write_text(json.dumps(body))
    return load_aligner(home)


def _tolerant(read: Callable[[], object]) -> object:
    try:
        return read()
    except StructureError as error:
        return error


def _picture(path: Path) -> object:
    data = path.read_bytes()
    size(data)
    return decode(data, item="i").size
