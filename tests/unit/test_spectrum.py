"""The benchmark of all conditions: who is asked, what the question says, and a table in whatever form it comes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from codelib.evaluate import spectrum
from codelib.evaluate.benchmarks import left_out, load_samples
from codelib.evaluate.questions import ask
from codelib.evaluate.spectrum_scores import spectrum as scores_of
from codelib.evaluate.variants import Variant
from codelib.evaluate.visits import age, columns, gender, read_visits
from codelib.models.conversation import Dataset, open_dataset


def visit(patient: int, number: int = 1, **told: Any) -> dict[str, Any]:
    checkup = f"{patient:04d}-{number:03d}"
    return {
        "checkup_id": checkup,
        "patient_id": f"{patient:04d}",
        "age": 40,
        "gender": "male",
        "photographs": f"{checkup}-02.jpg",
        "radiographs": f"{checkup}-01.jpg",
        "chief_complaint": "pain",
        "chief_complaint_cn": "疼痛",
        "anomalies_en": "Deep Caries,Chronic Gingivitis",
        "split": "excluded",
        "spectrum": "test",
    } | told


def release(folder: Path, rows: list[dict[str, Any]], train: list[dict[str, Any]] | None = None) -> Dataset:
    (folder / "test-cls.json").write_text("[]", encoding="utf-8")
    if train is not None:
        (folder / "train.json").write_text(json.dumps(train), encoding="utf-8")
    with (folder / "complete-dataset.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return open_dataset(folder)


def test_only_visits_of_patients_outside_training_are_asked_unless_one_says_so(tmp_path: Path) -> None:
    rows = [
        visit(1),
        visit(2),
        visit(2, 2, split="train", spectrum="excluded"),  # another visit of the same patient stands in training
        visit(3, split="validation"),
        visit(4, split="test"),
        visit(5, spectrum="train"),
        visit(6, anomalies_en=""),
    ]
    dataset = release(tmp_path, rows)
    unseen = load_samples(dataset, "spectrum")
    assert [s.sample_id for s in unseen] == ["spectrum/0001-001", "spectrum/0004-001"]
    assert "2 of 4 test visits" in left_out(dataset, ["spectrum"], "unseen")[0]
    assert left_out(dataset, ["spectrum"], "all") == left_out(dataset, ["classification"], "unseen") == []
    everybody = load_samples(dataset, "spectrum", "all")
    assert [s.seen for s in everybody] == [False, True, True, False]
    bare = ask(Variant(name="b", model="m", benchmarks=("spectrum",)), dataset, everybody, 0)
    tuned = ask(Variant(name="t", model="m", adapter="a", benchmarks=("spectrum",)), dataset, everybody, 0)
    assert bare.samples == everybody and bare.notes == ()
    assert tuned.samples == unseen
    assert tuned.notes == ("2 of 4 visits are of patients whom its adapter may have seen: not asked",)


def test_a_visit_that_stands_twice_in_the_table_is_asked_once(tmp_path: Path) -> None:
    dataset = release(tmp_path, [visit(1), visit(1, anomalies_en="Impacted Tooth"), visit(2)])
    samples = load_samples(dataset, "spectrum")
    assert [sample.sample_id for sample in samples] == ["spectrum/0001-001", "spectrum/0002-001"]
    assert samples[0].conditions == ("Deep Caries", "Chronic Gingivitis")


@pytest.mark.parametrize("path", ["/etc/0001-001-02.jpg", "../../0001-001-02.jpg", "Images/../../0001-001-02.jpg"])
def test_a_table_shows_no_image_outside_its_folder(tmp_path: Path, path: str) -> None:
    """A downloaded table must not send a file of this machine to a model, nor put its path into a report."""
    with pytest.raises(ValueError, match="an image path is absolute or leaves the folder"):
        load_samples(release(tmp_path, [visit(1, photographs=path)]), "spectrum")


def test_a_table_that_does_not_say_who_trains_is_asked_with_the_training_files(tmp_path: Path) -> None:
    rows = [{key: value for key, value in visit(patient).items() if key != "split"} for patient in (1, 2)]
    turns = [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "Caries"}]
    dataset = release(tmp_path, rows, [{"messages": turns, "images": ["Images/Photographs/0002-005-01.jpg"]}])
    assert [s.patient for s in load_samples(dataset, "spectrum")] == ["0001"]


def test_a_question_asks_for_a_list_and_shows_no_answer_of_its_visit(tmp_path: Path) -> None:
    dataset = release(tmp_path, [visit(1), visit(2, anomalies_en="Pulpitis", spectrum="train", split="train")])
    (sample,) = load_samples(dataset, "spectrum")
    content = sample.messages[-1].content
    assert json.loads(sample.reference) == ["Deep Caries", "Chronic Gingivitis"] == list(sample.conditions)
    assert content.startswith("image-1: <image>\nimage-2: <image>\nAge: 40\nGender: male\nChief Complaint: pain\n")
    assert content.endswith("Chronic Gingivitis; Deep Caries; Pulpitis.")
    assert sample.images == ("Images/Radiographs/0001-001-01.jpg", "Images/Photographs/0001-001-02.jpg")
    chinese = ask(Variant(name="z", model="m", language="zh", benchmarks=("spectrum",)), dataset, [sample], 0).samples[0]
    assert "主诉：疼痛" in chinese.messages[-1].content and "Deep Caries" in chinese.messages[-1].content
    assert (chinese.reference, chinese.sample_id) == (sample.reference, sample.sample_id)
    for modalities, words in (("images", "Age"), ("text", "<image>")):
        asked = ask(Variant(name="m", model="m", modalities=modalities, benchmarks=("spectrum",)), dataset, [sample], 0).samples[
            0
        ]  # type: ignore[arg-type]
        assert words not in asked.messages[-1].content and "Chronic Gingivitis; Deep Caries" in asked.messages[-1].content


def test_an_answer_with_the_names_of_the_list_is_right(tmp_path: Path) -> None:
    names = [
        *("Deep Caries", "Crossbite / Anterior Crossbite", "Pulp Polyp (hyperplastic Pulpitis)"),
        *("Wedge-shaped (non-carious Cervical) Defect", "Reversible Pulpitis / Pulp Hyperaemia", "A Label Of Nobody's List"),
    ]
    rows = [visit(number, anomalies_en=",".join(names[number : number + 2])) for number in range(len(names))]
    samples = load_samples(release(tmp_path, rows), "spectrum")
    references = [sample.reference for sample in samples]
    scored = scores_of(references, references, [sample.patient for sample in samples], 0)
    assert (scored["micro_precision"], scored["micro_recall"], scored["macro_f1"], scored["num_unparsed"]) == (1, 1, 1, 0)


def test_the_list_of_a_question_ends_somewhere_and_holds_the_frequent_ones(tmp_path: Path) -> None:
    rows = [visit(1, anomalies_en="Rare A")]
    rows += [visit(patient, anomalies_en=f"Condition {patient:04d},Frequent", split="train") for patient in range(2, 400)]
    names = spectrum.read_spectrum(release(tmp_path, rows)).names
    assert len(names) == spectrum.MAX_NAMES and "Frequent" in names and list(names) == sorted(names)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({key: value for key, value in visit(1).items() if key != "spectrum"}, "has no column spectrum"),
        (visit(1, spectrum="train"), "no visit of the table is in its test set"),
        (visit(1, split="train"), "spectrum_visits=all"),
    ],
)
def test_a_release_that_cannot_be_asked_says_why(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    dataset = release(tmp_path, [row])
    with pytest.raises(ValueError, match="benchmark spectrum") as caught:
        load_samples(dataset, "spectrum")
    assert words in str(caught.value)


def test_without_a_table_there_is_no_spectrum(tmp_path: Path) -> None:
    (tmp_path / "test-cls.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"there is no complete-dataset\.csv"):
        load_samples(open_dataset(tmp_path), "spectrum")


# the table


def test_other_spellings_of_the_table_are_read(tmp_path: Path) -> None:
    header = "\ufeffID,Checkup ID,Age,Gender,Photographs,Radiographs,Anomalies_en,Diagnosis,Unknown\n"
    rows = (
        '0,0013-002,35.0,M,"[\'0013-002-04.jpg\', \'Images\\Photographs\\0013-002-05.jpg\']",," Deep Caries , Gingivitis,","two\nlines",x\n'
        "1,,not told,,0014-001-01.jpg,,,\n"
        "2,,,,,,\n"
        "short\n"
    )
    (tmp_path / "complete_dataset.csv").write_text(header + rows, encoding="utf-8")
    found = read_visits(tmp_path)
    assert set(found) == {"0013-002", "0014-001"}
    first = found["0013-002"]
    assert (first.age, first.gender, first.patient) == (35, "male", "0013")
    assert first.photographs == ("Images/Photographs/0013-002-04.jpg", "Images/Photographs/0013-002-05.jpg")
    assert first.conditions == ("Deep Caries", "Gingivitis")
    assert first.text == {"diagnosis": "two\nlines"}
    assert (found["0014-001"].age, found["0014-001"].gender) == (None, "")
    assert "checkup_id" in columns(tmp_path)


@pytest.mark.parametrize(
    ("value", "years"),
    [("35", 35), ("35岁", 35), (" 7 ", 7), ("35 years", 35), ("", None), ("3500", None), ("-3", None), ("131", None)],
)
def test_an_age_is_years_or_nothing(value: str, years: int | None) -> None:
    assert age(value) == years


def test_a_gender_is_one_of_two_words_or_nothing() -> None:
    assert [gender(value) for value in ("男", "Female", " m ", "unknown", "")] == ["male", "female", "male", "", ""]


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "complete-dataset.csv").write_bytes("checkup_id,diagnosis\n0001-001,牙髓炎\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"complete-dataset\.csv: not UTF-8"):
        read_visits(tmp_path)
