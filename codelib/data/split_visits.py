"""What the driver knows of the visits when the split is drawn and audited: columns of keys and counts, and which visits belong together.

TRAITS ─> Visits (sorted by checkup id)      DUPLICATES, COPIES ─> Links (like pictures, like reports) ─> Ties: who stays together
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codelib.contracts import DUPLICATES, SIX_CLASSES, TRAITS
from codelib.core.ahead import read_parts
from codelib.core.stage import Part
from codelib.data.split import SplitAuditSettings, SplitSettings

COLUMNS = tuple(name for name in TRAITS.schema.names if name not in ("sketch", "image_keys"))


@dataclass(frozen=True)
class Visits:
    """The visits that have an image, sorted by checkup id; all arrays are of one length unless said otherwise."""

    position: np.ndarray  # of each in the table they come from
    checkup_id: pa.Array
    visit_key: pa.Array
    patient: np.ndarray  # index into patient_ids
    patient_ids: pa.Array  # sorted
    six_class: np.ndarray  # index into SIX_CLASSES; -1: none
    images: np.ndarray
    eligible: np.ndarray  # photographs and fields enough, whatever the label
    condition_names: tuple[str, ...]  # sorted
    condition_of: np.ndarray  # pairs (visit, condition): the visits, rising
    condition: np.ndarray  # and the indices into condition_names
    picture_of: np.ndarray  # the pictures: index of their visits, rising
    content: np.ndarray
    look: np.ndarray  # 0 where the thumbnail shows nothing
    report: np.ndarray  # hash; 0 where too short to compare

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def of(cls, traits: pa.Table, settings: SplitSettings) -> Visits:
        """From TRAITS (its columns `COLUMNS`)."""
        order = pc.sort_indices(traits["checkup_id"])
        images = pc.add(traits["photographs"], traits["radiographs"])
        order = order.filter(pc.greater(images.take(order), 0))
        table = traits.take(order)
        patients = _one(table["patient_id"])
        ids = pc.unique(patients).sort()
        enough = pc.and_(
            pc.greater_equal(table["photographs"], settings.min_photographs),
            pc.less_equal(table["empty_fields"], settings.max_empty_fields),
        )
        conditions = _one(table["conditions"])
        names = pc.unique(conditions.flatten()).sort()
        pictures = _one(table["contents"])
        long = pc.greater_equal(table["report_chars"], settings.audit.report_min_chars)
        return cls(
            position=order.to_numpy(),
            checkup_id=_one(table["checkup_id"]),
            visit_key=_one(table["visit_key"]),
            patient=pc.index_in(patients, ids).to_numpy(),
            patient_ids=ids,
            six_class=_numpy(pc.fill_null(pc.index_in(table["six_class"], pa.array(SIX_CLASSES)), -1)).astype(np.int8),
            images=_numpy(images.take(order)),
            eligible=_numpy(enough),
            condition_names=tuple(names.to_pylist()),
            condition_of=pc.list_parent_indices(conditions).to_numpy().astype(np.int64),
            condition=pc.index_in(conditions.flatten(), names).to_numpy(),
            picture_of=pc.list_parent_indices(pictures).to_numpy().astype(np.int64),
            content=pictures.flatten().to_numpy(),
            look=pc.fill_null(_one(table["looks"]).flatten(), pa.scalar(0, pa.uint64())).to_numpy(),
            report=_numpy(pc.if_else(long, table["report"], pa.scalar(0, pa.uint64()))),
        )

    def rows_of(self, visit_keys: pa.Array) -> np.ndarray:
        """The index of each visit key; -1 for one that has no image."""
        return np.asarray(pc.fill_null(pc.index_in(visit_keys, self.visit_key), -1).to_numpy())


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numpy(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(_one(column).to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class Links:
    """What visits share. pictures: pairs of visits with a near-duplicate picture. reports: pairs of hashes of nearly equal texts, without
    the stereotypes. stereotypes: hashes of texts that too many patients share."""

    pictures: np.ndarray  # n x 2
    reports: np.ndarray  # n x 2, uint64
    stereotypes: np.ndarray

    @classmethod
    def of(cls, visits: Visits, near: pa.Table, copies: pa.Table, settings: SplitAuditSettings) -> Links:
        """near: columns visit_key and other_visit_key. copies: COPIES."""
        pairs = np.stack([visits.rows_of(_one(near[name])) for name in ("visit_key", "other_visit_key")], axis=1)
        pairs = pairs[(pairs >= 0).all(axis=1)]
        texts = np.stack([_numpy(copies[name]) for name in ("report", "other")], axis=1).astype(np.uint64)
        texts = texts[np.isin(texts, visits.report).all(axis=1)]
        many = _shared_by_many(visits, texts, settings.report_max_patients)
        return cls(np.unique(pairs, axis=0), texts[~np.isin(texts, many).any(axis=1)], many)

    def compared(self, visits: Visits) -> np.ndarray:
        """The report of each visit; 0 where it is no sign of a copy."""
        return np.where(np.isin(visits.report, self.stereotypes), np.uint64(0), visits.report)


def _shared_by_many(visits: Visits, near: np.ndarray, most: int) -> np.ndarray:
    """Hashes of the texts that stand, or nearly stand, in the records of more than ``most`` patients."""
    written = visits.report != 0
    own = np.unique(np.stack([visits.report[written], visits.patient[written].astype(np.uint64)], axis=1), axis=0)
    starts = np.searchsorted(own[:, 0], near), np.searchsorted(own[:, 0], near, side="right")
    pairs = [own]
    for text, other in ((0, 1), (1, 0)):  # whoever wrote the other text nearly wrote this one
        counts = np.minimum(starts[1][:, other] - starts[0][:, other], most + 1)
        at = np.repeat(starts[0][:, other] - np.r_[0, np.cumsum(counts)[:-1]], counts) + np.arange(counts.sum())
        pairs.append(np.stack([np.repeat(near[:, text], counts), own[at, 1]], axis=1))
    texts, patients = np.unique(np.unique(np.concatenate(pairs), axis=0)[:, 0], return_counts=True)
    return np.asarray(texts[patients > most])


@dataclass(frozen=True)
class Ties:
    """Sets of visits that belong on one side, as pairs (tie, visit): those of a patient, those that share a picture or a report."""

    tie: np.ndarray
    visit: np.ndarray
    patients: int  # ties below this number are patients

    @classmethod
    def of(cls, visits: Visits, links: Links, unit: str) -> Ties:
        """unit: patient | checkup. Sets of one visit tie nothing and are left out."""
        found = [repeated(visits.patient, np.arange(len(visits)))] if unit == "patient" else []
        patients = int(found[0][0].max(initial=-1)) + 1 if found else 0
        for keys in (visits.content, visits.look):
            found.append(repeated(keys[keys != 0], visits.picture_of[keys != 0]))
        numbers = np.arange(len(links.pictures))
        found.append((np.repeat(numbers, 2), links.pictures.ravel()))
        reports = links.compared(visits)
        rows = np.flatnonzero(reports)
        found.append(repeated(reports[rows], rows))
        found.append(_like_reports(reports[rows], rows, links.reports))
        offsets = np.cumsum([0, *(int(tie.max(initial=-1)) + 1 for tie, _ in found)])
        tie = np.concatenate([tie + offset for (tie, _), offset in zip(found, offsets[:-1], strict=True)])
        return cls(tie.astype(np.int64), np.concatenate([visit for _, visit in found]).astype(np.int64), patients)

    def groups(self, size: int, among: np.ndarray | None = None) -> np.ndarray:
        """For each visit the first one that it is tied to, over any number of ties; among: only through these visits (a mask)."""
        tie, visit = self.tie, self.visit
        if among is not None:
            tie, visit = tie[among[visit]], visit[among[visit]]
        _, first, of = np.unique(tie, return_index=True, return_inverse=True)
        return components(size, np.stack([visit, visit[first[of]]], axis=1))


def repeated(keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (number of the key, row) for the keys that occur again. Most do not: they are sorted, and not carried along."""
    ordered = np.sort(keys)
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(again):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(again, keys), len(again) - 1)
    found = again[at] == keys
    return at[found], rows[found]


def _like_reports(reports: np.ndarray, rows: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (number of the pair of texts, visit that has one of the two)."""
    order = np.argsort(reports, kind="stable")
    starts, ends = (np.searchsorted(reports[order], pairs.ravel(), side=side) for side in ("left", "right"))
    counts = ends - starts
    at = np.repeat(starts - np.r_[0, np.cumsum(counts)][:-1], counts) + np.arange(counts.sum())
    return np.repeat(np.repeat(np.arange(len(pairs)), 2), counts), rows[order[at]]


def components(size: int, edges: np.ndarray) -> np.ndarray:
    """For each node the smallest one that it is joined with. Hooking to the smallest neighbour, then pointer jumping (Shiloach and
    Vishkin 1982): a number of rounds that grows with the logarithm of the size."""
    label = np.arange(size)
    while len(edges):
        ends = label[edges]
        edges = edges[ends[:, 0] != ends[:, 1]]  # joined already
        ends = ends[ends[:, 0] != ends[:, 1]]
        least = ends.min(axis=1)
        np.minimum.at(label, ends[:, 0], least)
        np.minimum.at(label, ends[:, 1], least)
        while not np.array_equal(label, above := label[label]):
            label = above
    return label


# reading


def read_traits(parts: Sequence[Part]) -> tuple[pa.Table, list[int]]:
    """`COLUMNS` of all visits, and how many of them each partition has."""
    tables = list(read_parts(parts, COLUMNS))
    return pa.concat_tables(tables or [TRAITS.schema.empty_table().select(COLUMNS)]), [t.num_rows for t in tables]


def read_near(pairs: Sequence[Part], traits: Sequence[Part]) -> pa.Table:
    """Columns visit_key, other_visit_key: the near-duplicates of which both pictures can be released."""
    names = ["image_key", "other_key", "visit_key", "other_visit_key"]
    table = pa.concat_tables([DUPLICATES.schema.empty_table().select(names), *read_parts(pairs, names)])
    if table.num_rows:
        asked = pc.unique(pa.chunked_array([*table["image_key"].chunks, *table["other_key"].chunks]))
        there = []
        for part in read_parts(traits, ["visit_key", "image_keys"]):  # a partition at a time: there are several pictures a visit
            keys = part["image_keys"].combine_chunks().flatten()
            there.append(keys.filter(pc.is_in(keys, asked)))
        released = pa.concat_arrays(there)
        table = table.filter(pc.and_(pc.is_in(table["image_key"], released), pc.is_in(table["other_key"], released)))
    return table.select(["visit_key", "other_visit_key"])
