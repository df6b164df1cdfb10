"""The encoder libraries: what each of them says of itself, and one that another package adds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from structure.pipeline.encoders import describe, load_encoder, parse_spec
from structure.pipeline.encoders.frames_option import FRAMES_OPTION
from structure.pipeline.encoders.library import EncoderLibrary
from structure.pipeline.encoders.loading import weights_stamp
from structure.pipeline.encoders.model_names import OPTIONS, model_forms
from structure.pipeline.encoders.registry import ENCODER_LIBRARIES
from structure.pipeline.encoders.spec import safe
from structure.store.errors import StructureError, UsageError
from tests.plugin import install_plugin

TOY = """
import torch
from structure.pipeline.encoders import Encoder, Hidden, Layer
from structure.pipeline.encoders.frames_option import FRAMES_OPTION
from structure.pipeline.encoders.library import EncoderLibrary

class Mean(Encoder):
    modality, default_pooling, limit = "text", "mean", 3
    layers = (Layer("embed", 1, "tokens"),)
    provenance = {"source": "toy:lengths"}
    preprocess = staticmethod(len)

    def __init__(self, name):
        self.name = name

    def forward(self, examples, visit, *, wanted):
        visit("embed", Hidden(torch.tensor(examples, dtype=torch.float32)[:, None, None]))

class Toy(EncoderLibrary):
    form = "toy:NAME"

    def load(self, spec, *, device, amp, revision, trust_remote_code):
        return Mean(spec.name)
"""


@pytest.mark.parametrize("prefix", ["hf", "timm", "open_clip", "bundled"])
def test_every_library_keeps_the_contract(prefix: str) -> None:
    library = ENCODER_LIBRARIES[prefix]()
    assert isinstance(library, EncoderLibrary)
    assert set(library.options) <= set(OPTIONS)
    for form in library.form.split(", "):
        spec = parse_spec(form)
        assert spec.library == prefix
        assert str(spec) == form
        assert spec.name == safe(spec.name)
        assert "/folder" not in spec.source
        for option in set(OPTIONS) - {FRAMES_OPTION, *library.options}:
            with pytest.raises(UsageError, match=f"{option} means nothing here: {prefix} models take"):
                parse_spec(f"{form}?{option}=4")
    assert library.form in model_forms()


def test_a_library_of_another_package_works_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(ENCODER_LIBRARIES, source=TOY, member="toy", monkeypatch=monkeypatch, folder=tmp_path)
    assert model_forms().endswith("toy:NAME")
    encoder = load_encoder("toy:a/b")
    assert encoder.name == "a--b"
    rows = encoder.encode([encoder.preprocess(text) for text in ("one", "three")])
    assert torch.equal(rows["embed"], torch.tensor([[3.0], [5.0]]))
    told = describe("toy:a/b#text")
    assert (told.name, told.spec, told.present, told.input) == ("a--b--text", "toy:a/b#text", False, 3)
    assert weights_stamp("toy:a/b") == ""
    with pytest.raises(UsageError, match=r"toy models take only \?frames"):
        parse_spec("toy:a?bits=8")
    with pytest.raises(UsageError, match=r"Did you mean toy:x\?"):
        parse_spec("tooy:x")


def test_a_library_that_does_not_load_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_plugin(ENCODER_LIBRARIES, source="import nothing", member="bent", monkeypatch=monkeypatch, folder=tmp_path)
    with pytest.raises(
        StructureError, match="of the package toy_encoders_bent does not load .*pip uninstall toy_encoders_bent"
    ):
        parse_spec("bent:x")


def test_wrong_names_are_refused_without_a_deep_learning_library() -> None:
    code = (
        "import sys\n"
        "from structure.pipeline.encoders import load_encoder\n"
        "from structure.store.errors import StructureError\n"
        "for name in ('dinov22', 'torchhub:x', 'bundled:scene', 'hf:a b', 'dinov2?bit=4', 'timm:x?bits=4'):\n"
        "    try:\n"
        "        load_encoder(name)\n"
        "    except StructureError as error:\n"
        "        print(error)\n"
        "heavy = {'torch', 'timm', 'transformers', 'open_clip'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6
