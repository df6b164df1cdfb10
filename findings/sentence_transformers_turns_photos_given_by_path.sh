#!/usr/bin/env bash
# sentence-transformers: a photo has one embedding by its path and another one when it is opened with Pillow.
#
# A camera that is held upright saves its picture lying, with the turn in EXIF. Given a path, sentence-transformers lets
# transformers read the file, which turns the picture; given the Pillow image of the same file it hands it to the image
# processor as it lies. Queries and documents that come in by different ways are not compared alike.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "sentence-transformers==6.2.0" "transformers==5.24.0" \
  "torch==2.15.0" "torchvision==0.29.2" "pillow==13.0.0"
cd "$folder"
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 "$folder/env/bin/python" - 2>"$folder/log" <<'EOF' || { cat "$folder/log" >&2; exit 1; }
import sys
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image, ImageOps
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import ViTConfig, ViTImageProcessor, ViTModel

shown = ", ".join(f"{name} {version(name)}" for name in ("sentence-transformers", "transformers", "pillow"))
print(f"{shown}, Python {sys.version.split()[0]}")
torch.manual_seed(0)
sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained("vit")
ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("vit")
transformer = Transformer("vit")
model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")

scene = Image.fromarray(np.kron(np.arange(0, 256, 51, dtype=np.uint8)[:, None, None], np.ones((8, 48, 3), np.uint8)))
exif = Image.Exif()
exif[0x0112] = 6  # lies on its side
scene.save("photo.png", exif=exif)  # PNG, so that no two decoders of JPEG come in
photo = Image.open("photo.png")
path, opened, upright = (model.encode([given])[0] for given in ("photo.png", photo, ImageOps.exif_transpose(photo)))
print(f"by path and turned upright by hand: largest difference {np.abs(path - upright).max():.4f}")
print(f"by path and opened with Pillow:     largest difference {np.abs(path - opened).max():.4f}")
as_described = np.allclose(path, upright, atol=1e-5) and np.abs(path - opened).max() > 0.01
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
