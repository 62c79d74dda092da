"""The figures of written reports as report.json has them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.evaluate.sections import section_names
from codelib.evaluate.tables import figures
from codelib.evaluate.written import written

ENGLISH = "Examination: 16 deep cavity, no gingivitis.\nDiagnosis: 16 deep caries\nRemarks: Not recorded."
CHINESE = "检查：26探痛，未见牙龈炎。\n诊断：26牙髓炎\n备注：未记录。"
KEYS = {
    "n", "corpus_bleu", "bleu", "bleu_ci", "meteor", "meteor_ci", "cosine", "cosine_ci", "bleu_signature", "meteor_method", "cosine_method",
    "embeddings", "sections", "length_ratio", "length_ratio_ci", "clinical", "spectrum", "num_unparsed",
}  # fmt: skip


def test_a_perfect_variant_of_one_language() -> None:
    found = written([ENGLISH] * 3, [ENGLISH] * 3, ["a", "b", "c"], ["ngrams"], 0)
    rows = found.pop("rows")
    assert set(found) == KEYS
    assert {name: len(values) for name, values in rows.items()} == {"bleu": 3, "meteor": 3, "cosine": 3}
    assert (found["corpus_bleu"], found["length_ratio"], found["sections"]["coverage"]) == (pytest.approx(100), 1.0, 1.0)
    assert found["sections"]["each"] == {"Examination": 1.0, "Diagnosis": 1.0, "Remarks": 1.0}
    assert set(found["sections"]["each"]) <= set(section_names())
    assert (found["clinical"]["tooth_f1"], found["clinical"]["diagnosis_f1"], found["clinical"]["n"]) == (1.0, 1.0, 3)
    assert [entry["mean"] for entry in found["embeddings"]] == [pytest.approx(1.0)]
    json.dumps(found, allow_nan=False)


def test_two_languages_stand_apart_too() -> None:
    found = written([ENGLISH, CHINESE] * 2, [ENGLISH, "诊断：16牙髓炎"] * 2, ["a", "b", "c", "d"], ["auto"], 0)
    assert set(found["by_language"]) == {"en", "zh"}
    for language in ("en", "zh"):
        assert set(found["by_language"][language]) == KEYS
        assert found["by_language"][language]["n"] == 2
    assert found["by_language"]["en"]["bleu"] == pytest.approx(1.0)
    assert found["by_language"]["zh"]["clinical"]["num_side_errors"] == 2
    assert found["by_language"]["zh"]["sections"]["coverage"] == pytest.approx(1 / 3)
    assert "tok:zh" in found["by_language"]["zh"]["bleu_signature"]
    assert "tok:13a" in found["by_language"]["en"]["bleu_signature"]
    assert sum(entry["n"] for entry in found["embeddings"]) == 4
    json.dumps(found, allow_nan=False)


def test_a_figure_in_the_table_stands_beside_the_number_of_reports_that_it_is_of() -> None:
    references = [ENGLISH, "Diagnosis: 16 deep caries", CHINESE]
    found = written(references, references, ["a", "b", "c"], ["auto"], 0)
    lines = list(figures({"variants": [{"name": "a", "generation": found}], "baselines": {}}))
    counts = {line["group"]: line["n"] for line in lines if line["kind"] in ("embedding", "section")}
    assert (counts["Diagnosis"], counts["Remarks"]) == (3, 2)
    assert sorted(counts[entry["model"]] for entry in found["embeddings"]) == [1, 2]


def test_empty_answers_are_answers() -> None:
    found = written([ENGLISH, CHINESE], ["", " "], ["a", "a"], ["ngrams"], 0)
    assert found["num_unparsed"] == 2
    assert (found["bleu"], found["meteor"], found["cosine"], found["length_ratio"], found["sections"]["coverage"]) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert found["bleu_ci"] is None  # one patient


TEXTS = st.sampled_from([ENGLISH, CHINESE, "", "x", "Diagnosis:", "。", "\u200b", "16"]) | st.text(max_size=20)


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_text_gives_finite_figures(pairs: list[tuple[str, str]]) -> None:
    found = written([a for a, _ in pairs], [b for _, b in pairs], [str(n) for n in range(len(pairs))], ["ngrams"], 0)
    json.dumps(found, allow_nan=False)
    for name in ("bleu", "meteor", "cosine"):
        assert all(-1e-9 <= score <= 1 + 1e-9 for score in found["rows"][name])
