"""A user's own test file: every bad row named by its number and counted, the good ones asked, and nothing of a hospital in what we say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.evaluate.benchmarks import load_samples
from codelib.evaluate.own_set import OwnSet, read_own_set
from codelib.evaluate.plan import EvaluateSettings, make_plan
from codelib.evaluate.questions import ask
from codelib.evaluate.variants import Variant
from codelib.models.conversation import open_dataset

HOSPITAL = "H77-31415"  # a number of the other clinic: nothing that we say may repeat it


def row(number: int = 1, answer: str = "Caries", images: tuple[str, ...] = ("a.jpg",), **told: Any) -> dict[str, Any]:
    question = "\n".join([*("<image>" for _ in images), f"Age: {30 + number % 50}", "Gender: female", f"What is it? ({number})"])
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "images": list(images)} | told


def written(folder: Path, rows: Any, name: str = "test.json") -> Path:
    (folder / "pictures").mkdir(exist_ok=True)
    for picture in ("a.jpg", "b.jpg"):
        (folder / "pictures" / picture).write_bytes(b"not looked at here")
    path = folder / name
    text = "".join(json.dumps(one) + "\n" for one in rows) if name.endswith("l") else json.dumps(rows)
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, rows: Any, benchmark: str = "classification", name: str = "test.json", **options: Any) -> OwnSet:
    return read_own_set(written(folder, rows, name), folder / "pictures", benchmark, **options)


BAD: list[tuple[Any, str]] = [
    ("words", "not_a_conversation"),
    (None, "not_a_conversation"),
    ({"images": []}, "not_a_conversation"),
    (row(images=("a.jpg", HOSPITAL + ".jpg")), "image_missing"),
    (row(images=("../test.json",)), "image_outside"),
    (row(images=("/etc/hostname",)), "image_outside"),
    (row(images=("a.jpg/b",)), "image_missing"),
    (row(images=("nul\0.jpg",)), "image_missing"),
    (row() | {"images": []}, "placeholder_count"),
    (row(answer="Periodontitis"), "label"),
    (row(answer="Caries or Pulpitis"), "label"),
    (row(answer="  "), "no_answer"),
    ({"messages": row()["messages"][:1], "images": ["a.jpg"]}, "no_answer"),
    ({"messages": row()["messages"][1:]}, "no_question"),
    ({"messages": [{"role": HOSPITAL, "content": "x"}, {"role": "assistant", "content": "Caries"}]}, "unknown_role"),
    ({"messages": [{"role": "user", "content": [{"type": HOSPITAL}]}, row()["messages"][1]]}, "not_a_conversation"),
    (row(1, patient_id="another"), "duplicate"),
    (row(5, answer="Caries \udce9"), "encoding"),
]


@pytest.mark.parametrize("name", ["test.json", "test.jsonl"])
def test_every_fault_is_said_by_row_and_the_good_rows_go_on(tmp_path: Path, name: str) -> None:
    rows = [row(1), *(bad for bad, _ in BAD), row(2, images=()), row(3, images=("a.jpg", "b.jpg"))]
    found = read(tmp_path, rows, name=name)
    assert [(fault.row, fault.code) for fault in found.rejected] == [(n, code) for n, (_, code) in enumerate(BAD, start=2)]
    assert [sample.sample_id for sample in found.tests.samples["classification"]] == [
        "test/1",
        f"test/{len(rows) - 1}",
        f"test/{len(rows)}",
    ]
    assert f"{len(BAD)} of the {len(rows)} rows" in found.notes[0] and "label × 2" in found.notes[0]
    said = [*found.notes, *found.lines(), found.rejected_csv().decode()]
    assert HOSPITAL not in "".join(said)
    assert found.rejected_csv().decode().count("\n") == len(BAD) + 1
    assert list(found.lines())[-1].startswith(f"… and {len(BAD) - 5} more rows")


def test_broken_lines_of_a_jsonl_file_are_rows(tmp_path: Path) -> None:
    path = written(tmp_path, [row(1), row(2)], "test.jsonl")
    path.write_bytes(
        path.read_bytes() + b'{"messages": [\n\n' + json.dumps(row(3), ensure_ascii=False).encode().replace(b"What", b"W\xb2\xe2")
    )
    found = read_own_set(path, tmp_path / "pictures", "classification")
    assert [(fault.row, fault.code) for fault in found.rejected] == [(3, "not_json"), (4, "encoding")]
    assert len(found.tests.samples["classification"]) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[", "not JSON at line 1"),
        (b"{}", "expected a list"),
        (b"[]", "no rows"),
        ("[]".encode("utf-16"), "not UTF-8"),
        (json.dumps([row(images=("c.jpg",))]).encode(), "--images"),
        (json.dumps([row(answer="?")]).encode(), "none of its 1 rows can be asked: label × 1. Row 1: its answer names none"),
        (json.dumps([row(answer="龋病"), row(answer="慢性牙髓炎，深龋")], ensure_ascii=False).encode("gb18030"), "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = written(tmp_path, [])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"--test .*test\.json") as caught:
        read_own_set(path, tmp_path / "pictures", "classification")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_options_are_one_sentence(tmp_path: Path) -> None:
    path = written(tmp_path, [row()])
    for arguments, words in [
        ((tmp_path / "tset.json", None, "classification"), "did you mean test.json"),
        ((path, tmp_path / "none", "classification"), "--images"),
        ((path, None, "clasification"), "did you mean classification"),
        ((path, None, "spectrum"), "there is: classification, generation"),
        ((path, tmp_path / "pictures", "classification", "patiend"), "--patients patiend: no row has such a field"),
    ]:
        with pytest.raises(ValueError, match="--") as caught:
            read_own_set(*arguments)
        assert words in str(caught.value)


def test_patients_are_numbered_and_their_numbers_stay_where_they_were(tmp_path: Path) -> None:
    rows = [row(n, patient_id=f"{HOSPITAL}{n % 3}", id=HOSPITAL, checkup_id=HOSPITAL, language="Chinese") for n in range(6)]
    found = read(tmp_path, rows)
    samples = found.tests.samples["classification"]
    assert [sample.patient for sample in samples] == ["p00001", "p00002", "p00003"] * 2
    assert HOSPITAL not in repr(samples)
    assert found.notes == ("5 rows have an id that another row has as well; rows are told apart by their number.",)
    renamed = [{("mrn" if key == "patient_id" else key): value for key, value in one.items()} for one in rows]
    assert [s.patient for s in read(tmp_path, renamed, patients="mrn").tests.samples["classification"]] == [
        s.patient for s in samples
    ]
    alone = read(tmp_path, renamed)
    assert "6 of 6 rows do not say whose visit they are" in alone.notes[0]
    with pytest.raises(ValueError, match="did you mean mrn"):
        read(tmp_path, renamed, patients="mnr")


def test_released_file_names_say_whose_visit_it_is(tmp_path: Path) -> None:
    names = ["0013-001-01.jpg", "0013-002-01.jpg", "0014-001-01.jpg"]
    path = written(tmp_path, [row(n, images=(f"{name}",)) for n, name in enumerate(names)])
    for name in names:
        (tmp_path / "pictures" / name).write_bytes(b"x")
    found = read_own_set(path, tmp_path / "pictures", "classification")
    assert [s.patient for s in found.tests.samples["classification"]] == ["0013", "0013", "0014"]
    assert [s.checkup_id for s in found.tests.samples["classification"]] == ["0013-001", "0013-002", "0014-001"]
    assert found.notes == ()


def test_a_question_about_several_released_visits_is_of_all_of_them(tmp_path: Path) -> None:
    """Else the answer would outlive the consent of everybody but the first."""
    names = ("0013-001-01.jpg", "0013-002-01.jpg", "0014-001-01.jpg")
    path = written(tmp_path, [row(1, images=names), row(2)])
    for name in names:
        (tmp_path / "pictures" / name).write_bytes(b"x")
    first, other = read_own_set(path, tmp_path / "pictures", "classification").tests.samples["classification"]
    assert first.shows == ("0013-001", "0013-002", "0014-001")
    assert other.shows == ()


def test_other_spellings_are_read(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nReport?"}, {"from": "gpt", "value": "Diagnosis: caries of 36."}]
    found = read(tmp_path, [{"conversations": turns, "images": ["b.jpg"]}], "generation")
    (sample,) = found.tests.samples["generation"]
    assert (sample.reference, sample.images) == ("Diagnosis: caries of 36.", ("b.jpg",))


@pytest.mark.parametrize("images", [None, "pictures/", "../{}/pictures", "pictures/../pictures/."])
def test_the_folder_of_images_may_be_written_in_any_way(
    tmp_path: Path, images: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prefix = "" if images else "pictures/"
    absolute = str(tmp_path / "pictures" / "b.jpg")
    file = written(
        tmp_path, [row(1, images=(f"{prefix}a.jpg",)), row(2, images=(f"./{prefix}b.jpg",)), row(3, images=(absolute,))]
    )
    folder = Path(images.format(tmp_path.name)) if images else None
    found = read_own_set(Path("..") / tmp_path.name / file.name, folder, "classification")
    assert [sample.images for sample in found.tests.samples["classification"]] == [(f"{prefix}{n}.jpg",) for n in "abb"]


def test_what_a_question_says_of_the_patient_makes_subgroups(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, [row(7)]).tests.samples["classification"]
    assert (sample.age, sample.gender, sample.language) == (37, "female", "en")
    turns = [
        {"role": "user", "content": "<image>\n年龄：45岁\n性别：男\n主诉：疼痛\n请诊断。"},
        {"role": "assistant", "content": "龋病"},
    ]
    (sample,) = read(tmp_path, [{"messages": turns, "images": ["a.jpg"]}]).tests.samples["classification"]
    assert (sample.age, sample.gender, sample.language) == (45, "male", "zh")


def test_it_is_asked_like_a_release_and_only_as_what_it_is(tmp_path: Path) -> None:
    tests = read(tmp_path, [row(n, images=("b.jpg",)) for n in range(3)]).tests
    samples = load_samples(tests, "classification")
    assert len(ask(Variant(name="v", model="m", modalities="text"), tests, samples, 0).samples) == 3
    with pytest.raises(ValueError, match="read as --benchmark classification"):
        load_samples(tests, "generation")
    few = Variant(name="v", model="m", prompting="few-shot", benchmarks=("generation",))
    reports = read(tmp_path, [row(1)], "generation").tests
    with pytest.raises(ValueError, match="give --dataset RELEASE beside --test"):
        ask(few, reports, load_samples(reports, "generation"), 0)


@pytest.mark.parametrize("images", ["as_is", "shuffled"])
def test_tables_call_its_images_by_sample_and_place(tmp_path: Path, images: str) -> None:
    for number in range(4):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{HOSPITAL}-{number}.jpg").write_bytes(b"not looked at here")
    rows = [row(n, images=(f"{HOSPITAL}-{n}.jpg", "a.jpg"), patient=f"p{n}") for n in range(4)]
    tests = read(tmp_path, rows).tests
    variant = Variant(name="v", model="m", images=images, benchmarks=("classification",))
    plan = make_plan(tests, (variant,), ("classification",), None, EvaluateSettings())
    questions = [question for work in plan.work for question in work.extra["questions"]]
    assert sorted(question["named"] for question in questions) == [[f"test/{n}/image-1", "test/1/image-2"] for n in range(1, 5)]
    assert all([plan.image_names[path] for path in one["images"]] == one["named"] for one in questions)
    if images == "as_is":
        assert [one["images"][0] for one in questions] == [f"{HOSPITAL}-{n}.jpg" for n in range(4)]


def test_examples_come_out_of_a_release_beside_it(tmp_path: Path) -> None:
    other = tmp_path / "release"
    (other / "Images" / "Photographs").mkdir(parents=True)
    rows = []
    for patient in range(4):
        name = f"Images/Photographs/{patient:04d}-001-01.jpg"
        (other / name).write_bytes(b"x")
        rows.append(row(patient, answer=f"Report {patient}", images=(name,)))
    (other / "train-diagnostic.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "mine").mkdir()
    file = written(tmp_path / "mine", [row(n, answer="Report", images=("b.jpg",)) for n in range(3)])
    tests = read_own_set(file, tmp_path / "mine" / "pictures", "generation", release=open_dataset(other)).tests
    few = Variant(name="v", model="m", prompting="few-shot", k=2, benchmarks=("generation",))
    for sample in ask(few, tests, load_samples(tests, "generation"), 0).samples:
        assert [message.role for message in sample.messages] == ["user", "assistant"] * 2 + ["user"]
        assert all((tests.folder / name).is_file() for name in sample.images)
        assert [name.startswith("../") for name in sample.images] == [True, True, False]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["<image>", "user", "assistant", "Caries", "a.jpg"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "conversations", "images", "role", "from", "content", "value", "id", "system"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JUNK, min_size=1, max_size=6))
def test_whatever_a_row_is_it_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    folder = tmp_path_factory.getbasetemp() / "junk"
    folder.mkdir(exist_ok=True)
    found = read(folder, [*rows, row(1)])
    assert len(found.rejected) + len(found.tests.samples["classification"]) == len(rows) + 1
