"""What is equal to whose code, within what, and the test that shows it: one row for each method, metric and part.

The rows are the column "authors' code" of docs/methods-table.md and the tables below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["equal", "differs", "formula", "reconstruction", "own"]

VERDICTS: dict[Verdict, str] = {
    "equal": "a test compares with the output of the named code within the tolerance stated",
    "differs": "known to differ from the named code as stated; a test shows the difference, or what it reaches",
    "formula": "a test compares with the formula of the named source, computed independently; no code of its authors "
    "was run",
    "reconstruction": "the source does not say enough: do not cite results as results of the method",
    "own": "a baseline, a control or a method of this program; a test compares with its definition",
}


@dataclass(frozen=True)
class Row:
    """`name` is that of a registered method or metric, or of a part; `shown` says how near it is, or what differs;
    `tests` are `file::test` below tests/."""

    name: str
    verdict: Verdict
    source: str
    shown: str
    tests: tuple[str, ...]


_STRUCTURE = "shiwonkim/structure (the fork of STRUCTURE's code that can still be read)"
_PLATONIC = "minyoungg/platonic-rep@07ef02a, `metrics.py`"
_PLATONIC_TEST = "equality/test_official_code.py::test_platonic_metrics"
_CLOSED = "aligners/test_golden_closed_forms.py"

METHODS = (
    Row(
        "linear",
        "formula",
        "STRUCTURE, arXiv 2506.16895",
        "one step under each preset: loss rtol 1e-4, gradient rtol 1e-3 (float32); its parts are in the table below",
        ("aligners/test_presets.py::test_one_step_is_the_formula",),
    ),
    Row(
        "mlp",
        "own",
        "-",
        "a head of two layers; what STRUCTURE's configurations call MLP is `lowrank`. Loss and training as `linear`",
        ("aligners/test_training.py::test_every_head_learns_held_out_pairs",),
    ),
    Row(
        "lowrank",
        "formula",
        "STRUCTURE's released configurations",
        "the head within 1e-5 (float32); under `released` the gate stays shut for a whole run, as theirs does",
        (
            "aligners/test_aligner.py::test_low_rank_head_is_its_formula",
            "aligners/test_training.py::test_gate_opens_outside_released_and_stays_shut_inside",
        ),
    ),
    Row(
        "gated",
        "own",
        "-",
        "a gated linear unit for each side",
        ("aligners/test_training.py::test_every_head_learns_held_out_pairs",),
    ),
    Row(
        "sail",
        "formula",
        "SAIL, arXiv 2412.04616; head as ported in shiwonkim/structure@67d126e",
        "the head within 1e-5 (float32); sigmoid loss rtol 1e-7, gradients rtol 1e-8 (float64). Batch size, epoch and "
        "learning rate are this program's",
        (
            "equality/test_official_code.py::test_head_of_sail_is_its_formula",
            "aligners/test_contrastive.py::test_sigmoid_loss_against_the_formula",
        ),
    ),
    Row(
        "csa",
        "equal",
        "UTAustin-SwarmLab/Multi-modal-Data-Alignment@bbfc2f4 over cca-zoo 4.0.1",
        "with `--ridge 0`: cosines within 1e-10; its weights are these times (n - 1)/n, within 1e-10. The default "
        "ridge is this program's",
        ("equality/test_official_code.py::test_csa", f"{_CLOSED}::test_golden_csa"),
    ),
    Row(
        "kernel-csa",
        "formula",
        "kernel CCA, Neural Computation 16 (2004)",
        "correlations within 1e-6 of the dual problem, with all rows as landmarks",
        ("aligners/test_kernel_csa.py::test_correlations_are_those_of_the_dual_problem",),
    ),
    Row(
        "procrustes",
        "own",
        "-",
        "finds a rotation within 1e-4",
        ("aligners/test_aligner.py::test_procrustes_finds_the_rotation",),
    ),
    Row(
        "ridge",
        "equal",
        "scikit-learn, `Ridge`",
        "predictions within 1e-4 (float32), with the penalty stated as a share of the mean variance",
        ("aligners/test_aligner.py::test_ridge_is_ridge",),
    ),
    Row(
        "asif",
        "equal",
        "noranta4/ASIF@c5378b1, `relreps.py`",
        "scores rtol 1e-5 (float32) times the length of an image's code, which no order of texts depends on",
        ("equality/test_official_code.py::test_asif",),
    ),
    Row(
        "relative",
        "own",
        "arXiv 2209.15430",
        "cosines with random training pairs, as the paper defines them; tested for what every aligner must do, not for "
        "numbers",
        ("aligners/test_aligner.py::TestEveryMethod::test_embeds_unit_rows_in_the_kind_given",),
    ),
    Row("mean-shift", "own", "-", "a control", ("aligners/test_aligner.py::TestEveryMethod::test_saves_and_loads",)),
    Row("identity", "own", "-", "a control", ("aligners/test_aligner.py::TestEveryMethod::test_saves_and_loads",)),
    Row(
        "pal",
        "equal",
        "shiwonkim/PAL_working@e42fe6a, `src/alignment/pal_token.py`",
        "pooled tokens within 1e-9, loss rtol 1e-8, gradients within 1e-7 of the largest (float64). Early stopping and "
        "the schedule are this program's unless `--preset paper`",
        (f"{_CLOSED}::test_golden_pal", "aligners/test_token_heads.py::test_golden_mean_pooling"),
    ),
    Row(
        "freezealign",
        "reconstruction",
        "arXiv 2409.19425",
        "the head is its own formula; the published code has more",
        (
            "aligners/test_token_heads.py::TestEveryTokenHead::test_one_item_is_its_formula",
            "aligners/test_token_heads.py::test_the_cls_token_has_a_projection_of_its_own",
        ),
    ),
    Row(
        "sotalign",
        "reconstruction",
        "SOTAlign, arXiv 2602.23353",
        "KLOT is equal to the authors' code (below); they released nothing else. The teacher is within 1e-9 of a "
        "formula that others published",
        ("aligners/test_klot.py::test_golden", "aligners/test_few_pairs.py::test_the_teacher_is_golden"),
    ),
    Row(
        "wasserstein-procrustes",
        "differs",
        "Unpaired Rosetta, arXiv 2610.09411",
        "another solver of the matching (theirs is GPL), other defaults; only its result is tested: top-1 above .9 on "
        "generated views",
        ("aligners/test_few_pairs.py::test_wasserstein_procrustes_finds_the_map",),
    ),
    Row(
        "mini-vec2vec",
        "equal",
        "guy-dar/mini-vec2vec@948de01, `linear_vec2vec.ipynb`",
        "step by step from its own anchors and draws: neighbours the same, targets within 1e-6, mapped rows within "
        "2e-3 (float32). Its k-means, 2-opt and random draws are others: whole runs reach the notebook's scores",
        (
            "aligners/test_few_pairs.py::test_mini_vec2vec_is_golden_step_by_step",
            "aligners/test_few_pairs.py::test_mini_vec2vec_reaches_the_golden_bands",
        ),
    ),
    Row(
        "sma",
        "reconstruction",
        "arXiv 2605.12872",
        "the loss of the paper is not public; the submodular functions are within 1e-8 of their definitions",
        (f"{_CLOSED}::test_golden_submodular", f"{_CLOSED}::test_set_alignment_of_single_views_is_info_nce"),
    ),
)

PARTS = (
    Row(
        "R_S, the released form",
        "equal",
        f"{_STRUCTURE}@0d87c3f, `src/loss/clip_loss.py`",
        "value rtol 1e-6, gradient within 1e-6 of the largest, levels 1 to 3 (float64)",
        ("aligners/test_structure_loss.py::test_golden_values_and_gradients",),
    ),
    Row(
        "R_S, the paper's form",
        "formula",
        "STRUCTURE, arXiv 2506.16895",
        "value rtol 1e-6, gradient within 1e-6 of the largest (float64); the released code has another divergence",
        ("aligners/test_structure_loss.py::test_golden_values_and_gradients",),
    ),
    Row(
        "InfoNCE",
        "formula",
        "the usual definition",
        "value rtol 1e-9, gradient within 1e-8 of the largest (float64)",
        ("aligners/test_contrastive.py::test_golden_info_nce",),
    ),
    Row(
        "learning-rate range test, `released`",
        "equal",
        f"{_STRUCTURE}@f747207, `src/trainers/base_trainer.py`",
        "rates tried, stop and suggested rate rtol 1e-12 on eight recorded series of losses",
        ("aligners/test_schedule.py::test_golden_released_range_test",),
    ),
    Row(
        "cosine schedule, `paper` and `released`",
        "equal",
        f"{_STRUCTURE}@f747207, `src/trainers/alignment_trainer.py`",
        "the period of 136 sizes exactly; 130 rates within 1e-15",
        ("aligners/test_schedule.py::test_golden_cosine_period",),
    ),
    Row(
        "trainer, `released`",
        "formula",
        "STRUCTURE's released code, its loop written out with PyTorch's AdamW and schedule",
        "every weight after 12 steps rtol 1e-4 (float32); their trainer itself was not run",
        ("aligners/test_presets.py::test_a_released_run_is_the_loop_written_out",),
    ),
    Row(
        "AdamW",
        "equal",
        "PyTorch, `torch.optim.AdamW`",
        "number for number",
        ("aligners/test_adamw.py::test_steps_are_those_of_torch_number_for_number",),
    ),
    Row(
        "CSA with R_S",
        "reconstruction",
        "STRUCTURE, arXiv 2506.16895",
        "the refined maps are white within 1e-8 and have a lower R_S; no weights of the released code are there to "
        "compare with",
        ("aligners/test_aligner.py::test_csa_refinement_whitens_and_lowers_r_s",),
    ),
    Row(
        "FuseMix",
        "differs",
        "layer6ai-labs/fusemix@25f83ee, `mlp_contrastive_fusion.py`",
        "theirs mixes the two halves of a batch; here, as in STRUCTURE's code, a row's partner is 2,048 places further "
        "in the shuffled set. One Beta draw for both sides of a batch in both",
        ("aligners/test_training.py::test_fusemix_mixes_both_sides_with_one_share",),
    ),
    Row(
        "KLOT",
        "equal",
        "ExplainableML/SOTAlign@4a810a1, `src/klot.py`",
        "value and gradient rtol 1e-10 (float64)",
        ("aligners/test_klot.py::test_golden", "aligners/test_klot.py::test_golden_in_float32"),
    ),
    Row(
        "permutation test of a ranking",
        "differs",
        "calibrated-similarity 0.1.1, `calibrate_layers`",
        "from the same permutations the p-value is the same within 1e-7; its threshold is an order statistic that "
        "counts the observed score, ours the 0.95 quantile of the permutations",
        ("equality/test_official_code.py::test_calibrated_similarity",),
    ),
    Row(
        "clamp of `--preset platonic`",
        "equal",
        _PLATONIC,
        "levels rtol 1e-5, mutual kNN exactly",
        ("similarity/test_similarity_golden.py::test_platonic_preprocessing",),
    ),
    Row(
        "metrics of an evaluation",
        "equal",
        "CLIP_benchmark 1.6.2",
        "every number of the same embeddings",
        ("suites/test_clip_benchmark_parity.py::test_every_number_is_theirs",),
    ),
    Row(
        "FOSCTTM",
        "equal",
        "rsinghlab/SCOT@14649be, `src/evals.py`",
        "Euclidean distances: within 1e-12; cosine distances: the formula",
        ("metrics/test_foscttm.py::test_golden",),
    ),
)

METRICS = (
    Row("mutual_knn", "equal", _PLATONIC, "within 1e-7 (their mean is float32)", (_PLATONIC_TEST,)),
    Row(
        "multiscale_knn",
        "own",
        "-",
        "the mean over scales of mutual kNN above chance, within 1e-12",
        ("equality/test_official_code.py::test_multiscale_is_mutual_knn_at_each_scale",),
    ),
    Row("cycle_knn", "equal", _PLATONIC, "within 1e-7 (their mean is float32)", (_PLATONIC_TEST,)),
    Row(
        "lcs_knn",
        "equal",
        _PLATONIC,
        "theirs is the length, ours its share of k: within 1e-7",
        ("equality/test_official_code.py::test_platonic_lcs_is_a_length_and_ours_a_share",),
    ),
    Row("edit_distance_knn", "equal", _PLATONIC, "within 1e-12", (_PLATONIC_TEST,)),
    Row("cknna", "equal", _PLATONIC, "within 1e-12", (_PLATONIC_TEST,)),
    Row("cka", "equal", _PLATONIC, "within 1e-12", (_PLATONIC_TEST,)),
    Row("unbiased_cka", "equal", _PLATONIC, "within 1e-12", (_PLATONIC_TEST,)),
    Row("rbf_cka", "equal", _PLATONIC, "within 1e-12, bandwidth 1", (_PLATONIC_TEST,)),
    Row("unbiased_rbf_cka", "equal", _PLATONIC, "within 1e-12, bandwidth 1", (_PLATONIC_TEST,)),
    Row(
        "svcca",
        "differs",
        _PLATONIC,
        "theirs takes singular vectors by a randomised method: up to .10 apart on narrow layers. Ours is within 1e-4 "
        "of an exact decomposition and scikit-learn's CCA",
        (
            "equality/test_official_code.py::test_platonic_svcca_is_random_and_ours_exact",
            "similarity/test_layer_scores.py::test_svcca_equals_scikit_learn",
        ),
    ),
)


def of_method(name: str) -> Row:
    """The row of a registered method."""
    return next(row for row in METHODS if row.name == name)
