#!/usr/bin/env bash
# transformers: the hidden states of Mamba are as many as those of other models, and shifted by one.
#
# With three blocks every model returns four hidden states. For Llama the first is the embedding of the tokens and the
# third the output of the second block. Mamba, Mamba-2 and Falcon-Mamba leave the embedding out and append the normed last
# state to the unnormed one: the first is the output of the first block, and `hidden_states[i]` is a block deeper than
# the same index anywhere else. No length or shape tells it.
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

COMMON = {"hidden_size": 16, "num_hidden_layers": 3, "vocab_size": 20, "pad_token_id": 0}
MODELS = {
    "Llama": {"num_attention_heads": 2, "intermediate_size": 24},
    "Mamba": {"state_size": 4},
    "Mamba2": {"state_size": 4, "num_heads": 4, "head_dim": 8, "expand": 2, "n_groups": 2},
    "FalconMamba": {"state_size": 4},
}
places = {}
for name, sizes in MODELS.items():
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**COMMON, **sizes)).eval()
    blocks: list[torch.Tensor] = []

    def keep(_, __, out, kept=blocks):
        kept.append((out[0] if isinstance(out, tuple) else out).clone())

    for block in model.layers:
        block.register_forward_hook(keep)
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
        known = {"embedding": model.get_input_embeddings()(ids)}
    known |= {f"block {index + 1}": values for index, values in enumerate(blocks)}
    places[name] = [
        next((label for label, values in known.items() if torch.allclose(state, values)), "norm") for state in states
    ]
    print(f"{name:12} hidden_states: {', '.join(places[name])}")
others = [place for name, place in places.items() if name != "Llama"]
as_described = places["Llama"] == ["embedding", "block 1", "block 2", "norm"] and all(
    place == ["block 1", "block 2", "block 3", "norm"] for place in others
)
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
