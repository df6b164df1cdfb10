#!/usr/bin/env bash
# transformers: padding that the attention mask leaves out still moves ConvBERT's and Nystromformer's real tokens.
#
# Both take an attention mask, and both have a convolution over tokens that does not see it: ConvBERT's span-based
# convolution and Nystromformer's convolution of the values run into the padded positions. A text's features depend on how
# long its neighbours in the batch are; BERT's do not.
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

import torch
import transformers

warnings.simplefilter("ignore")
transformers.logging.set_verbosity_error()
print(f"transformers {transformers.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 20,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
EXTRA = {"Bert": {}, "ConvBert": {"embedding_size": 32}, "Nystromformer": {}}
text = torch.tensor([[1, 5, 6, 7, 2]])
moved = {}
for name, extra in EXTRA.items():
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**SIZES, **extra)).eval()
    padded = torch.nn.functional.pad(text, (0, 12))
    with torch.inference_mode():
        alone = model(input_ids=text, attention_mask=torch.ones_like(text)).last_hidden_state
        beside = model(input_ids=padded, attention_mask=(padded != 0).long()).last_hidden_state[:, : text.shape[1]]
    moved[name] = float((alone - beside).norm() / alone.norm())
    print(f"{name:14} the text with 12 masked positions behind it moves by {moved[name]:.1e} of its length")
as_described = moved["Bert"] < 1e-5 and moved["ConvBert"] > 1e-4 and moved["Nystromformer"] > 1e-4
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
