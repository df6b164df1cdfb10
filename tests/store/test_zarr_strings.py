"""The ids of a feature set as bytes: what zarr writes of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from structure.store.arrow_arrays import strings
from structure.store.zarr_strings import string_chunk


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), min_size=1, max_size=20), st.data())
def test_a_chunk_of_texts_is_the_one_that_zarr_writes(ids: list[str], data: st.DataObject) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    documents: dict[str, zarr.core.buffer.Buffer] = {}
    count = len(ids)
    array = zarr.create_array(
        MemoryStore(documents), shape=(count,), chunks=(count,), dtype=str, compressors=[Crc32cCodec()]
    )
    array[:] = np.array(ids, dtype=np.dtypes.StringDType())
    written = documents.get("c/0")
    assert string_chunk(strings(ids)) == (None if written is None else written.to_bytes())
    before = data.draw(st.integers(0, 3))  # texts that begin inside their buffers
    assert string_chunk(strings([*"xyz"[:before], *ids])[before:]) == string_chunk(strings(ids))
