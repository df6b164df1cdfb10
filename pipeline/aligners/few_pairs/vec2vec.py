"""mini-vec2vec: a map between two spaces from unpaired rows alone (arXiv 2510.02348).

As its released notebook has it (guy-dar/mini-vec2vec@948de01), by own code: other k-means and another 2-opt. Rows are
centred and of unit length; X (n, dx), Y (m, dy).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from structure.pipeline.aligners.few_pairs.kernel_matching import centred_kernel, match_kernels
from structure.pipeline.aligners.few_pairs.kmeans import kmeans
from structure.pipeline.aligners.few_pairs.unpaired_sides import polar

LAST_CENTRES = 500
"""Of the last refinement, as published."""

AT_ONCE = 1 << 24
"""Similarities that are held at a time."""


@dataclass(frozen=True)
class Vec2Vec:
    """Numbers of the method, with the notebook's values: `rounds` of k-means with `centres`, over `drawn` rows of each
    side, matched from `restarts`; a target is the mean of `neighbours` rows; `refinements` with `refined` rows each;
    and a last one with `last_centres`, 0 for none. A refinement moves the map by `share` of the way."""

    rounds: int = 30
    centres: int = 20
    drawn: int = 10_000
    restarts: int = 30
    neighbours: int = 50
    refinements: int = 100
    refined: int = 1000
    last_centres: int = LAST_CENTRES
    share: float = 0.5

    def fit(
        self, x: torch.Tensor, y: torch.Tensor, *, seed: int, on_step: Callable[[str, int, int], None]
    ) -> torch.Tensor:
        """W (dx, dy): x W lies where the y of the same things lie. Not orthogonal: refinements are averages."""
        random = np.random.default_rng(seed)
        found = []
        for number in range(self.rounds):
            found.append(self.anchors(x, y, random))
            on_step("matching centres", number + 1, self.rounds)
        anchors = [torch.cat(side) for side in zip(*found, strict=True)]
        weights = polar(x.T @ relative_targets(x, y, anchors[0], anchors[1], neighbours=self.neighbours))
        for number in range(self.refinements):
            points = x[some(len(x), self.refined, random, x.device)]
            targets = neighbour_means(points @ weights, y, y, neighbours=self.neighbours)
            weights = torch.lerp(weights, polar(points.T @ targets), self.share)
            on_step("refining", number + 1, self.refinements)
        return self.refined_by_centres(x, y, weights, random) if self.last_centres else weights

    def anchors(
        self, x: torch.Tensor, y: torch.Tensor, random: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Centres of both sides (centres, dx) and (centres, dy), in an order in which they match."""
        held = [
            kmeans(
                side[some(len(side), self.drawn, random, side.device)],
                centres=min(self.centres, len(x), len(y)),
                random=random,
            )
            for side in (x, y)
        ]
        kernels = [centred_kernel(side.cpu().numpy()) for side in held]
        order, _ = match_kernels(kernels[0], kernels[1], restarts=self.restarts, random=random)
        return held[0], held[1][torch.from_numpy(order).to(y.device)]

    def refined_by_centres(
        self, x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, random: np.random.Generator
    ) -> torch.Tensor:
        """The last refinement: centres of X, those of Y from where the map puts them, and the map between both."""
        centres = min(self.last_centres, len(x), len(y))
        of_x = kmeans(x, centres=centres, random=random)
        of_y = kmeans(y, centres=centres, random=random, start=of_x @ weights)
        return torch.lerp(weights, polar(of_x.T @ of_y), self.share)


def relative_targets(
    x: torch.Tensor, y: torch.Tensor, anchors_x: torch.Tensor, anchors_y: torch.Tensor, *, neighbours: int
) -> torch.Tensor:
    """(n, dy): for each row of x the mean of the y rows whose cosines with their anchors are most like its own."""
    queries, gallery = (
        F.normalize(side, dim=1) @ F.normalize(anchors, dim=1).T for side, anchors in ((x, anchors_x), (y, anchors_y))
    )
    return neighbour_means(queries, gallery, y, neighbours=neighbours)


def neighbour_means(
    queries: torch.Tensor, gallery: torch.Tensor, values: torch.Tensor, *, neighbours: int
) -> torch.Tensor:
    """(n, width) mean of the `values` (m, width) of the gallery rows (m, d) nearest to each query (n, d) by cosine."""
    near = nearest_rows(queries, gallery, neighbours=neighbours)
    step = max(1, AT_ONCE // (near.shape[1] * values.shape[1]))
    return torch.cat([values[near[at : at + step]].mean(dim=1) for at in range(0, len(near), step)])


def nearest_rows(queries: torch.Tensor, gallery: torch.Tensor, *, neighbours: int) -> torch.Tensor:
    """(n, neighbours) numbers of the nearest gallery rows by cosine; all of them where there are fewer."""
    left, right = F.normalize(queries, dim=1), F.normalize(gallery, dim=1)
    count, step = min(neighbours, len(right)), max(1, AT_ONCE // len(right))
    return torch.cat(
        [(left[at : at + step] @ right.T).topk(count, dim=1, sorted=False).indices for at in range(0, len(left), step)]
    )


def some(rows: int, count: int, random: np.random.Generator, device: torch.device) -> torch.Tensor:
    """Numbers of at most `count` of the rows, drawn without replacement."""
    return torch.from_numpy(random.choice(rows, min(count, rows), replace=False)).to(device)
