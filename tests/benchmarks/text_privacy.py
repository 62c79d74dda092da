"""De-identification measured: synthetic clinics of both pools, two red-team files, names without a role, and speed.

An identifier counts as caught where it is not released: replaced, or its visit held back for a person. "replaced" counts the first kind alone.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, TEXT, TEXT_FIELDS
from codelib.data.deidentify import DeidentifySettings, deidentify, review_queue
from codelib.data.stages import codes_table
from codelib.data.teeth import normalise_teeth
from codelib.synthetic.people import POOLS
from codelib.synthetic.records import FREE_TEXT
from tests import synthetic_clinic
from tests.synthetic_clinic import codes_of, place_of

DATA = Path(__file__).parents[1] / "data" / "privacy"
VISITS, SEEDS = 1000, (1, 2, 3)
STRUCTURED = ("phone", "landline", "id_number", "email", "wechat", "qq", "address", "record_number")
RECORDS, RECORD_CHARS = 8775, 500


@dataclass(frozen=True)
class Line:
    """A line of a red-team file. No values: a clean one, which must come out as it went in."""

    style: str
    text: str
    values: tuple[str, ...]
    identifiers: tuple[tuple[str, str], ...]


def red_team(name: str) -> list[Line]:
    """tests/data/privacy/NAME.txt: style | text | values | identifiers of the columns."""
    lines = []
    for written in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if written and not written.startswith("#"):
            style, text, values, *cells = written.split("|")
            pairs = [cell.split("=", 1) for cell in "".join(cells).split(";") if cell]
            lines.append(Line(style, text, tuple(filter(None, values.split(";"))), tuple((k, v) for k, v in pairs)))
    return lines


def released(lines: list[Line], dates: str = "shift") -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Each line as the present illness of a visit of its own: what de-identification makes of it, and the queue."""
    rows = [
        {"visit_key": f"v{number}", "patient": f"p{number}", "checkup_time": "2023-06-05 09:30", "age": 35, "gender": "female"}
        | dict.fromkeys(TEXT_FIELDS, "")
        | {"present_illness": line.text, "identifiers": [{"kind": k, "value": v} for k, v in line.identifiers], "teeth": []}
        | {"status": OK, "reject_reason": None}
        for number, line in enumerate(lines)
    ]
    table = pa.Table.from_pylist(rows, schema=TEXT.schema)
    codes = codes_table([[row["visit_key"], f"{n:04d}-001", f"{n:04d}", -40] for n, row in enumerate(rows)])
    settings = DeidentifySettings(dates=dates)  # type: ignore[arg-type]
    return deidentify(table, codes, settings).to_pylist(), list(review_queue(table, codes, settings))


def leaks(line: Line, row: dict[str, Any]) -> list[str]:
    return [value for value in line.values if value in row["present_illness"]]


def _red_team_section(name: str) -> None:
    lines = red_team(name)
    rows, _ = released(lines)
    styles: dict[str, Counter[str]] = {}
    for line, row in zip(lines, rows, strict=True):
        counts = styles.setdefault(line.style, Counter())
        counts["lines"] += 1
        counts["values"] += len(line.values)
        counts["leaked"] += len(leaks(line, row))
        counts["held"] += row["status"] != OK
        counts["changed"] += not line.values and row["status"] == OK and row["present_illness"] != line.text
    print(f"\n{name}.txt: {len(lines)} lines\n{'style':<14}{'lines':>7}{'values':>8}{'caught':>9}{'held':>7}{'changed':>9}")
    for style, counts in styles.items():
        caught = f"{counts['values'] - counts['leaked']}/{counts['values']}" if counts["values"] else ""
        print(f"{style:<14}{counts['lines']:>7}{counts['values']:>8}{caught:>9}{counts['held']:>7}{counts['changed']:>9}")
    values, leaked = (sum(counts[key] for counts in styles.values()) for key in ("values", "leaked"))
    print(f"caught {values - leaked}/{values} = {1 - leaked / values:.3f}")


def probe(name: str = "probe", surnamed: int = 60, sets_of_names: int = 1) -> list[Line]:
    """tests/data/privacy/NAME.json: names that no column holds, in phrases that no rule was written against.

    Each phrase takes ``surnamed`` names with a Chinese surname and a third as many without; the phrases share ``sets_of_names`` draws.
    """
    lists = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    rng = random.Random(20)
    draws = [
        [rng.choice(lists["surnames"]) + rng.choice(lists["given"]) for _ in range(surnamed)] + _whole(lists, rng, surnamed // 3)
        for _ in range(sets_of_names)
    ]
    return [
        Line(phrase, phrase.format(n=one), (one,), ())
        for number, phrase in enumerate(lists["phrases"])
        for one in draws[number % sets_of_names]
    ]


def _whole(lists: dict[str, Any], rng: random.Random, size: int) -> list[str]:
    names: list[str] = lists["whole_names"]
    return names * (size // len(names)) + rng.sample(names, size % len(names))


def _probe_section(name: str, lines: list[Line]) -> None:
    rows, _ = released(lines)
    leaked = sum(bool(leaks(line, row)) for line, row in zip(lines, rows, strict=True))
    held = sum(row["status"] != OK for row in rows)
    print(f"\n{name}.json: caught {len(lines) - leaked}/{len(lines)} = {1 - leaked / len(lines):.3f}")
    print(f"of them held back for a person: {held}")


# synthetic clinics


def clinic(pool: str, seed: int, visits: int) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """(truth, row before, row after) of each visit of a synthetic export, pictures left out."""
    with tempfile.TemporaryDirectory() as folder:
        truth, tables = synthetic_clinic.clinic(Path(folder) / "clinic", pool, visits, seed)
    for records in tables:
        text = normalise_teeth(records)
        before = {row["visit_key"]: row for row in text.to_pylist()}
        after = {row["visit_key"]: row for row in deidentify(text, codes_of(records), DeidentifySettings()).to_pylist()}
        for row in records.to_pylist():
            if place_of(row) in truth:
                yield truth[place_of(row)], before[row["visit_key"]], after[row["visit_key"]]


def measure(pool: str, seed: int, visits: int) -> Counter[str]:
    """planted:CLASS, released:CLASS, replaced:CLASS, clean, held, visits, terms, terms lost of one synthetic export."""
    counts: Counter[str] = Counter()
    for truth, before, after in clinic(pool, seed, visits):
        text = "\n".join(after[name] for name in TEXT_FIELDS)
        counts["visits"] += 1
        counts["clean"] += not truth["planted"]
        counts["held"] += not truth["planted"] and after["status"] != OK
        counts["held with an identifier"] += truth["planted"] and after["status"] != OK
        for one in truth["planted_strings"]:
            if one["where"] == "text" and one["field"] in FREE_TEXT:
                counts[f"planted:{one['class']}"] += 1
                counts[f"released:{one['class']}"] += one["text"] in text
                counts[f"replaced:{one['class']}"] += after["status"] == OK and one["text"] not in text
        if after["status"] == OK:
            written = "\n".join(before[name] for name in TEXT_FIELDS)
            asked = [
                d["written"] for d in truth["diagnoses"] if d["written"] in written
            ]  # the teeth stage may have moved one apart
            teeth = _teeth_outside(before, truth["planted_strings"])
            counts["terms"] += len(asked) + teeth
            counts["terms lost"] += sum(term not in text for term in asked) + max(0, teeth - len(after["teeth"]))
    return counts


def _teeth_outside(row: dict[str, Any], planted: list[dict[str, str]]) -> int:
    """Teeth of a row that do not lie in a planted identifier: 17幢 of an address is no tooth, whoever read it as one."""
    spans = [(name, at, at + len(one["text"])) for one in planted for name in TEXT_FIELDS for at in _all(row[name], one["text"])]
    return sum(
        not any(t["field"] == name and start < t["end"] and t["start"] < end for name, start, end in spans) for t in row["teeth"]
    )


def _all(text: str, words: str) -> Iterator[int]:
    at = text.find(words)
    while at >= 0:
        yield at
        at = text.find(words, at + 1)


def _synthetic_section() -> None:
    for pool in POOLS:
        counts: Counter[str] = Counter()
        for seed in SEEDS:
            counts += measure(pool, seed, VISITS)
        classes = sorted(name.partition(":")[2] for name in counts if name.startswith("planted:"))
        print(f"\nsynthetic clinic, pool {pool}, seeds {SEEDS}, {counts['visits']} visits")
        print(f"{'class':<16}{'planted':>8}{'recall':>9}{'replaced':>10}")
        for cls in classes:
            planted = counts[f"planted:{cls}"]
            recall, replaced = 1 - counts[f"released:{cls}"] / planted, counts[f"replaced:{cls}"] / planted
            print(f"{cls:<16}{planted:>8}{recall:>9.4f}{replaced:>10.4f}")
        for label, chosen in (
            ("structured", [c for c in classes if c in STRUCTURED]),
            ("names", [c for c in classes if c not in STRUCTURED]),
        ):
            planted, out = (sum(counts[f"{what}:{c}"] for c in chosen) for what in ("planted", "released"))
            print(f"{label:<16}{planted:>8}{1 - out / planted:>9.4f}")
        print(f"held back without an identifier: {counts['held']}/{counts['clean']} = {counts['held'] / counts['clean']:.2%}")
        print(f"held back with one: {counts['held with an identifier']}/{counts['visits'] - counts['clean']}")
        print(f"clinical terms and teeth lost: {counts['terms lost']}/{counts['terms']}")


def _speed_section() -> None:
    rows = [before for _, before, _ in clinic("train", 1, 300)]
    made = []
    for number in range(1000):
        row = dict(rows[number % len(rows)])
        text = "".join(row[name] for name in TEXT_FIELDS)
        row |= {"visit_key": f"v{number}", "remarks": "", "teeth": []}
        row["management"] = (row["management"] + "。") * max(1, 1 + (RECORD_CHARS - len(text)) // (len(row["management"]) + 1))
        made.append(row)
    chars = sum(len(row[name]) for row in made for name in TEXT_FIELDS) / len(made)
    table = pa.Table.from_pylist(made, schema=TEXT.schema)
    codes = codes_table([[row["visit_key"], f"{n:04d}-001", f"{n:04d}", 40] for n, row in enumerate(made)])
    deidentify(table.slice(0, 5), codes, DeidentifySettings())  # the dictionary is read once a worker
    started_s = time.process_time()
    deidentify(table, codes, DeidentifySettings())
    rate = len(made) / (time.process_time() - started_s)
    print(f"\n{rate:.0f} records/s on one core, {chars:.0f} characters each: {RECORDS} in {RECORDS / rate:.0f} s of one core")


def main() -> None:
    _synthetic_section()
    for name in ("seen", "unseen"):
        _red_team_section(name)
    _probe_section("probe", probe())
    _probe_section("probe2", probe("probe2", surnamed=15, sets_of_names=60))
    _probe_section("probe3", probe("probe3", surnamed=15, sets_of_names=16))
    _speed_section()
