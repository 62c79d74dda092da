"""What a task of `read_shards` reads: every row group once, whichever way the files are named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.core import reading


def write(folder: Path, rows: list[int], group: int) -> list[str]:
    paths = []
    for number, count in enumerate(rows):
        paths.append(str(folder / f"train-{number:05d}-of-{len(rows):05d}.parquet"))
        ids = [f"{number}/{row}" for row in range(count)]
        pq.write_table(pa.table({"sample_id": ids, "other": ids}), paths[-1], row_group_size=group)
    return paths


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=3), st.integers(1, 7), st.sampled_from([1, 200, 1 << 20]))
def test_every_row_is_in_one_task(tmp_path_factory, rows: list[int], group: int, block: int) -> None:
    folder = tmp_path_factory.mktemp("shards")
    paths = write(folder, rows, group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "BLOCK_BYTES", block)
        items = [item for file in reading._files(f"{folder}/*.parquet") for item in reading.runs(file)]
    read = [table for item in items for table in reading.read_runs(pa.Table.from_pylist([item]), ["sample_id"])]
    found = [row for table in read for row in table["sample_id"].to_pylist()]
    assert found == [row for path in paths for row in pq.read_table(path)["sample_id"].to_pylist()]
    assert all(table.column_names == ["sample_id"] for table in read)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for path in ("gone.parquet", "*.parquet"):
        with pytest.raises(ValueError, match=r"no such file; give the shards"):
            reading._files(str(tmp_path / path))
