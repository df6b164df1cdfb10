"""The similarity metrics by name. To add one: a file with a class like those beside this one, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structure.pipeline.registry import Registry

if TYPE_CHECKING:
    from structure.pipeline.similarity.metric import SimilarityMetric

SIMILARITIES: Registry[type[SimilarityMetric]] = Registry(
    "similarity metric",
    "structure.similarity",
    {
        "mutual_knn": "structure.pipeline.similarity.mutual_knn:MutualKnn",
        "multiscale_knn": "structure.pipeline.similarity.multiscale_knn:MultiscaleKnn",
        "cycle_knn": "structure.pipeline.similarity.cycle_knn:CycleKnn",
        "lcs_knn": "structure.pipeline.similarity.lcs_knn:LcsKnn",
        "edit_distance_knn": "structure.pipeline.similarity.edit_distance_knn:EditDistanceKnn",
        "cknna": "structure.pipeline.similarity.cknna:Cknna",
        "cka": "structure.pipeline.similarity.cka:Cka",
        "unbiased_cka": "structure.pipeline.similarity.unbiased_cka:UnbiasedCka",
        "rbf_cka": "structure.pipeline.similarity.rbf_cka:RbfCka",
        "unbiased_rbf_cka": "structure.pipeline.similarity.unbiased_rbf_cka:UnbiasedRbfCka",
        "svcca": "structure.pipeline.similarity.svcca:Svcca",
    },
)


def metric_named(metric: str) -> str:
    """The registered name (`mutual-knn` is accepted); imports no metric. Raises StructureError with the nearest."""
    return SIMILARITIES.require(metric.replace("-", "_"))


def notation(metric: str, k: int | None = None) -> str:
    """The metric as texts and charts name it, such as `mutual kNN@10` (`mutual kNN@k` for several k); its name where no
    installed package has it."""
    if metric not in SIMILARITIES:
        return metric
    return SIMILARITIES[metric].notation.replace("@k", "@k" if k is None else f"@{k}")
