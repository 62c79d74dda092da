"""Traits: of every visit the keys, counts and hashes that the split is drawn and audited by, a partition at a time.

annotated ─┬─ class, conditions, empty fields, hash and sketch of the report ─┬─> TRAITS (private)
images ────┴─ chosen: which can be released; hashes of what they show ────────┘
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

from codelib.contracts import TRAITS
from codelib.data.split_reports import hash64, normalised, sketch
from codelib.imaging.likeness import HASH_BYTES
from codelib.models.words import SECTIONS

REPORT_FIELDS = tuple(f"{name}_cn" for name in SECTIONS)  # as the clinic wrote them: a translation may differ from copy to copy
ANNOTATED_COLUMNS = ("checkup_id", "patient_id", "visit_key", "six_class", "diseases", *REPORT_FIELDS, "status")
IMAGE_COLUMNS = ("image_key", "picture_key", "likeness", "visit_key", "status")
CHOSEN_COLUMNS = ("image_key", "visit_key", "kind", "status")
_FLAT_LEVELS = 8  # grey levels of a thumbnail that shows nothing: two black radiographs are no leak


def traits(annotated: pa.Table, images: pa.Table, chosen: pa.Table) -> pa.Table:
    """ANNOTATED, IMAGES and CHOSEN of one partition, ok rows -> TRAITS, in the order of ``annotated``."""
    shown = {row["image_key"]: row for row in images.select(["image_key", "picture_key", "likeness"]).to_pylist()}
    by_visit: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in chosen.to_pylist():
        by_visit[row["visit_key"]].append(row)
    rows = [_traits(visit, by_visit[visit["visit_key"]], shown) for visit in annotated.to_pylist()]
    return pa.Table.from_pylist(rows, schema=TRAITS.schema)


def _traits(visit: dict[str, Any], pictures: list[dict[str, Any]], shown: dict[str, dict[str, Any]]) -> dict[str, Any]:
    texts = [normalised(visit[name] or "") for name in REPORT_FIELDS]
    report = "".join(texts)
    pictures = sorted(pictures, key=lambda p: p["image_key"])
    present = [d["en"] or d["zh"] for d in visit["diseases"] if d["status"] == "present"]
    return {
        **{name: visit[name] for name in ("checkup_id", "patient_id", "visit_key", "six_class")},
        "conditions": list(dict.fromkeys(present)),
        "photographs": sum(p["kind"] == "photograph" for p in pictures),
        "radiographs": sum(p["kind"] == "radiograph" for p in pictures),
        "image_keys": [p["image_key"] for p in pictures],
        "contents": [hash64(shown[p["image_key"]]["picture_key"]) for p in pictures],
        "looks": [_look(shown[p["image_key"]]["likeness"]) for p in pictures],
        "empty_fields": sum(not text for text in texts),
        "report_chars": len(report),
        "report": hash64(report),
        "sketch": sketch(report),
    }


def _look(likeness: bytes | None) -> int | None:
    """Equal for pictures with one thumbnail, whatever files they come from; None where the thumbnail shows nothing."""
    if not likeness:
        return None
    grey = np.frombuffer(likeness, np.uint8, offset=HASH_BYTES + 2)
    if int(grey.max()) - int(grey.min()) < _FLAT_LEVELS:
        return None
    return int.from_bytes(hashlib.sha256(likeness).digest()[:8], "big")
