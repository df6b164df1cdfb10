#!/usr/bin/env bash
# transformers: AIMv2's text tower is causal in a batch with padding, and attends to later tokens without.
#
# The same text gives other hidden states alone than beside a longer one, although the attention mask marks the padding:
# with a mask that is all ones the tower is handed no causal mask at all, and each token sees those after it; as soon as
# one position is padded, the mask that is built is causal. Other text towers (CLIP's) give the same in both.
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
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 20,
    "max_position_embeddings": 12,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
short, other_end, long = [1, 5, 6, 2], [1, 5, 9, 2], [1, 5, 7, 8, 6, 9, 2]


def hidden(model: torch.nn.Module, *texts: list[int]) -> torch.Tensor:
    """Last hidden states of the texts, padded on the right to the longest, with the mask that says so."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state


moved, ahead = {}, {}
for name in ("CLIPText", "Aimv2Text"):
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**SIZES)).eval()
    alone, beside = hidden(model, short)[0], hidden(model, short, long)[0, : len(short)]
    moved[name] = float((alone - beside).abs().max())
    ahead[name] = [
        float((first[1] - second[1]).abs().max())
        for first, second in (
            (alone, hidden(model, other_end)[0]),
            (beside, hidden(model, other_end, long)[0]),
        )
    ]
    print(
        f"{name:10} the text alone and beside a longer one differ by {moved[name]:.3f}; token 1 moves with token 2 by "
        f"{ahead[name][0]:.3f} alone, {ahead[name][1]:.3f} beside a longer text"
    )
as_described = (
    moved["CLIPText"] < 1e-5
    and max(ahead["CLIPText"]) < 1e-5
    and moved["Aimv2Text"] > 0.01
    and ahead["Aimv2Text"][0] > 0.01
    and ahead["Aimv2Text"][1] < 1e-5
)
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
