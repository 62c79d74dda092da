"""Parquet shards with the images' bytes embedded: what a machine reads fastest.

    conversations + sizes of images ──weigh (sorted runs)──> samples ──ordering──> pieces in the order of shards
    pieces ──plan (columns on the driver)──> runs of ids ──shard (in parallel)──> parquet/<config>/<split>-*.parquet

Shards of a split carry the same number of visual tokens, give or take one sample: ranks of a training run that take one shard each finish
together. A sample's place depends on ids and sizes alone, so the bytes are the same on any number of workers.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codelib.contracts import CONVERSATIONS, MESSAGE, OK, Contract
from codelib.core.stage import Part, Work, read_part
from codelib.core.store import Store
from codelib.data.ordering import PLACE, by_partition, place
from codelib.models.prompt import PixelPolicy, visual_tokens

SHARD_TOKENS = 2_000_000  # about 10,000 images of 448 x 336 px: some 350 MB, what the Hub and an object store like best
SHARD_SAMPLES = 20_000  # where there are few images, or none
SHARD_BYTES = 1 << 30  # of foreign images, which may be far larger than what a model sees of them
ROW_GROUP_BYTES = 16 << 20  # a reader holds one at a time; some 70 samples, and few requests for each gigabyte

SHARDS = Contract(
    "shards",
    1,
    ("path",),
    pa.schema(
        [
            ("path", pa.string()),
            ("sha256", pa.string()),
            ("size_bytes", pa.int64()),
            ("samples", pa.int64()),
            ("visual_tokens", pa.int64()),  # as planned
        ]
    ),
)
SAMPLES = Contract(
    "samples", 1, (PLACE,), pa.schema([(PLACE, pa.string()), ("visual_tokens", pa.int64()), *CONVERSATIONS.schema])
)
"""Conversations in the order of shards (task, split, id), and what each weighs."""
SIZES = pa.schema(
    [
        ("config", pa.string()),
        ("split", pa.string()),
        ("sample_id", pa.string()),
        ("visual_tokens", pa.int64()),
        ("size_bytes", pa.int64()),  # of the images; 0 where all are small
        ("part", pa.int32()),  # which partition holds the sample
    ]
)
"""What the plan knows of a sample. Columns, never a tuple a sample: a million visits give four million of them."""

_STRING, _BOOL = ({"dtype": name, "_type": "Value"} for name in ("string", "bool"))
_FEATURES = {  # so that `datasets` decodes the images without being told
    "sample_id": _STRING,
    "checkup_id": _STRING,
    "language": _STRING,
    "names_label": _BOOL,
    "spectrum": _STRING,
    "conditions": {"feature": _STRING, "_type": "List"},
    "messages": {"feature": {"role": _STRING, "content": _STRING}, "_type": "List"},
    "images": {"feature": {"_type": "Image"}, "_type": "List"},
}
SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("checkup_id", pa.string()),
        ("language", pa.string()),
        ("names_label", pa.bool_()),
        ("spectrum", pa.string()),  # the visit's side in the multi-label split; null in an import
        ("conditions", pa.list_(pa.string())),  # and its labels there
        ("messages", pa.list_(MESSAGE)),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
_WORDS = (
    "checkup_id",
    "language",
    "spectrum",
    "conditions.list.element",
    "messages.list.element.role",
    "messages.list.element.content",
)


# plan


@cache
def image_tokens(width: int, height: int) -> int:
    """Visual tokens of Qwen2.5-VL for an image of this size under the default pixel policy; 1 where the model would refuse its shape."""
    try:
        return visual_tokens(width, height, PixelPolicy())
    except ValueError:  # longer than 200 times its width: it weighs nothing here, and whoever asks the model is told
        return 1


def weigh(*inputs: Any) -> pa.Table:
    """SAMPLES of some partitions, in order. inputs: `ordering.runs_work` of conversations, images and split. No pixel is read."""
    tables = [_weighed(*parts) for parts in by_partition(inputs)]
    return pa.concat_tables(tables).sort_by(PLACE).combine_chunks()


def _weighed(samples: Part, images: Part, split: Part) -> pa.Table:
    rows = read_part(samples, ok_only=True)
    visits = read_part(split, ["checkup_id", "visit_key", "status"], ok_only=True).combine_chunks()
    pictures = read_part(images, ["visit_key", "ordinal", "width", "height", "status"], ok_only=True).combine_chunks()
    total = _tokens(rows["images"].combine_chunks(), visits, pictures)
    ids = zip(*(rows[name].to_pylist() for name in ("task", "split", "sample_id")), strict=True)
    columns = {PLACE: pa.array([place(*one) for one in ids], pa.string()), "visual_tokens": pa.array(total)}
    return pa.table([columns[name] if name in columns else rows[name] for name in SAMPLES.schema.names], schema=SAMPLES.schema)


def _tokens(paths: pa.ListArray, visits: pa.Table, pictures: pa.Table) -> np.ndarray:
    """Visual tokens of each sample, given its images' paths."""
    checkup = visits["checkup_id"].combine_chunks().take(pc.index_in(pictures["visit_key"], visits["visit_key"]).combine_chunks())
    ordinal = pc.utf8_lpad(pictures["ordinal"].combine_chunks().cast(pa.string()), 2, "0")
    released = pc.binary_join_element_wise(checkup, ordinal, "-")
    asked = pc.replace_substring_regex(pc.list_flatten(paths), r"^.*/([^/]*)\.jpg$", r"\1")
    found = pc.index_in(asked, value_set=released)
    assert found.null_count == 0, f"{found.null_count} images of the conversations are not in the images table"
    tokens = np.array(
        [image_tokens(*pair) for pair in zip(pictures["width"].to_pylist(), pictures["height"].to_pylist(), strict=True)],
        np.int64,
    )
    each = tokens[found.to_numpy(zero_copy_only=False).astype(np.int64)]
    return np.bincount(pc.list_parent_indices(paths).to_numpy(), each, len(paths)).astype(np.int64)


def size_table(config: Any, split: Any, sample_id: Any, tokens: np.ndarray, size_bytes: np.ndarray, index: int) -> pa.Table:
    part = np.full(len(tokens), index, np.int32)
    return pa.table([config, split, sample_id, pa.array(tokens), pa.array(size_bytes), pa.array(part)], schema=SIZES)


def shard_work(samples: Sequence[Part]) -> list[Work]:
    """The shards of SAMPLES that follow one another from part to part: a shard lies in few of them."""
    found = [_sizes(part, index) for index, part in enumerate(samples)]
    return plan(pa.concat_tables(found) if found else SIZES.empty_table(), samples)


def _sizes(part: Part, index: int) -> pa.Table:
    rows = read_part(part, ["task", "split", "sample_id", "visual_tokens"])
    none = np.zeros(rows.num_rows, np.int64)
    return size_table(rows["task"], rows["split"], rows["sample_id"], rows["visual_tokens"].to_numpy(), none, index)


def plan(table: pa.Table, parts: Sequence[Part]) -> list[Work]:
    """Cut each config and split, in the order of ids, into shards of equal visual tokens. A shard is named by its first and last id: the
    list of its ids would bring every sample to the driver a second time."""
    table = table.sort_by([("config", "ascending"), ("split", "ascending"), ("sample_id", "ascending")]).combine_chunks()
    work: list[Work] = []
    groups = table.group_by(["config", "split"], use_threads=False).aggregate([([], "count_all")])
    start = 0
    for config, side, count in zip(*(groups[name].to_pylist() for name in ("config", "split", "count_all")), strict=True):
        work += _cut(config, side, table.slice(start, count), parts)
        start += count
    return work


def _cut(config: str, side: str, rows: pa.Table, parts: Sequence[Part]) -> list[Work]:
    tokens, index = rows["visual_tokens"].to_numpy(), rows["part"].to_numpy()
    wanted = (
        (int(tokens.sum()), SHARD_TOKENS),
        (rows.num_rows, SHARD_SAMPLES),
        (int(pc.sum(rows["size_bytes"]).as_py()), SHARD_BYTES),
    )
    edges = edges_of(tokens, max(1, *(-(-total // most) for total, most in wanted)))
    work = []
    for number, (first, stop) in enumerate(pairwise(edges)):
        extra = {
            "path": f"parquet/{config}/{side}-{number:05d}-of-{len(edges) - 1:05d}.parquet",
            "config": config,
            "split": side,
            "first": rows["sample_id"][first].as_py(),
            "last": rows["sample_id"][stop - 1].as_py(),
            "samples": int(stop - first),
            "visual_tokens": int(tokens[first:stop].sum()),
        }
        work.append(Work(tuple(parts[i] for i in np.unique(index[first:stop])), extra))
    return work


def edges_of(tokens: np.ndarray, num_shards: int) -> list[int]:
    """Where to cut a row of samples into (at most) ``num_shards`` runs of equal tokens: [0, …, len]. A sample lies in the shard that holds its
    middle, so that no shard is further from the mean than one sample. [5, 5, 5, 5] in 2 -> [0, 2, 4]."""
    weight = tokens + 1  # a sample without an image is not free
    middle = 2 * np.cumsum(weight) - weight
    shard_of = middle * num_shards // (2 * int(weight.sum()))
    return [0, *(np.flatnonzero(np.diff(shard_of)) + 1).tolist(), len(tokens)]


# writing


def shard(*parts: Any, release: Store, config: str = "task", read: Callable[[str], bytes] | None = None) -> pa.Table:
    """One shard, streamed into the release row group by row group. Arguments: the partitions that hold its samples (lazily), and its Work's
    extra. config: the column that names the config; read: an image's bytes by its path (default: the release's own)."""
    *given, extra = parts
    rows = pa.concat_tables([rows_between(part, config, extra) for part in given]).sort_by("sample_id")
    assert rows.num_rows == extra["samples"], f"{rows.num_rows} samples where {extra['samples']} were planned"
    return write_shard(rows, read or release.read, release, extra)


def write_shard(rows: pa.Table, read: Callable[[str], bytes], release: Store, extra: dict[str, Any]) -> pa.Table:
    """Commit a shard of these samples; ``read`` gives an image's bytes by the path in their ``images``. Returns SHARDS."""
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for chunk in parquet_stream(rows, read):
            size += len(chunk)
            yield chunk

    digest = release.commit_stream(extra["path"], counted())
    row = {"path": extra["path"], "sha256": digest, "size_bytes": size, "samples": rows.num_rows}
    return pa.Table.from_pylist([row | {"visual_tokens": extra["visual_tokens"]}], schema=SHARDS.schema)


def rows_between(part: Part, config: str, extra: dict[str, Any]) -> pa.Table:
    """The samples of a shard that lie in one partition; only the row groups whose ids may be among them are read."""
    columns = [*SCHEMA.names, config, "split", "status"]
    with Store(part.root).open(part.name) as source:
        file = pq.ParquetFile(source)
        where = file.schema_arrow.get_field_index("sample_id")
        wanted = [
            group
            for group in range(file.num_row_groups)
            if _may_hold(_leaf(file.metadata.row_group(group), "sample_id").statistics, extra)
        ]
        assert where >= 0
        table = file.read_row_groups(wanted, columns, use_threads=False)
    inside = pc.and_(
        pc.and_(pc.greater_equal(table["sample_id"], extra["first"]), pc.less_equal(table["sample_id"], extra["last"])),
        pc.and_(pc.equal(table[config], extra["config"]), pc.equal(table["split"], extra["split"])),
    )
    return table.filter(pc.and_(inside, pc.equal(table["status"], OK)))


def _leaf(group: Any, name: str) -> Any:
    return next(c for c in (group.column(i) for i in range(group.num_columns)) if c.path_in_schema == name)


def _may_hold(statistics: Any, extra: dict[str, Any]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= extra["last"] and extra["first"] <= statistics.max)


class _Pipe(io.RawIOBase):
    """What a Parquet writer writes into, taken out piece by piece."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def write(self, data: Any) -> int:
        self.held.append(bytes(data))
        self.position += len(self.held[-1])
        return len(self.held[-1])

    def take(self) -> bytes:
        taken = b"".join(self.held)
        self.held.clear()
        return taken


def parquet_stream(rows: pa.Table, read: Callable[[str], bytes]) -> Iterator[bytes]:
    """The shard's bytes. Rows: SCHEMA's columns, with the images as paths. One row group is held at a time."""
    pipe = _Pipe()
    writer = pq.ParquetWriter(
        pipe,
        SCHEMA,
        # a JPEG does not get smaller, nor does it occur twice: its pages are copied as they are, on writing and on reading
        compression={
            **dict.fromkeys(("sample_id", *_WORDS), "zstd"),
            "names_label": "none",
            **dict.fromkeys(_IMAGE_LEAVES, "none"),
        },
        use_dictionary=list(_WORDS),
        write_statistics=["sample_id", "checkup_id"],
    )
    for group in _row_groups(rows, read):
        writer.write_table(group, row_group_size=group.num_rows)
        yield pipe.take()
    writer.close()
    yield pipe.take()


_IMAGE_LEAVES = ("images.list.element.bytes", "images.list.element.path")


def _row_groups(rows: pa.Table, read: Callable[[str], bytes]) -> Iterator[pa.Table]:
    """Tables of SCHEMA of about ROW_GROUP_BYTES, at least one row each."""
    held: list[list[dict[str, Any]]] = []
    start = size = 0
    for index, paths in enumerate(rows["images"]):
        pictures = [{"bytes": read(path), "path": path} for path in paths.as_py()]
        held.append(pictures)
        size += sum(len(picture["bytes"]) for picture in pictures) + _TEXT_BYTES
        if size >= ROW_GROUP_BYTES or index == rows.num_rows - 1:
            group = rows.slice(start, len(held)).select(SCHEMA.names)
            images = pa.array(held, SCHEMA.field("images").type)
            yield group.set_column(SCHEMA.get_field_index("images"), SCHEMA.field("images"), images).cast(SCHEMA)
            start, size, held = index + 1, 0, []


_TEXT_BYTES = 2048  # of a sample, about: where there are no images
