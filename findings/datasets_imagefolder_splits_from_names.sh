#!/usr/bin/env bash
# datasets: `load_dataset("imagefolder")` takes class folders for splits, and split folders for none, by their names.
#
# A class that is called `train` (beside car, bus and plane, as in CIFAR-like vehicle sets) is taken for the training
# split: every image of the other classes is left out, without an error or a warning. Folders that are called `Training`
# and `Testing` are no splits, because the words are compared with their case: all images, those for testing too, come as
# one split `train`.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "datasets==5.2.0" "pillow==13.0.0" "numpy==2.4.2"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp()

import datasets
from PIL import Image


def load(names: list[str]) -> dict[str, int]:
    """Split -> number of images that `imagefolder` makes of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(file)
        return {split: len(table) for split, table in datasets.load_dataset("imagefolder", data_dir=folder).items()}


datasets.disable_progress_bars()
warnings.simplefilter("error")
vehicles = [f"{name}/{number}.png" for name in ("bus", "car", "plane", "train") for number in range(5)]
scans = [
    f"{part}/{name}/{number}.png" for part in ("Training", "Testing") for name in ("ill", "well") for number in (1, 2)
]
print(f"datasets {datasets.__version__}, Python {sys.version.split()[0]}")
hidden, merged = load(vehicles), load(scans)
print(f"20 images in the class folders bus, car, plane, train: {hidden}")
print(f"4 images in Training and 4 in Testing:                 {merged}")
as_described = hidden == {"train": 5} and merged == {"train": 8}
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
