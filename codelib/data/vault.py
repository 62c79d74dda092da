"""The vault: the one secret of a workspace, and the codes that stand for patients and visits.

    private/key            32 random bytes, made once; every key, code and date offset is an HMAC under it
    private/vault/codes.parquet   visit_key -> patient key, patient code, checkup number; grows, and shrinks where
                                  somebody withdraws

Randomness from a public seed could be replayed by anyone who has the seed, so codes do not come from the seed (design, rule 7).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from codelib.core.store import Store

CODES = pa.schema([("visit_key", pa.string()), ("patient_key", pa.string()), ("patient_id", pa.string()), ("number", pa.int32())])
_CODES_FILE = "vault/codes.parquet"
MIN_SHIFT_DAYS, MAX_SHIFT_DAYS = 30, 365


@dataclass(frozen=True)
class Secret:
    """The workspace's key. Never printed, logged, hashed into a public file or sent to a worker as a value."""

    store: Store

    def create(self) -> None:
        """Make the key where there is none; an existing one (a test's, or a moved workspace's) is kept."""
        if not self.store.exists("key"):
            self.store.commit("key", secrets.token_bytes(32))
        if len(self.store.read("key")) < 16:
            raise ValueError(f"{self.store.root}/key: shorter than 16 bytes; put the workspace's own key back")

    def load(self) -> Keyed:
        return Keyed(self.store.read("key"))


@dataclass(frozen=True, repr=False)
class Keyed:
    """HMAC-SHA256 under the workspace's key, with a purpose, so that no two uses share a value."""

    key: bytes

    def bytes(self, purpose: str, value: bytes) -> str:
        made = hmac.new(self.key, purpose.encode() + b"\0", hashlib.sha256)
        made.update(value)  # not joined before: a file's bytes are many
        return made.hexdigest()[:32]

    def text(self, purpose: str, value: str) -> str:
        return self.bytes(purpose, value.encode())

    def integer(self, purpose: str, value: str) -> int:
        return int(self.text(purpose, value), 16)

    def shift_days(self, patient_key: str) -> int:
        """One date offset for a patient: 30 to 365 days, back or forth."""
        number = self.integer("shift", patient_key)
        days = MIN_SHIFT_DAYS + (number >> 1) % (MAX_SHIFT_DAYS - MIN_SHIFT_DAYS + 1)
        return -days if number & 1 else days


@dataclass(frozen=True)
class Code:
    visit_key: str
    patient_key: str
    patient_id: str
    number: int

    @property
    def checkup_id(self) -> str:
        return f"{self.patient_id}-{self.number:03d}"


def assign(
    visits: Iterable[tuple[str, str, str]],
    known: Sequence[Code],
    keyed: Keyed,
    is_buried: Callable[[str], bool] = lambda released: False,
) -> list[Code]:
    """Codes for visits (visit_key, patient_key, checkup_time): those known stay as they are, new ones are added. is_buried: whether a patient's
    code or a checkup id was somebody's who withdrew; copies of old releases may still hold it, so nobody else gets it.

    A patient's code is a keyed hash cut to as many digits as leave the space a quarter full (at least four); a taken code is drawn again.
    Visits of a patient are numbered in the order of time; one that arrives later goes on counting.
    """
    by_visit = {code.visit_key: code for code in known}
    patients = {code.patient_key: code.patient_id for code in known}
    taken = set(patients.values())
    last: dict[str, int] = {}
    for code in known:
        last[code.patient_key] = max(code.number, last.get(code.patient_key, 0))
    new = sorted((v for v in visits if v[0] not in by_visit), key=lambda v: (v[1], v[2], v[0]))
    unseen = sorted({patient for _, patient, _ in new} - set(patients), key=lambda p: keyed.text("patient-order", p))
    width = max(4, len(str(4 * (len(patients) + len(unseen)) - 1)) if patients or unseen else 4)
    for patient in unseen:
        attempt = 0
        while (drawn := f"{keyed.integer('patient', f'{attempt}/{patient}') % 10**width:0{width}d}") in taken or is_buried(drawn):
            attempt += 1
        patients[patient] = drawn
        taken.add(drawn)
    added = []
    for visit_key, patient, _ in new:
        code = Code(visit_key, patient, patients[patient], last.get(patient, 0) + 1)
        while is_buried(code.checkup_id):
            code = replace(code, number=code.number + 1)
        last[patient] = code.number
        added.append(code)
    return [*known, *added]


def read_codes(store: Store) -> list[Code]:
    if not store.exists(_CODES_FILE):
        return []
    return [Code(**row) for row in store.read_table(_CODES_FILE).to_pylist()]


def write_codes(store: Store, codes: Sequence[Code]) -> None:
    rows = [
        {"visit_key": c.visit_key, "patient_key": c.patient_key, "patient_id": c.patient_id, "number": c.number} for c in codes
    ]
    store.commit_table(_CODES_FILE, pa.Table.from_pylist(rows, schema=CODES))
