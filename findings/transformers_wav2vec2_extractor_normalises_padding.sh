#!/usr/bin/env bash
# transformers: Wav2Vec2FeatureExtractor scales a recording by the mean and the standard deviation of its padding too.
#
# It promises zero mean and unit variance. As it comes, without attention mask, a recording in a batch is padded with zeros
# first and scaled afterwards: beside one ten times as long, a second of sound gets a standard deviation of about 3, and
# zeros become another constant. With `return_attention_mask=True` the same class leaves padding out, and the recording has
# the same values alone and in the batch. Features of wav2vec 2.0 and HuBERT follow: they depend on the other recordings.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "transformers==5.24.0" "torch==2.15.0"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
import torch
import transformers

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
print(f"transformers {transformers.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}")

RATE = 16_000
noise = np.random.default_rng(0)
short, long = (0.1 * noise.normal(size=seconds * RATE).astype(np.float32) for seconds in (1, 10))
sizes = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "conv_dim": (16,) * 7,
    "feat_extract_norm": "layer",
}
torch.manual_seed(0)
model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**sizes)).eval()


def values(extractor, clips):
    """What the model gets of the first clip, without its padding."""
    batch = extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt")
    return batch["input_values"][:1, : len(clips[0])]


def features(given):
    with torch.inference_mode():
        return model(given).last_hidden_state


spread, moved = {}, {}
for mask in (False, True):
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask)
    alone, beside = values(extractor, [short]), values(extractor, [short, long])
    spread[mask] = float(alone.std()), float(beside.std())
    before, after = features(alone), features(beside)
    moved[mask] = float((before - after).norm() / before.norm())
    name = f"return_attention_mask={mask}" + ("" if mask else " (default)")
    print(f"{name:37} standard deviation alone {spread[mask][0]:.3f}, beside a longer one {spread[mask][1]:.3f}")
    print(f"{'':37} the same samples' features differ by {moved[mask]:.4f} of their norm")
default = transformers.Wav2Vec2FeatureExtractor().return_attention_mask
as_described = (
    default is False
    and abs(spread[False][0] - 1) < 0.01
    and spread[False][1] > 2.5
    and abs(spread[True][1] - 1) < 0.01
    and moved[True] < 1e-3 < moved[False]
)
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
