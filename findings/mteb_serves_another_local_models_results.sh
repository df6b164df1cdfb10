#!/usr/bin/env bash
# mteb: a model from a local folder is given the saved results of another one.
#
# mteb.evaluate saves results by the name and the revision of a model and, by default, reads them again. A
# SentenceTransformer that was loaded from a folder has neither: its name is "no_model_name/available". So the second
# such model that is evaluated on a task, whatever its weights, is never run and reports the first one's scores.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "mteb==2.26.24" "sentence-transformers==6.2.0" \
  "transformers==5.24.0" "torch==2.15.0" "datasets==5.2.0"
cd "$folder"
HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 MTEB_CACHE="$folder/mteb" "$folder/env/bin/python" - 2>"$folder/log" <<'EOF' || { cat "$folder/log" >&2; exit 1; }
import sys
from importlib.metadata import version

import mteb
import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

shown = ", ".join(f"{name} {version(name)}" for name in ("mteb", "sentence-transformers"))
print(f"{shown}, Python {sys.version.split()[0]}")
WORDS = [f"w{number}" for number in range(20)]
UNSAID = ("date", "domains", "task_subtypes", "license", "annotations_creators", "dialect", "sample_creation", "bibtex_citation")


class Toy(AbsTaskSTS):
    metadata = TaskMetadata(
        name="Toy", description="Toy", reference=None, dataset={"path": "local/toy", "revision": "1"}, type="STS",
        category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="cosine_spearman",
        **dict.fromkeys(UNSAID),
    )
    min_score, max_score = 0, 5

    def load_data(self, num_proc=None, **_):
        scores = [(number * 7 % 20) / 4 for number in range(20)]
        columns = {"sentence1": WORDS, "sentence2": WORDS[1:] + WORDS[:1], "score": scores}
        self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
        self.data_loaded = True


def model(seed):
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate([*WORDS, "[UNK]"])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    weights = np.random.default_rng(seed).standard_normal((21, 8)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)]).save(f"model-{seed}")
    return SentenceTransformer(f"model-{seed}")


def score(model, **options):
    found = mteb.evaluate(model, Toy(), show_progress_bar=False, **options)
    return round(found.task_results[0].scores["test"][0]["cosine_spearman"], 4), f"{found.model_name}"


saved, run = {}, {}
for seed in (0, 1):
    one = model(seed)
    saved[seed], name = score(one)
    run[seed], _ = score(one, cache=None)
    print(f"model-{seed}, called {name}: reported {saved[seed]}, when it is run {run[seed]}")
as_described = run[0] != run[1] and saved == {0: run[0], 1: run[0]}
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
