"""Nearly equal reports are found, and no others, against all pairs compared one by one."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import ANNOTATED, CHOSEN, IMAGES, TRAITS
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import split_reports
from codelib.data.split_reports import hash64, near, normalised, search, search_work, sketch
from codelib.data.split_traits import traits

WORDS = [
    "牙龈红肿探诊出血龋坏叩诊疼痛松动根管治疗充填修复缺损拔除种植正畸复诊颌面部对称开口度正常黏膜未见异常全景片示阴影密度减低"
][0]


def text(rng: random.Random, length: int = 120) -> str:
    return "".join(rng.choice(WORDS) for _ in range(length))


def table(texts: list[str]) -> pa.Table:
    rows = [{"report": hash64(t), "sketch": sketch(t)} for t in texts]
    return pa.Table.from_pylist(rows, schema=pa.schema([("report", pa.uint64()), ("sketch", pa.binary())]))


def found(texts: list[str], similarity: float = 0.8) -> set[frozenset[str]]:
    names = {hash64(t): t for t in texts}
    rows = near(table(texts), similarity, list(range(24))).to_pylist()
    assert all(row["report"] < row["other"] for row in rows)
    return {frozenset((names[row["report"]], names[row["other"]])) for row in rows}


def jaccard(a: str, b: str) -> float:
    one, two = ({t[i : i + 4] for i in range(len(t) - 3)} for t in (a, b))
    return len(one & two) / len(one | two)


def test_what_a_copy_keeps():
    assert normalised("３６ 深龋，ＰＵＬＰ\n(+)") == normalised("36深龋；pulp") == "36深龋pulp"
    assert normalised("／ — 。") == ""


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_with_a_word_changed_is_found(seed):
    rng = random.Random(seed)
    texts = [text(rng) for _ in range(60)]
    edited = texts[0][:50] + "甲" + texts[0][51:]
    longer = texts[1] + "建议复查"
    assert found([*texts, edited, longer]) == {frozenset((texts[0], edited)), frozenset((texts[1], longer))}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_the_estimate_is_near_the_truth(seed, edits):
    rng = random.Random(seed)
    one = text(rng, 200)
    other = list(one)
    for at in rng.sample(range(200), edits):
        other[at] = "癸"
    a, b = (np.frombuffer(sketch(t), "<u2") for t in (one, "".join(other)))
    assert (a == b).mean() == pytest.approx(jaccard(one, "".join(other)), abs=0.17)  # five standard deviations


def test_all_pairs_at_once_are_those_one_by_one():
    rng = random.Random(1)
    texts = [text(rng, 90) for _ in range(40)]
    for base in range(12):
        copy = list(texts[base])
        for at in rng.sample(range(90), base):
            copy[at] = "壬"
        texts.append("".join(copy))
    texts = list(dict.fromkeys(texts))
    values = [np.frombuffer(sketch(t), "<u2") for t in texts]
    truth = {
        frozenset((texts[i], texts[j]))
        for i, j in itertools.combinations(range(len(texts)), 2)
        if (values[i] == values[j]).mean() >= 0.8
    }
    assert found(texts) == truth
    assert len(truth) >= 3


def test_a_stereotype_of_thousands_costs_no_square():
    rng = random.Random(2)
    base = text(rng, 150)
    texts = list({base[:i] + WORDS[j] + base[i + 1 :] for i in range(140) for j in range(25)})
    rows = near(table(texts), 0.8, list(range(24)))
    assert len(texts) > 3000
    assert rows.num_rows < len(texts) * 24 * 20


def test_short_texts_and_one_text_are_no_pairs():
    assert near(table(["洁治", "洁治复诊洁治复诊"]), 0.8, [0]).num_rows == 0
    assert near(table([]), 0.8, [0]).num_rows == 0
    assert near(table(["牙龈红肿探诊出血"] * 3), 0.8, list(range(24))).num_rows == 0  # equal ones meet by their hash


def test_the_tasks_of_a_large_clinic_find_the_same(tmp_path, monkeypatch):
    store, rng = Store(str(tmp_path)), random.Random(3)
    texts = [text(rng) for _ in range(40)]
    texts += [t[:60] + "丙" + t[61:] for t in texts[:10]]
    parts = []
    for index in range(4):
        rows = [
            dict.fromkeys(TRAITS.schema.names)
            | {"checkup_id": t, "visit_key": t, "report": hash64(t), "report_chars": len(t), "sketch": sketch(t)}
            for t in texts[index::4]
        ]
        part = Part(f"p{index}", "traits", store.root, len(rows), {}, drop=(texts[0],))
        store.commit_table(part.name, pa.Table.from_pylist(rows, schema=TRAITS.schema))
        parts.append(part)

    def pairs() -> list[dict]:
        tables = [search(40, 0.8, *work.inputs, work.extra) for work in search_work(parts, 0.8)]
        return pa.concat_tables(tables).sort_by("report").to_pylist()

    whole = pairs()
    assert len(whole) == 9  # the text of a visit that is gone is not compared
    monkeypatch.setattr(split_reports, "_REPORTS_A_TASK", 10)
    assert len(search_work(parts, 0.8)) > 4
    assert pairs() == whole
    assert search_work(parts, 1.0) == search_work([], 0.8) == []


def test_traits_of_a_visit():
    visit = dict.fromkeys(ANNOTATED.schema.names) | {
        "checkup_id": "0001-001",
        "patient_id": "0001",
        "visit_key": "v",
        "six_class": "Caries",
        "examination_cn": "36深龋，叩（-）",
        "diagnosis_cn": " ／ ",
        "chief_complaint_cn": "牙痛",  # no section of the report
        "diseases": [
            {"zh": "深龋", "en": "Deep caries", "status": "present"},
            {"zh": "深龋", "en": "Deep caries", "status": "present"},
            {"zh": "牙髓炎", "en": "Pulpitis", "status": "suspected"},
        ],
        "status": "ok",
    }
    likeness = bytes(8) + bytes((8, 8)) + bytes(range(64))
    grey = bytes(8) + bytes((8, 8)) + bytes([7] * 64)
    pictures = [("a", "c1", likeness, "photograph"), ("b", "c1", likeness, "photograph"), ("c", "c2", grey, "radiograph")]
    images = [
        dict.fromkeys(IMAGES.schema.names)
        | {"image_key": k, "picture_key": c, "likeness": value, "visit_key": "v", "status": "ok"}
        for k, c, value, _ in pictures
    ]
    chosen = [
        dict.fromkeys(CHOSEN.schema.names) | {"image_key": k, "visit_key": "v", "kind": kind, "status": "ok"}
        for k, _, _, kind in pictures
    ]
    got = traits(
        pa.Table.from_pylist([visit], schema=ANNOTATED.schema),
        pa.Table.from_pylist(images, schema=IMAGES.schema),
        pa.Table.from_pylist(chosen, schema=CHOSEN.schema),
    )
    (row,) = got.to_pylist()
    assert row["conditions"] == ["Deep caries"]
    assert (row["photographs"], row["radiographs"], row["empty_fields"]) == (2, 1, 7)
    assert (row["report"], row["report_chars"]) == (hash64("36深龋叩"), 5)
    assert row["contents"][0] == row["contents"][1] != row["contents"][2]
    assert row["looks"][0] == row["looks"][1]
    assert row["looks"][2] is None  # two black radiographs are no leak
