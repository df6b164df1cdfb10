"""Arrays, shards and manifests: named layers under a fingerprint. Knows no encoder, no torch, no command line."""

from structure.store.column_layout import Column
from structure.store.errors import StructureError
from structure.store.feature_set import FeatureSet
from structure.store.joined_rows import JoinedRows
from structure.store.lazy_rows import Rows
from structure.store.manifest import Manifest
from structure.store.sample_table import SampleItem, Samples
from structure.store.shard_ranges import Shard
from structure.store.store import Store, open_store
from structure.store.tokens_in_memory import Tokens

__all__ = [
    "Column",
    "FeatureSet",
    "JoinedRows",
    "Manifest",
    "Rows",
    "SampleItem",
    "Samples",
    "Shard",
    "Store",
    "StructureError",
    "Tokens",
    "open_store",
]
