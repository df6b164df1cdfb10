#!/usr/bin/env bash
# mteb: the accuracy of an image-text pair task with one image and two captions is 0 for a model without a mistake.
#
# AbsTaskImageTextPairClassification counts a sample as right if each image is nearest to its caption and each caption
# nearest to its image, and takes caption i to belong to image i. With one image and several captions, as in SugarCrepe
# (a caption and a wrong one), the second caption would have to be nearest to an image that is not there: image_acc and
# accuracy are 0 whatever the model does, and stand in the results beside text_acc.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "mteb==2.26.24" "sentence-transformers==6.2.0" \
  "transformers==5.24.0" "torch==2.15.0" "torchvision==0.29.2" "datasets==5.2.0" "pillow==13.0.0"
cd "$folder"
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 "$folder/env/bin/python" - 2>"$folder/log" <<'EOF' || { cat "$folder/log" >&2; exit 1; }
import sys
from importlib.metadata import version

import mteb
import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks.image.image_text_pair_classification import AbsTaskImageTextPairClassification
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ModelMeta
from PIL import Image

print(f"mteb {version('mteb')}, Python {sys.version.split()[0]}")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
UNSAID = ("date", "domains", "task_subtypes", "license", "annotations_creators", "dialect", "sample_creation", "bibtex_citation")


class Pairs(AbsTaskImageTextPairClassification):
    metadata = TaskMetadata(
        name="Pairs", description="Pairs", reference=None, dataset={"path": "local/pairs", "revision": "1"},
        type="Compositionality", category="i2t", modalities=["text", "image"], eval_splits=["test"],
        eval_langs=["eng-Latn"], main_score="text_acc", **dict.fromkeys(UNSAID),
    )
    images_column_names, texts_column_names = "image", ("caption", "wrong_caption")

    def load_data(self, num_proc=None, **_):
        images = [Image.new("RGB", (8, 8), colour) for colour in COLOURS.values()]
        columns = {"image": images, "caption": list(COLOURS), "wrong_caption": ["green", "blue", "red"]}
        self.dataset, self.data_loaded = DatasetDict({"test": Dataset.from_dict(columns)}), True


class Perfect(AbsEncoder):
    """The colour itself is the embedding of an image and of its name."""

    mteb_model_meta = ModelMeta.create_empty(overwrites={"modalities": ["text", "image"]})

    def encode(self, inputs, **_):
        rows = []
        for batch in inputs:
            given = batch["image"] if "image" in batch else batch["text"]
            rows += [COLOURS[one] if isinstance(one, str) else one.getpixel((0, 0)) for one in given]
        return np.array(rows, dtype=np.float32) / 255


found = mteb.evaluate(Perfect(), Pairs(), cache=None, show_progress_bar=False).task_results[0].scores["test"][0]
shown = {name: found[name] for name in ("text_acc", "image_acc", "accuracy")}
print(f"an encoder that puts each caption onto its image: {shown}")
as_described = shown == {"text_acc": 1.0, "image_acc": 0.0, "accuracy": 0.0}
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
