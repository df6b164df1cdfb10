"""How the page writes the names of metrics: `image_retrieval_recall@5` as "T→I R@5". Files keep the machine's name."""

from __future__ import annotations

import re

_NAMES = {
    r"image_retrieval_recall@(\d+|k)": r"T→I R@\1",
    r"text_retrieval_recall@(\d+|k)": r"I→T R@\1",
    "image_retrieval_map": "T→I mAP",
    "text_retrieval_map": "I→T mAP",
    "image_retrieval_median_rank": "T→I median rank",
    "text_retrieval_median_rank": "I→T median rank",
    "acc1": "top-1 accuracy",
    "acc5": "top-5 accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_average_precision": "mAP",
    "lp_acc1": "linear probe top-1 accuracy",
    "lp_acc5": "linear probe top-5 accuracy",
    "lp_mean_per_class_recall": "linear probe mean per-class recall",
    "acc": "group accuracy",
    "image_acc": "image accuracy",
    "text_acc": "text accuracy",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "contrastive": "contrastive loss",
}


def display_name(metric: str) -> str:
    """What a reader sees for `metric`; a name that is not known stays as it is."""
    for pattern, shown in _NAMES.items():
        if match := re.fullmatch(pattern, metric):
            return match.expand(shown)
    return metric
