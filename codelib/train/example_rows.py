"""The rows of the token-ready shards, found by sample id and read one by one.

parts ── their narrow columns ──> ids, lengths (a few numbers a sample, in memory) ──> Rows.read(index): one row group of one shard
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codelib.contracts import OK
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.train.examples import ROW_GROUP_ROWS

_NARROW = ("sample_id", "visual_tokens", "text_tokens", "answer_tokens", "status")
_ROW = (
    "sample_id", "input_ids", "answer_starts", "answer_ends", "images", "image_sha256", "image_bytes", "image_tokens"
)  # fmt: skip
_OPEN_FILES = 64


@dataclass
class Rows:
    """Fit samples, numbered from 0. ``parts``: shards; or ``table``: the same in memory."""

    parts: tuple[Part, ...]
    table: pa.Table | None
    sample_ids: tuple[str, ...]
    part: np.ndarray  # of each sample: its shard, and its row there
    row: np.ndarray
    visual_tokens: np.ndarray
    text_tokens: np.ndarray
    answer_tokens: np.ndarray
    _files: dict[int, pq.ParquetFile] = field(default_factory=dict, repr=False)

    @classmethod
    def of_parts(cls, parts: Sequence[Part]) -> Rows:
        tables = [Store(part.root).read_table(part.name, _NARROW) for part in parts]
        return cls._of(tables, tuple(parts), None)

    @classmethod
    def of_table(cls, table: pa.Table) -> Rows:
        return cls._of([table.select(_NARROW)], (), table)

    @classmethod
    def _of(cls, tables: Sequence[pa.Table], parts: tuple[Part, ...], table: pa.Table | None) -> Rows:
        part = np.concatenate([np.full(one.num_rows, number) for number, one in enumerate(tables)])
        row = np.concatenate([np.arange(one.num_rows) for one in tables])
        joined = pa.concat_tables(tables)
        fit = np.array([status == OK for status in joined["status"].to_pylist()], bool)
        ids = tuple(name for name, is_fit in zip(joined["sample_id"].to_pylist(), fit, strict=True) if is_fit)
        visual, text, answer = (
            joined[name].fill_null(0).to_numpy()[fit].astype(np.int64)
            for name in ("visual_tokens", "text_tokens", "answer_tokens")
        )
        return cls(parts, table, ids, part[fit], row[fit], visual, text, answer)

    @cached_property
    def index(self) -> dict[str, int]:
        return {sample_id: index for index, sample_id in enumerate(self.sample_ids)}

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sample."""
        return self.visual_tokens + self.text_tokens

    def only(self, sample_ids: Sequence[str]) -> Rows:
        """These samples, in this order. Raises ValueError where one is not there."""
        missing = [sample_id for sample_id in sample_ids if sample_id not in self.index]
        if missing:
            raise ValueError(f"{len(missing)} samples are not in the shards, the first {missing[0]}; run the same command again")
        chosen = np.array([self.index[sample_id] for sample_id in sample_ids], np.int64)
        part, row = self.part[chosen], self.row[chosen]
        visual, text, answer = self.visual_tokens[chosen], self.text_tokens[chosen], self.answer_tokens[chosen]
        return Rows(self.parts, self.table, tuple(sample_ids), part, row, visual, text, answer)

    def read(self, index: int) -> dict[str, Any]:
        """One sample's row: ids, answers, images."""
        row = int(self.row[index])
        if self.table is not None:
            return self.table.slice(row, 1).select(_ROW).to_pylist()[0]
        group, place = divmod(row, ROW_GROUP_ROWS)
        table = self._file(int(self.part[index])).read_row_group(group, columns=list(_ROW), use_threads=False)
        return table.slice(place, 1).to_pylist()[0]

    def _file(self, number: int) -> pq.ParquetFile:
        if number not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            part = self.parts[number]
            self._files[number] = pq.ParquetFile(Store(part.root).open(part.name))
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "index"} | {"_files": {}}
