#!/usr/bin/env bash
# transformers: AutoTokenizer cuts texts otherwise than the tokenizer that was saved, by the model's type beside it.
#
# A tokenizer that was built with `tokenizers` and saved by `save_pretrained` comes back with its ids where config.json
# names BERT. Where config.json names Qwen2 or SigLIP 2, AutoTokenizer takes that model's own tokenizer class, which keeps
# the vocabulary of the saved file and replaces its splitting by its own: the same text has other ids, mostly unknown
# ones, without a warning. `PreTrainedTokenizerFast.from_pretrained` gives the saved ones in each case.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "transformers==5.24.0" "tokenizers==0.23.3"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import json
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}")
vocabulary = {word: index for index, word in enumerate(["<pad>", "<unk>", "a", "cat", "dog"])}
ids = {}
for model_type in ("bert", "qwen2", "siglip2"):
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    saved = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    with tempfile.TemporaryDirectory() as root:
        saved.save_pretrained(root)
        (Path(root) / "config.json").write_text(json.dumps({"model_type": model_type}))
        stated = json.loads((Path(root) / "tokenizer_config.json").read_text())["tokenizer_class"]
        auto = transformers.AutoTokenizer.from_pretrained(root)
        fast = transformers.PreTrainedTokenizerFast.from_pretrained(root)
    ids[model_type] = [each("a cat")["input_ids"] for each in (saved, fast, auto)]
    print(
        f"{model_type:8} saved as {stated}: {ids[model_type][0]}; PreTrainedTokenizerFast {ids[model_type][1]}; "
        f"AutoTokenizer is {type(auto).__name__}: {ids[model_type][2]}"
    )
as_described = (
    all(saved == fast == [2, 3] for saved, fast, _ in ids.values())
    and ids["bert"][2] == [2, 3]
    and ids["qwen2"][2] != [2, 3]
    and ids["siglip2"][2] != [2, 3]
)
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
