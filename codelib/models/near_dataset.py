"""A dataset, model or adapter that an object store keeps, as a folder of this node (codelib.core.near).

dataset, copies = open_anywhere("s3://bucket/workspace/release")
"""

from __future__ import annotations

from pathlib import Path

from codelib.core.near import Near
from codelib.core.objects import is_object_store
from codelib.core.store import Store
from codelib.models.conversation import DATASET_FILES, Dataset, open_dataset

SHARDS = "parquet"  # the same samples and images once more: nobody here reads them


def open_anywhere(given: str | Path) -> tuple[Dataset, tuple[Near, ...]]:
    """The dataset, and the copies it lies in: none for a folder. Raises ValueError as `open_dataset` does, before anything is copied."""
    if not is_object_store(str(given)):
        return open_dataset(given), ()
    uri = str(given).rstrip("/")
    store = Store(uri)
    if store.is_a_file():
        raise ValueError(f"--dataset {uri}: a file; give the folder of a released dataset")
    if store.exists("INCOMPLETE"):
        raise ValueError(f"--dataset {uri}: its build did not finish; run the same jobs.dataset command again")
    # a workspace holds more than a release, and what its private room holds is copied nowhere
    if DATASET_FILES.isdisjoint(store.top()):
        inner = f"; did you mean {uri}/release?" if store.exists("release/SHA256SUMS") else ""
        raise ValueError(f"--dataset {uri}: not a released dataset{inner}")
    copy = Near.of(uri, skip=(SHARDS,))
    return open_dataset(copy.ensure()), (copy,)


def near_folder(value: str) -> Near | None:
    """The copy of a model or adapter that is named by URI; None for a folder or hub id."""
    return Near.of(value) if is_object_store(value) else None
