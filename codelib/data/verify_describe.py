"""What a release says of itself, held against what is in it: card, datasheet, Croissant, citation; manifest, ledger, tables."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from codelib.data.release import JSON_FILES
from codelib.data.verify_report import Report

CARD, DATASHEET, CROISSANT, CITATION = "README.md", "datasheet.md", "croissant.json", "CITATION.cff"
_AGAIN = "fetch it again"
_STATED = ("authors", "contact", "license", "license-url", "url", "title", "version")


def check(folder: Path, there: set[str], report: Report) -> list[str]:
    """Whether each document can be read, and the card's configurations have files. Returns the words of CITATION.cff that a person gave: they
    stand in the open on purpose."""
    check_card(folder, there, report)
    _read(folder, CROISSANT, report, _croissant)
    _read(folder, DATASHEET, report, lambda text: {"questions": text.count("\n### ")} if "\n### " in text else None)
    citation = _read(folder, CITATION, report, yaml.safe_load)
    return sorted({w for key in _STATED for w in _words((citation or {}).get(key)) if len(w) > 1})


def check_card(folder: Path, there: set[str], report: Report) -> None:
    front = _read(folder, CARD, report, front_matter)
    for config in front.get("configs", []) if front else []:
        for data in config["data_files"]:
            pattern = data["path"]
            if not any(Path(path).match(pattern) for path in there):
                report.fail("description", f"{CARD}: a configuration names shards that are not there; {_AGAIN}")


def _read(folder: Path, name: str, report: Report, parse: Any) -> dict[str, Any] | None:
    report.looked_at("description")
    try:
        value = parse((folder / name).read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        pass
    report.fail("description", f"{name}: is missing or cannot be read; {_AGAIN}")
    return None


def front_matter(text: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes. Raises ValueError, KeyError or yaml.YAMLError."""
    opening, front, _ = text.split("---\n", 2)
    value = yaml.safe_load(front)
    if opening or not all(d["path"] for c in value.get("configs", []) for d in c["data_files"]):
        raise ValueError("no front matter")
    return dict(value)


def _croissant(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return {"files": len(value["distribution"]), "sets": len(value["recordSet"])}


def stated(manifest: Mapping[str, Any]) -> list[str]:
    """What a person gave for the card, as the manifest's settings have it."""
    return [word for word in _words(manifest.get("settings", {}).get("card")) if len(word) > 1]


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _words(each)
    elif value is not None:
        yield str(value)


def check_counts(
    folder: Path, manifest: Mapping[str, Any], rows: Counter[str], samples: Counter[str], num_images: int, report: Report
) -> None:
    """rows: of complete-dataset.csv and of each JSON file. samples: of the shards, by split/task/language. num_images: named in tables."""
    if not manifest:
        return
    counts = manifest.get("counts", {})
    told = {key: value["samples"] for key, value in manifest.get("conversations", {}).items()}
    expected = [
        ("complete-dataset.csv", rows["complete-dataset.csv"], counts.get("visit/ok", 0)),
        *((f"Parquet rows of {key}", samples[key], told.get(key, 0)) for key in sorted(samples.keys() | told)),
    ]
    for name, (splits, benchmark) in JSON_FILES.items():
        groups = ((key.split("/"), n) for key, n in told.items())
        expected.append((name, rows[name], sum(n for (s, task, _), n in groups if s in splits and benchmark in (None, task))))
    if "num_images" in manifest:
        expected.append(("Images/", num_images, manifest["num_images"]))
    for what, found, wanted in expected:
        report.looked_at("counts")
        if found != wanted:
            report.fail("counts", f"{what}: {found}, manifest.json says {wanted}; fetch both again, or build the release again")
    _ledger(folder, counts, report)


def _ledger(folder: Path, counts: Mapping[str, int], report: Report) -> None:
    report.looked_at("counts")
    found: dict[str, int] = {}
    try:
        with (folder / "ledger.csv").open(encoding="utf-8", newline="") as source:
            for row in csv.DictReader(source):
                reason = "ok" if row["stage"] == "released" else f"{row['stage']}:{row['reason']}"
                found[f"{row['kind']}/{reason}"] = int(row["count"])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        report.fail("counts", f"ledger.csv: is missing or cannot be read; {_AGAIN}")
        return
    if found != dict(counts):
        report.fail("counts", f"ledger.csv: does not count what manifest.json counts; {_AGAIN}")
