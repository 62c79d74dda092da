"""The synthetic export: the same bytes for the same seed, and a truth file that is true of what lies on disk."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from openpyxl import load_workbook
from PIL import Image, ImageOps

from codelib.contracts import SIX_CLASSES
from codelib.core.cli import run_job
from codelib.synthetic import drawing
from codelib.synthetic.diagnoses import terms
from codelib.synthetic.export import generate
from codelib.synthetic.notation import bracket_slots, write_teeth
from codelib.synthetic.people import _names, draw_person, id_number_is_valid, pool_part
from codelib.synthetic.picture_files import write_picture
from codelib.synthetic.plan import MEAN_PHOTOGRAPHS, MISMATCHES, MOST_PHOTOGRAPHS, num_photographs, plan_export
from codelib.synthetic.records import FREE_TEXT, phrases
from jobs.synthetic import main

SHARED = Path(os.environ.get("CODELIB_REAL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
MOBILE = re.compile(r"(?<!\d)1[3-9]\d-?\d{4}-?\d{4}(?!\d)")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("synthetic") / "clinic"
    truth = generate(folder, visits=60, seed=3)
    return folder, json.loads(truth.read_text(encoding="utf-8"))


def read_rows(export_root: Path) -> list[dict[str, str]]:
    """All rows of all sheets, with the batch and without a batch's own headings."""
    rows = []
    for path in sorted(export_root.glob("*/*牙科数据_电子病历*/*牙科病历.*")):
        if path.suffix == ".xlsx":
            lines = list(load_workbook(path).worksheets[0].iter_rows(values_only=True))
            found = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        elif path.suffix == ".csv":
            with path.open(encoding="gb18030", newline="") as file:
                found = list(csv.DictReader(file))
        else:
            found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row in found:
            row = {{"初诊/复诊病历": "病历", "处置": "处理"}.get(name, name): value or "" for name, value in row.items()}
            rows.append(row | {"batch": path.parent.parent.name})
    return rows


def minute(written: str) -> tuple[int, ...]:
    """The numbers of a time as written, whatever stands between them."""
    return tuple(int(number) for number in re.findall(r"\d+", written))


def meet(written: str, time: str) -> bool:
    """The same minute, or a date alone on the same day."""
    one, other = minute(written)[:5], minute(time)[:5]
    return one == other or (one[:3] == other[:3] and 3 in (len(one), len(other)))


def row_of(rows: list[dict[str, str]], patient: str, time: str) -> dict[str, str]:
    """The fuller of the rows that meet a visit."""
    meeting = [row for row in rows if row["患者"] == patient and meet(row["时间"], time)]
    return max(meeting, key=lambda row: sum(map(len, row.values())))


def fingerprint(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a/x", 5), ("b/x", 5), ("c/x", 6)):
        generate(tmp_path / name, visits=12, seed=seed)
    first, again, other = (fingerprint(tmp_path / name) for name in "abc")
    assert first == again
    images = {digest for name, digest in first.items() if "/照片/" in name}
    assert len(images) > 12 and images.isdisjoint(other.values())
    assert any(name.endswith(".xlsx") for name in first)


def test_every_kind_of_mismatch_and_every_sheet_format_at_60_visits(export: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = export
    assert {row["reason"] for row in truth["rejected_visits"]} == set(MISMATCHES.values())
    assert {path.suffix for path in folder.glob("*/*/*牙科病历.*")} == {".xlsx", ".csv", ".jsonl"}
    assert set(truth["rejected_images"].values()) == {
        "images:duplicate",
        "images:not_an_image",
        "images:record_screenshot",
        "images:truncated",
        "images:visit_rejected",
    }
    # the twin row of a duplicate is one more row, not one more visit
    assert len(truth["released_visits"]) == len(truth["visits"]) >= 0.85 * 60
    incomplete = [row for row in truth["rejected_visits"] if row["reason"] == "ingest:incomplete_record"]
    assert len(incomplete) == 3  # no image, only broken ones, no findings


def test_every_file_is_a_rejected_one_or_an_image_that_opens(export: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = export
    outside = [path for path in folder.rglob("*") if path.is_file() and path.parent.name not in ("照片", "X片", "病历")]
    assert all("牙科病历" in path.name or path.name == "说明.txt" for path in outside)
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert truth["rejected_images"].keys() <= on_disk
    originals: list[str] = []
    copies: list[str] = []
    for path in sorted(set(folder.rglob("*")) - set(outside)):
        name = path.relative_to(folder).as_posix()
        reason = truth["rejected_images"].get(name)
        if not path.is_file() or reason == "images:not_an_image":
            continue
        if reason == "images:truncated":
            with pytest.raises(OSError, match="truncated"), Image.open(path) as image:
                image.load()
        elif path.suffix == ".dcm":
            assert pydicom.dcmread(path).pixel_array.ndim == 2
        else:
            with Image.open(path) as image:
                image.load()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (copies if reason == "images:duplicate" else originals).append(digest)
    assert len(originals) == len(set(originals))
    assert copies and set(copies) <= set(originals)


def test_released_visits_have_a_row_a_folder_and_an_image(export: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = export
    rows = read_rows(folder)
    for patient, time in truth["released_visits"]:
        row = row_of(rows, patient, time)
        assert row["检查"] or row["诊断"]
        (patient_folder,) = (folder / row["batch"]).glob(f"{patient}-*")
        visits = [path for path in patient_folder.iterdir() if minute(path.name)[:3] == minute(time)[:3]]
        assert len(visits) == 1
        images = [path.relative_to(folder).as_posix() for path in visits[0].rglob("*") if path.is_file()]
        assert [name for name in images if name not in truth["rejected_images"]]
    for visit in truth["rejected_visits"]:
        in_sheet = [row for row in rows if row["患者"] == visit["patient"] and visit["time"] and row["时间"] == visit["time"]]
        if visit["reason"] == "ingest:invalid_time":
            assert in_sheet
        if visit["reason"] in ("ingest:folder_without_record", "ingest:patient_without_visit"):
            times = [row["时间"] for row in rows if row["患者"] == visit["patient"]]
            assert visit["time"] is None or not any(meet(time, visit["time"]) for time in times)
        if visit["reason"] == "ingest:duplicate_visit":
            times = [row["时间"] for row in rows if row["患者"] == visit["patient"]]
            assert sum(meet(time, visit["time"]) for time in times) == 2


def test_planted_strings_stand_where_the_truth_says_and_nowhere_else(export: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = export
    rows = read_rows(folder)
    for visit in truth["visits"]:
        row = row_of(rows, visit["patient"], visit["time"])
        text = "\n".join(row[column] for column in FREE_TEXT)
        in_text = [one for one in visit["planted_strings"] if one["where"] == "text"]
        assert visit["planted"] == bool(in_text)
        for one in visit["planted_strings"]:
            if one["where"] in ("text", "column"):
                assert one["text"] in row[one["field"]], one
            elif one["where"] == "file_name":
                assert one["text"] in Path(one["field"]).name and (folder / one["field"]).is_file()
            else:
                assert one["text"].encode() in (folder / one["field"]).read_bytes(), one
            assert one["text"] in truth["identifiers"]
        if not visit["planted"]:
            assert not [value for value in truth["identifiers"] if value in text]
            assert not MOBILE.search(text) and "@" not in text
    planted = {(one["class"], one["where"]) for visit in truth["visits"] for one in visit["planted_strings"]}
    assert {"exif", "dicom", "file_name", "column", "text"} <= {where for _, where in planted}
    assert 0.2 < np.mean([visit["planted"] for visit in truth["visits"]]) < 0.5


def test_truth_of_diagnoses_and_classes(export: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = export
    rows = read_rows(folder)
    class_of = {term.zh: label for label, its in terms().items() for term in its}
    for visit in truth["visits"]:
        row = row_of(rows, visit["patient"], visit["time"])
        assert all(one["written"] in row[one["field"]] for one in visit["diagnoses"])
        present = {class_of[one["zh"]] for one in visit["diagnoses"] if one["status"] == "present"} & set(SIX_CLASSES)
        assert visit["six_class"] == (present.pop() if len(present) == 1 else None)
        for column in visit["teeth"]:
            assert row[column]
    labels = [visit["six_class"] for visit in truth["visits"] if visit["six_class"]]
    assert set(labels) == set(SIX_CLASSES)
    assert max(labels.count(name) for name in SIX_CLASSES) <= 0.25 * len(labels)


def test_plan_of_a_large_export_keeps_to_its_shares() -> None:
    batches = list(plan_export(4000, 9, "train"))
    patients = [patient for batch in batches for patient in batch.patients]
    visits = [visit for patient in patients for visit in patient.visits]
    assert len(visits) + sum(visit.twin for visit in visits) == 4000
    sizes = [sum(len(patient.visits) for patient in batch.patients) for batch in batches]
    assert max(sizes) <= 200
    assert len({patient.patient for patient in patients}) == len(patients)
    assert max(len(patient.visits) for patient in patients) == 11
    assert 0.2 < np.mean([len(patient.visits) > 1 for patient in patients]) < 0.35
    rejected = sum(visit.mismatch is not None or visit.twin for visit in visits)
    assert 0.08 < rejected / 4000 < 0.12
    assert any(len(visit.time) == 10 for visit in visits)


def test_no_invented_name_is_part_of_a_clinical_phrase() -> None:
    names, text = _names(), json.dumps(phrases(), ensure_ascii=False)
    given = [name for key in ("given_male", "given_female") for name, _ in names[key]]
    surnames = [name for key in ("surnames", "compound_surnames") for name, _ in names[key]]
    assert not [surname + name for surname in surnames for name in given if surname + name in text]
    assert not [surname for surname, _ in names["surnames"] if f"{surname}医生" in text]


def test_pools_share_no_name_and_no_phrase(tmp_path: Path) -> None:
    for items in [*_names().values(), *phrases()["present"].values(), phrases()["complaints"]]:
        train, held_out = (pool_part(list(map(str, items)), pool) for pool in ("train", "held_out"))
        assert train and held_out and set(train).isdisjoint(held_out)
    truth = json.loads(generate(tmp_path / "h", visits=8, seed=1, pool="held_out").read_text(encoding="utf-8"))
    held_out_surnames = {name for name, _ in pool_part(_names()["surnames"], "held_out")}
    staff = [one["text"] for visit in truth["visits"] for one in visit["planted_strings"] if one["class"] == "staff"]
    assert staff and {name[0] for name in staff} <= held_out_surnames


def test_terms_agree_with_the_shared_dictionary() -> None:
    path = SHARED / "dental-terms" / "diagnoses.csv"
    if not path.exists():
        pytest.skip(f"no shared data at {path}; set CODELIB_REAL_DATA")
    with path.open(encoding="utf-8", newline="") as file:
        dictionary = {row["zh"]: row for row in csv.DictReader(file)}
    for label, its in terms().items():
        for term in its:
            row = dictionary[term.zh]
            assert (term.icd10, label) == (row["icd10_who"], row["six_class"] or "other")
            assert row["confidence"] in ("high", "medium")
            assert set(term.written) <= {term.zh, *row["synonyms_zh"].split(";")}


def test_tooth_forms() -> None:
    assert bracket_slots(["16", "36", "37"]) == "[6][0][0][67]"
    assert bracket_slots(["48"]) == "[0][0][8][0]"
    rng = np.random.default_rng(0)
    single = {write_teeth(rng, ["46"]) for _ in range(200)}
    assert single == {"46", "#46", "右下6", "右下第一磨牙", "6┐", "LR6", "[0][0][6][0]"}
    primary = {write_teeth(rng, ["75"]) for _ in range(200)}
    assert primary == {"75", "左下Ⅴ", "左下E", "左下第二乳磨牙", "┌E", "┌Ⅴ"}
    assert {write_teeth(rng, ["36", "37"]) for _ in range(100)} == {"36、37", "左下6、7", "[0][0][0][67]"}


def test_id_numbers_are_valid_in_half_of_the_cases() -> None:
    people = [draw_person(np.random.default_rng(number), "train", "男", 1980) for number in range(200)]
    valid = np.mean([id_number_is_valid(person.id_number) for person in people])
    assert 0.35 < valid < 0.65
    assert not id_number_is_valid("32050119780315123X")


def test_orientation_makes_the_stored_picture_upright_again(tmp_path: Path) -> None:
    person = draw_person(np.random.default_rng(1), "train", "女", 1990)
    upright = drawing.photograph(np.random.default_rng(2), "Gingivitis").resize((120, 90))
    rng, seen = np.random.default_rng(3), set()
    for number in range(120):
        path = tmp_path / f"{number}.jpg"
        write_picture(path, upright, rng, person, "2022-03-05")
        with Image.open(path) as image:
            seen.add(image.getexif().get(0x0112, 1))
            baked = ImageOps.exif_transpose(image)
        assert baked.size == upright.size
        assert np.abs(np.asarray(baked, dtype=float) - np.asarray(upright, dtype=float)).mean() < 8
    assert seen == set(range(1, 9))


def test_a_simple_colour_rule_sees_the_sign() -> None:
    """Signs must be visible at 112 px: red gum in gingivitis, dark enamel in caries."""

    def features(sign: str | None) -> np.ndarray:
        shots = [drawing.photograph(np.random.default_rng([7, n]), sign).resize((112, 84)) for n in range(12)]
        pixels = np.stack([np.asarray(shot, dtype=float) for shot in shots])
        red = ((pixels[..., 0] > 130) & (pixels[..., 1] < 70)).mean(axis=(1, 2))
        black = (pixels.max(axis=-1) < 60).mean(axis=(1, 2))
        return np.stack([red, black], axis=1)

    sound, gingivitis, caries = features(None), features("Gingivitis"), features("Caries")
    assert gingivitis[:, 0].min() > sound[:, 0].max()
    assert np.median(caries[:, 1]) > np.median(sound[:, 1]) + 0.01


def test_visits_have_as_many_photographs_as_published() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([num_photographs(rng, "published") for _ in range(20_000)])
    assert (counts.min(), counts.max()) == (1, MOST_PHOTOGRAPHS)
    assert counts.mean() == pytest.approx(MEAN_PHOTOGRAPHS, abs=0.1)
    assert {num_photographs(rng, "few") for _ in range(200)} == {1, 2, 3, 4}


def test_an_export_of_the_published_number_of_photographs(tmp_path: Path) -> None:
    assert run_job(main, ["--output", str(tmp_path / "c"), "--visits", "6", "--seed", "2", "--images", "published"]) == 0
    visits: dict[Path, int] = {}
    for path in (tmp_path / "c").glob("*/*/*/照片/*"):
        visits[path.parent] = visits.get(path.parent, 0) + (path.suffix.lower() not in (".db", ".bak", ".txt"))
    assert max(visits.values()) > 5


def test_command_refuses_a_folder_that_is_not_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    assert run_job(main, ["--output", str(tmp_path), "--visits", "3", "--seed", "1"]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    with pytest.raises(ValueError, match="visits=0"):
        generate(tmp_path / "none", visits=0, seed=1)
