"""A clinic of any size that lies nowhere, and the stages of the dataset with what costs most per visit taken out: for `simulate`.

    Export: a listing and sheets, made when they are asked for      ──> ingest, records               as they are
    pixels: one small JPEG by reference, random likenesses           ──> images                        replaced
    text:   400 visits through the real stages once, then their rows ──> text … annotated              replaced
    everything else (duplicates, codes, split, ledger, release)                                       as it is
    Images/: hard links to that JPEG in place of a file each         ──> published                     real, without its bytes

What is taken out is counted (visits, images, pairs of pictures) and its measured cost added up by `simulate`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from codelib.contracts import ANNOTATED, BILINGUAL, DEIDENTIFIED, IMAGES, OK, TEXT, TEXT_FIELDS
from codelib.core.stage import Stage
from codelib.core.store import Store
from codelib.data import duplicate_search
from codelib.data.export import SHEET_FOLDER, SHEET_NAME, patient_number
from codelib.data.images import image_key
from codelib.data.stages import Stages
from codelib.data.vault import Secret
from tests.benchmarks.synthetic_text import FIELD_OF, clinic, records_table

POOL = 400  # visits whose text is real
VISITS_A_PATIENT, PHOTOGRAPHS, RADIOGRAPHS = 2, 5, 1  # six images a visit; the paper has 6.6
_KEYS = ("checkup_id", "patient_id", "visit_key", "checkup_time", "age", "gender")
_LINKS = 60_000  # of one file: ext4 allows 65,000
_THUMB = (64, 48)
_HEADERS = {field: header for header, field in FIELD_OF.items()}


# the export


@dataclass(frozen=True)
class Clinic:
    """visits in batches of ``batch_visits``, in whole patients. texts: where `prepare` put the rows of the pool."""

    visits: int
    batch_visits: int
    texts: str

    def batches(self) -> list[str]:
        return [f"batch-{n:05d}" for n in range(-(-self.visits // self.batch_visits))]

    def of(self, batch: str) -> range:
        number = int(batch.rpartition("-")[2])
        return range(number * self.batch_visits, min(self.visits, (number + 1) * self.batch_visits))

    @staticmethod
    def place(visit: int) -> tuple[str, str]:
        """Patient and time of a visit; the minute alone makes it one."""
        day = visit * 7919 % 3650
        return (
            f"{visit // VISITS_A_PATIENT:08d}",
            f"{2014 + day // 365}-{1 + day % 12:02d}-{1 + visit % 28:02d} {8 + visit % 2}.30",
        )


class Export(Store):
    """A Store whose files are made when they are asked for."""

    def __init__(self, clinic: Clinic) -> None:
        super().__init__("simulated://clinic")
        object.__setattr__(self, "clinic", clinic)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Export, (self.clinic,))  # type: ignore[attr-defined]

    def _open(self) -> tuple[Any, str]:
        return _Files(self.clinic), "clinic"  # type: ignore[attr-defined]


class _Files:
    """As much of fsspec's interface as the listing and the reading of sheets ask for."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic

    def exists(self, path: str) -> bool:
        return True

    def isfile(self, path: str) -> bool:
        return False

    def isdir(self, path: str) -> bool:
        return True

    def ls(self, path: str, detail: bool = True) -> list[Any]:
        names = self.clinic.batches() if path == "clinic" else [SHEET_FOLDER]
        return [{"name": f"{path}/{name}", "type": "directory"} if detail else f"{path}/{name}" for name in names]

    def find(self, base: str, withdirs: bool = False, detail: bool = False) -> dict[str, dict[str, Any]]:
        folder = {"type": "directory", "size": 0}
        found = {f"{base}/{SHEET_FOLDER}": folder, f"{base}/{SHEET_FOLDER}/{SHEET_NAME}.jsonl": _file(1)}
        for visit in self.clinic.of(base.rpartition("/")[2]):
            patient, time = self.clinic.place(visit)
            where = f"{base}/患者{patient}-40-女"
            found[where] = found[f"{where}/{time}"] = folder
            for kind, count in (("照片", PHOTOGRAPHS), ("X片", RADIOGRAPHS)):
                found[f"{where}/{time}/{kind}"] = folder
                for n in range(count):
                    found[f"{where}/{time}/{kind}/DSC{visit:07d}{n}.JPG"] = _file(6_000_000)
        return found

    def cat_file(self, path: str) -> bytes:
        rows = _pool(self.clinic.texts, "records").to_pylist()
        lines = []
        for visit in self.clinic.of(path.split("/")[1]):
            patient, time = self.clinic.place(visit)
            row = rows[visit % len(rows)]
            said = {_HEADERS[name]: row[name] for name in TEXT_FIELDS if row[name]}
            known = {"患者": patient, "时间": time.replace(".", ":"), "年龄": "40", "性别": "女", "姓名": f"甲{patient}"}
            lines.append(json.dumps(known | {"医生": f"乙{visit % 9}"} | said, ensure_ascii=False))
        return "\n".join(lines).encode()


def _file(size: int) -> dict[str, Any]:
    return {"type": "file", "size": size, "mtime": 1.0}


# what the text stages would say


def prepare(stages: Stages, folder: str) -> None:
    """The pool's rows as each text stage makes them, ok rows alone, committed in a folder."""
    assert stages.text.fn and stages.deidentified.fn and stages.bilingual.fn and stages.annotated.fn
    store = Store(folder)
    records = records_table([row | {"identifiers": []} for row, _ in clinic("train", POOL)])
    text = stages.text.fn(records)
    codes = [[key, f"{n:04d}-001", f"{n:04d}", 0] for n, key in enumerate(text["visit_key"].to_pylist())]
    clean = stages.deidentified.fn(text, codes)
    clean = clean.filter(pc.equal(clean["status"], OK))
    both = stages.bilingual.fn(clean)
    labelled = stages.annotated.fn(both)
    labelled = labelled.filter(pc.equal(labelled["status"], OK))
    kept = labelled["visit_key"].combine_chunks()
    for name, table in (
        ("records", records),
        ("text", text),
        ("deidentified", clean),
        ("bilingual", both),
        ("annotated", labelled),
    ):
        order = pc.index_in(kept, table["visit_key"].combine_chunks())
        store.commit_table(f"{name}.parquet", table.take(order))


@lru_cache(maxsize=8)
def _pool(folder: str, name: str) -> pa.Table:
    return Store(folder).read_table(f"{name}.parquet").combine_chunks()


def _rows_for(folder: str, name: str, visit_keys: pa.ChunkedArray) -> pa.Table:
    """A row of the pool for each visit, the same one in every stage."""
    pool = _pool(folder, name)
    return pool.take(pa.array([int(key[:8], 16) % pool.num_rows for key in visit_keys.to_pylist()], pa.int64()))


def _with(table: pa.Table, columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    return pa.table([columns.get(name, table[name]) for name in schema.names], schema=schema)


def _text(folder: str, table: pa.Table, extra: Any = None) -> pa.Table:
    keys = {name: table[name] for name in ("visit_key", "patient", "checkup_time", "age", "gender", "identifiers")}
    return _with(_rows_for(folder, "text", table["visit_key"]), keys, TEXT.schema)


def _deidentified(folder: str, table: pa.Table, extra: list[list[Any]]) -> pa.Table:
    codes = {row[0]: row for row in extra}
    ids = [codes[key] for key in table["visit_key"].to_pylist()]
    keys = {name: table[name] for name in ("visit_key", "checkup_time", "age", "gender")}
    keys |= {"checkup_id": pa.array([row[1] for row in ids]), "patient_id": pa.array([row[2] for row in ids])}
    return _with(_rows_for(folder, "deidentified", table["visit_key"]), keys, DEIDENTIFIED.schema)


def _bilingual(folder: str, table: pa.Table, extra: Any = None) -> pa.Table:
    return _with(_rows_for(folder, "bilingual", table["visit_key"]), {name: table[name] for name in _KEYS}, BILINGUAL.schema)


def _annotated(folder: str, table: pa.Table, extra: Any = None) -> pa.Table:
    rows = _rows_for(folder, "annotated", table["visit_key"])
    own = pa.array(
        [_own_words(key) for key in table["visit_key"].to_pylist()]
    )  # else the clinic has 400 reports, all of them copies
    more = pc.binary_join_element_wise(rows["examination_cn"].combine_chunks(), own, "")
    return _with(rows, {name: table[name] for name in _KEYS} | {"examination_cn": more}, ANNOTATED.schema)


def _own_words(key: str) -> str:
    """80 characters that no other visit has."""
    return "".join(chr(0x4E00 + byte) for byte in hashlib.shake_128(key.encode()).digest(80))


# pictures


@lru_cache(maxsize=1)
def jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("L", (16, 16), 120).save(out, "JPEG", quality=30)  # its bytes are counted, its size is told
    return out.getvalue()


def _images(secret: Secret, table: pa.Table, extra: Any = None) -> pa.Table:
    """IMAGES: a row a file, all of them ok, with keys and likenesses of their own and the pixels of one."""
    keyed = secret.load()
    columns: dict[str, list[Any]] = {name: [] for name in IMAGES.schema.names}
    for visit in table.select(["visit_key", "patient", "checkup_time", "files", "status"]).to_pylist():
        patient = keyed.text("patient-key", patient_number(visit["patient"] or ""))
        for ordinal, file in enumerate(sorted(visit["files"], key=lambda f: (f["kind"] != "radiograph", f["path"])), 1):
            key = image_key(keyed, file["path"])
            values = {
                "image_key": key,
                "visit_key": visit["visit_key"],
                "sources": [key],
                "part": "",
                "kind": file["kind"],
                "ordinal": ordinal,
                "patient_key": patient,
                "checkup_time": visit["checkup_time"],
                "picture_key": keyed.text("picture", file["path"]),
                "width": 448,
                "height": 336,
                "likeness": _likeness(key),
                "pixels": jpeg(),
                "status": OK,
            }
            for name, column in columns.items():
                column.append(values.get(name))
    return pa.table([pa.array(columns[f.name], f.type) for f in IMAGES.schema], schema=IMAGES.schema)


def _likeness(key: str) -> bytes:
    """A random hash (real ones are less evenly spread) and a thumbnail of random blocks, of the size of a real one."""
    rng = np.random.default_rng(int(key[:16], 16))
    blocks = rng.integers(0, 256, (12, 16), np.uint8)
    return bytes.fromhex(key[:16]) + bytes(_THUMB) + np.kron(blocks, np.ones((4, 4), np.uint8)).tobytes()


class Links(Store):
    """The release: a picture is a hard link to the one JPEG, which costs a name and no block."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Links, (self.root, self.mode))

    def commit(self, name: str, content: bytes) -> str:
        if not name.startswith("Images/"):
            return super().commit(name, content)
        target = self.path(name)
        number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 256
        source = f"{self.path()}/../linked/{number}-{os.getpid()}.jpg"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(source):
            os.makedirs(os.path.dirname(source), exist_ok=True)
            with open(source, "wb") as out:
                out.write(content)
        if os.path.exists(target):
            os.unlink(target)
        os.link(source, target)
        return hashlib.sha256(content).hexdigest()


# the pairs of pictures that are compared


def _search(folder: str | None, threshold: float, *inputs: Any) -> pa.Table:
    """The real search; comparing two thumbnails, a third of a millisecond to 1.4, is counted and left out."""
    compared = 0

    def similarity(a: bytes, b: bytes) -> float:
        nonlocal compared
        compared += 1
        return 0.0

    plain, duplicate_search.similarity = duplicate_search.similarity, similarity
    try:
        return duplicate_search.search(threshold, *inputs)
    finally:
        duplicate_search.similarity = plain
        if folder:
            with open(f"{folder}/pairs-{random.getrandbits(64):x}", "w") as out:
                out.write(str(compared))


def pairs_compared(folder: str) -> int:
    names = [name for name in os.listdir(folder) if name.startswith("pairs-")]
    return sum(int(open(f"{folder}/{name}").read()) for name in names)


# the stages


def simulate(stages: Stages, clinic: Clinic, counts: str) -> None:
    """Put the stand-ins in. ``counts``: a folder for what is counted in their place."""
    stages.release_store = Links(stages.release_store.root)
    threshold = stages.duplicates.settings["near_duplicate"]
    stand_ins = {
        "images": partial(_images, stages._secret),
        "duplicates": partial(_search, counts, threshold),
        "text": partial(_text, clinic.texts),
        "deidentified": partial(_deidentified, clinic.texts),
        "bilingual": partial(_bilingual, clinic.texts),
        "annotated": partial(_annotated, clinic.texts),
    }
    for name, fn in stand_ins.items():
        setattr(stages, name, replace(getattr(stages, name), fn=fn))
    for name in ("publish", "shards", "figures"):
        stage: Stage = getattr(stages, name)
        given = stage.fn
        assert isinstance(given, partial)
        setattr(stages, name, replace(stage, fn=partial(given.func, release=stages.release_store)))
