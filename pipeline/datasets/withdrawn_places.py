"""A dataset in the places of its stored sample index: a withdrawn sample keeps its place, and nothing of it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from structure.pipeline.datasets.dataset import AudioClip, Dataset, Item, within
from structure.store.errors import BadSampleError
from structure.store.sample_table import WITHDRAWN, Samples, withdrawn_id

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class WithdrawnPlaces(Dataset):
    """`dataset` with `places`: the number of a sample of it, or the id of a withdrawn one, whether or not the data
    still have it. `captions` counts the captions of each withdrawn sample."""

    def __init__(self, dataset: Dataset, places: list[int | str], captions: dict[str, int]) -> None:
        self.dataset, self.places, self.captions = dataset, places, captions
        for name in ("name", "split", "tasks", "kind", "mask_classes", "splits", "notes", "spec", "pixels"):
            setattr(self, name, getattr(dataset, name))
        self.checks_pixels = dataset.checks_pixels

    def __len__(self) -> int:
        return len(self.places)

    def item(self, index: int) -> Item:
        place = self.places[within(index, len(self))]
        if isinstance(place, str):
            return Item(place, (WITHDRAWN,) * self.captions[place])
        return self.dataset.item(place)

    def image(self, index: int) -> Image.Image:
        return self.dataset.image(self._number(index))

    def frames(self, index: int, count: int) -> Iterator[Image.Image]:
        return self.dataset.frames(self._number(index), count)

    @property
    def videos(self) -> int:
        return self.dataset.videos

    def payload(self, index: int) -> bytes:
        return self.dataset.payload(self._number(index))

    def audio(self, index: int) -> AudioClip:
        return self.dataset.audio(self._number(index))

    def mask(self, index: int) -> np.ndarray:
        return self.dataset.mask(self._number(index))

    def stamp(self, index: int) -> str:
        place = self.places[within(index, len(self))]
        return "" if isinstance(place, str) else self.dataset.stamp(place)

    def mask_stamp(self, index: int) -> str:
        place = self.places[within(index, len(self))]
        return "" if isinstance(place, str) else self.dataset.mask_stamp(place)

    def digest(self, index: int) -> str:
        place = self.places[within(index, len(self))]
        return WITHDRAWN if isinstance(place, str) else self.dataset.digest(place)

    def _number(self, index: int) -> int:
        place = self.places[within(index, len(self))]
        if isinstance(place, str):
            raise BadSampleError(place, WITHDRAWN)
        return place


def in_stored_places(dataset: Dataset, stored: Samples) -> Dataset:
    """The dataset with a place for every sample that the stored index says is withdrawn; itself where there is none."""
    if not stored.is_withdrawn.any():
        return dataset
    items = stored.item_ids
    withdrawn = {items[place]: place for place in stored.is_withdrawn.nonzero()[0].tolist()}
    owners = [items[item] for item in stored.item_of_caption().tolist()]
    captions = dict.fromkeys(withdrawn, 0)
    for owner in owners:
        if owner in captions:
            captions[owner] += 1
    places: list[int | str] = []
    for number in range(len(dataset)):
        try:
            name = dataset.item(number).id
        except BadSampleError as error:
            name = error.item
        known = withdrawn_id(name)
        places.append(known if known in withdrawn else number)
    still_there = set(places)
    for name, place in withdrawn.items():
        if name not in still_there:
            places.insert(place, name)
    return WithdrawnPlaces(dataset, places, captions)
