"""The figures of a release: their numbers, what they keep to themselves, and that every character can be read."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codelib.contracts import ANNOTATED, SPLIT
from codelib.core.store import Store
from codelib.data.figures import chart_csv, figures_work, make_figure
from codelib.data.figures_bars import Bar, Chart, Count, bins, close_ends, join_sparse, quartiles
from codelib.data.figures_charts import FiguresSettings, conditions, panels, report_length
from codelib.data.figures_counts import STATISTICS, Sums, count
from codelib.data.figures_table import texts
from codelib.data.figures_words import percent
from codelib.dental.condition_lists import conditions as known_conditions
from tests.jobs import ROOT

BOUND = 5
TERMS = (("Deep caries", "深龋", "Caries"), ("Acute pulpitis", "急性牙髓炎", "Pulpitis"), ("Halitosis", "口臭", None))


def visit(patient: int, number: int = 1, *, split: str = "train", terms: tuple[int, ...] = (0,), **more) -> dict:
    """A released visit: its row in both tables."""
    return {
        "checkup_id": f"{patient:04d}-{number:03d}",
        "patient_id": f"{patient:04d}",
        "checkup_time": "2021-03-05 09:30",
        "age": 30,
        "gender": "female",
        "split": split,
        "photographs": ["a", "b"],
        "radiographs": [],
        "words": 25,
        "diseases": [dict(zip(("en", "zh", "six_class"), TERMS[t], strict=True)) | {"status": "present"} for t in terms],
    } | more


def tables(visits: list[dict]) -> tuple[pa.Table, pa.Table]:
    annotated = []
    for v in visits:
        row = dict.fromkeys(ANNOTATED.schema.names) | {name: v[name] for name in v if name in ANNOTATED.schema.names}
        row |= {
            name: "" for name in ANNOTATED.schema.names if row[name] is None and ANNOTATED.schema.field(name).type == pa.string()
        }
        row |= {"examination": "word " * v["words"], "examination_cn": "字 " * v["words"], "status": "ok"}
        annotated.append(row | {"gender": v["gender"]})
    split = [{name: v.get(name) for name in SPLIT.schema.names} | {"status": "ok"} for v in visits]
    return pa.Table.from_pylist(annotated, schema=ANNOTATED.schema), pa.Table.from_pylist(split, schema=SPLIT.schema)


def sums_of(*partitions: list[dict], bound: int = BOUND) -> Sums:
    sums = Sums(bound)
    for visits in partitions:
        sums.add(count(*tables(visits), bound))
    return sums


def charts_of(*partitions: list[dict], moved: bool = True) -> dict[str, Chart]:
    sums, given = sums_of(*partitions), FiguresSettings()
    found = [*panels(sums, BOUND, moved, True), conditions(sums, given, False), conditions(sums, given, True)]
    return {chart.name: chart for chart in found}


def clinic(patients: int = 40) -> list[dict]:
    """Patients of all ages, every third with a second visit in the test set."""
    visits = []
    for p in range(patients):
        more = {"age": 10 + p, "gender": ("female", "male", None)[p % 3 if p % 7 else 2], "photographs": ["x"] * (p % 6)}
        visits.append(visit(p, terms=(p % 3,), **more))
        if p % 3 == 0:
            visits.append(visit(p, 2, split="test", terms=(0, 2), **more | {"checkup_time": "2023-01-01"}))
    return visits


# ── numbers


def test_the_statistics_table_holds_its_contract():
    table = count(*tables(clinic()), BOUND)
    assert table.schema.equals(STATISTICS.schema)
    assert table.group_by(list(STATISTICS.key)).aggregate([]).num_rows == table.num_rows
    assert max(len(p) for p in table["patients"].to_pylist()) <= BOUND


def test_numbers_equal_a_direct_count():
    visits = clinic()
    charts = charts_of(visits[:13], visits[13:14], visits[14:])
    shown = {bar.label: bar.n for bar in charts["photographs"].bars}
    assert shown == {str(k): n for k, n in Counter(len(v["photographs"]) for v in visits).items()}
    genders = {v["patient_id"]: v["gender"] for v in visits}
    assert {b.label.lower(): b.n for b in charts["gender"].bars} == {
        k or "not recorded": n for k, n in Counter(genders.values()).items()
    }
    found = Counter(d["en"] for v in visits for d in v["diseases"])
    assert {b.label: b.n for b in charts["conditions_whole"].bars} == found
    assert charts["conditions_whole"].n == len(visits)
    tested = Counter(d["en"] for v in visits if v["split"] == "test" for d in v["diseases"])
    assert {b.label: b.n for b in charts["conditions_test"].bars} == tested
    assert {b.label: b.n for b in charts["checkups_per_patient"].bars} == {"1": 26, "2": 14}
    assert charts["age"].n == len(visits)
    rows = list(csv.DictReader(io.StringIO(texts(sums_of(visits), BOUND, True)["summary.csv"])))
    table = {row["quantity"]: row for row in rows}
    assert (table["Checkups"]["all"], table["Checkups"]["test"], table["Patients"]["all"]) == ("54", "14", "40")
    assert table["Photographs"]["all"] == str(sum(len(v["photographs"]) for v in visits))


VISITS = st.lists(
    st.builds(
        lambda patient, split, age, year, terms, n: visit(
            patient, split=split, terms=terms, age=age, checkup_time=f"{year}-01-01", photographs=["x"] * n
        ),
        st.integers(0, 12),
        st.sampled_from(["train", "test", "excluded", "validation"]),
        st.one_of(st.none(), st.integers(0, 90)),
        st.integers(2018, 2025),
        st.sampled_from([(), (0,), (1,), (0, 1), (0, 2)]),
        st.integers(0, 4),
    ),
    max_size=60,
)


def numbered(visits: list[dict]) -> list[dict]:
    return [v | {"checkup_id": f"{v['patient_id']}-{i:03d}"} for i, v in enumerate(visits)]


@settings(max_examples=25, deadline=None)
@given(VISITS, st.lists(st.integers(0, 60), max_size=4))
def test_any_cut_into_partitions_gives_the_same_charts(visits, cuts):
    visits, places = numbered(visits), sorted({0, 60, *cuts})
    parts = [visits[a:b] for a, b in pairwise(places)]
    assert charts_of(*parts) == charts_of(visits)


@settings(max_examples=40, deadline=None)
@given(VISITS)
def test_no_bar_of_few_patients_shows_its_number(visits):
    visits = numbered(visits)
    charts = charts_of(visits)
    by_photographs, by_condition = {}, {}
    for v in visits:
        by_photographs.setdefault(str(len(v["photographs"])), set()).add(v["patient_id"])
        for d in v["diseases"]:
            by_condition.setdefault(d["en"], set()).add(v["patient_id"])
    for chart, patients in ((charts["photographs"], by_photographs), (charts["conditions_whole"], by_condition)):
        for bar in (*chart.bars, *chart.listed):
            if bar.n and bar.label in patients:
                assert len(patients[bar.label]) >= BOUND
    for chart in charts.values():
        for row in csv.DictReader(io.StringIO(chart_csv(chart))):
            assert row[chart.unit] in (f"<{BOUND}", "withheld") or int(row[chart.unit]) == 0 or int(row[chart.unit]) >= BOUND


def test_a_checkup_that_was_not_released_counts_nowhere():
    annotated, split = tables(clinic())
    assert count(annotated, split.slice(0, 0), BOUND).num_rows == 0


# ── small counts


def test_ends_are_joined_until_they_stand_for_enough():
    values = {10: 1, 22: 6, 31: 9, 88: 2}
    counts = {v: Count(n, {f"{v}-{i}" for i in range(n)}) for v, n in values.items()}
    assert [(b.label, b.count.n) for b in close_ends(bins(counts, 10, BOUND), BOUND)] == [("≤ 29", 7), ("≥ 30", 11)]


def test_a_sparse_tail_is_one_bar():
    values = {0: 50, 10: 60, 20: 3, 30: 2, 40: 6}
    counts = {v: Count(n, {f"{v}-{i}" for i in range(n)}) for v, n in values.items()}
    assert [(b.label, b.count.n) for b in close_ends(bins(counts, 10, BOUND), BOUND)] == [
        ("0–9", 50),
        ("10–19", 60),
        ("≥ 20", 11),
    ]
    middle = bins({0: counts[0], 20: counts[20], 40: counts[10]}, 10, BOUND)
    assert [b.count.n for b in close_ends(middle, BOUND)] == [50, 0, 3, 0, 60]
    assert [(b.label, b.count.n) for b in join_sparse(middle, BOUND)] == [("0–39", 53), ("40–49", 60)]


def test_values_that_cannot_be_cut_are_not_shown():
    charts = charts_of([visit(p, age=10 * p) for p in range(7)])
    assert charts["age"].bars == () and charts["age"].title.startswith("Too few patients")


def test_conditions_that_are_equally_frequent_share_the_title():
    visits = [visit(p, terms=(p % 2,)) for p in range(20)]
    title = "Acute pulpitis and Deep caries are the most frequent of 2 conditions: each in 50 % of the checkups"
    assert charts_of(visits)["conditions_whole"].title == title
    assert (
        "3 of 3 conditions are the most frequent"
        in charts_of([visit(p, terms=(p % 3,)) for p in range(30)])["conditions_whole"].title
    )


def test_many_visits_of_few_patients_are_few():
    visits = numbered([visit(p % 2) for p in range(50)])
    assert all(chart.total == 0 for chart in charts_of(visits).values())


def test_a_single_rare_condition_is_in_no_sum():
    common = [visit(p, terms=(0,)) for p in range(20)]
    chart = charts_of([*common, visit(30, terms=(2,))])["conditions_whole"]
    assert [(b.label, b.n) for b in chart.bars] == [("Deep caries", 20), ("1 other condition", None)]
    assert "Halitosis,口臭,<5," in chart_csv(chart)


def test_the_limit_is_a_setting():
    assert panels(sums_of([visit(1)], bound=1), 1, False, False)[0].title == "All patients are female"
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        FiguresSettings(min_patients=0)


def test_a_single_hidden_number_takes_a_second_one_with_it():
    """n, or the totals of the table, would tell it."""
    visits = [visit(p, terms=((0,), (1,), ())[0 if p < 20 else 1 if p < 29 else 2]) for p in range(32)]
    chart = charts_of(visits)["six_classes"]
    assert [(b.label, b.value(BOUND)) for b in chart.bars] == [("Caries", "20"), ("Pulpitis", "9"), ("None of the six", "<5")]
    rare = [visit(p, terms=((0,), (1,), ())[0 if p < 20 else 1 if p < 22 else 2]) for p in range(32)]
    chart = charts_of(rare)["six_classes"]
    assert [(b.label, b.value(BOUND)) for b in chart.bars] == [
        ("Caries", "20"),
        ("Pulpitis", "<5"),
        ("None of the six", "withheld"),
    ]
    few_men = [visit(p, gender="male" if p < 2 else "female") for p in range(30)]
    assert charts_of(few_men)["gender"].bars == ()
    assert "Female patients,–,–,–,–,–" in texts(sums_of(few_men), BOUND, True)["summary.csv"]


@settings(max_examples=40, deadline=None)
@given(VISITS)
def test_bars_of_numbers_never_hide_one(visits):
    charts = charts_of(numbered(visits))
    for name in ("age", "year", "photographs", "radiographs", "checkups_per_patient", "report_words"):
        assert all(bar.n is not None or bar.muted for bar in charts[name].bars)


def test_a_title_tells_no_part_of_a_bar():
    visits = [visit(p, radiographs=["x"] * (p % 2 if p > 2 else 2 + p)) for p in range(30)]
    chart = charts_of(visits)["radiographs"]
    assert [b.label for b in chart.bars] == ["0", "≥ 1"]
    assert chart.title == "57 % of the checkups have 1 or more radiographs"


# ── odd releases


def test_one_visit_shows_nothing_of_its_patient():
    charts = charts_of([visit(1, age=47)])
    assert all(
        chart.title == "Too few patients to show: fewer than 5 in each bar"
        for n, chart in charts.items()
        if n != "conditions_test"
    )
    said = json.dumps([asdict(c) for c in charts.values()]) + "".join(texts(sums_of([visit(1, age=47)]), BOUND, True).values())
    assert "47" not in said and "2021" not in said.replace("≤ 2021", "")


def test_no_test_visits():
    chart = charts_of([visit(p) for p in range(9)])["conditions_test"]
    assert chart.title == "No checkup in the test set" and chart.n == 0


def test_an_empty_release():
    assert {c.title for c in charts_of([]).values()} == {
        "No checkups to show",
        "No patients to show",
        "No checkup in the test set",
    }


def test_a_single_gender():
    assert charts_of([visit(p) for p in range(9)])["gender"].title == "All patients are female"


def test_contradicting_genders_count_as_not_recorded():
    visits = [visit(p, n, gender=("male", "female")[n % 2]) for p in range(9) for n in (1, 2, 3)]
    chart = charts_of(visits[:5], visits[5:])["gender"]
    assert [(b.label, b.n) for b in chart.bars] == [("Not recorded", 9)]
    assert chart.title == "The gender of all patients is not recorded"


def test_nothing_recorded():
    visits = [visit(p, age=None, gender=None, terms=(), checkup_time=None, words=0) for p in range(9)]
    charts = charts_of(visits)
    assert [b.label for b in charts["age"].bars] == ["not recorded"]
    assert charts["age"].title == "The age is missing in all checkups"
    assert charts["six_classes"].title == "0 % of the checkups show exactly one of the six classes"


def test_years_say_that_they_are_moved():
    visits = [visit(p) for p in range(9)]
    assert any("secret offset" in note for note in charts_of(visits)["year"].notes)
    assert not charts_of(visits, moved=False)["year"].notes


# ── words


@pytest.mark.parametrize(
    ("part", "total", "said"), [(0, 9, "0 %"), (1, 1000, "under 1 %"), (999, 1000, "over 99 %"), (9, 9, "100 %"), (1, 3, "33 %")]
)
def test_percent(part, total, said):
    assert percent(part, total) == said


@given(st.lists(st.integers(0, 99), min_size=1))
def test_quartiles(values):
    counts = {v: Count(n) for v, n in Counter(values).items()}
    low, middle, high = quartiles(counts)
    for share, value in ((0.25, low), (0.5, middle), (0.75, high)):
        assert value == np.quantile(values, share, method="inverted_cdf")


def test_lengths_are_said_in_their_bins():
    chart = report_length(sums_of([visit(p, words=20 + p) for p in range(30)]), "report_words", "English words", BOUND)
    assert chart.title == "Half of the reports have 20 to 49 English words"


# ── drawing


def long_tail(drawn: int = 30) -> Chart:
    bars = tuple(Bar(c.en, 200 - i, c.zh) for i, c in enumerate(known_conditions()[:drawn]))
    return Chart(
        "c",
        "A finding",
        "Condition",
        "checkups",
        (*bars, Bar("90 other conditions", 4000, "其余", True)),
        9000,
        rows=True,
        listed=bars,
    )


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_drawn_twice_the_bytes_are_the_same(tmp_path):
    from codelib.data.figures_draw import draw

    chart = long_tail(8)
    svg, png = draw([chart])
    code = "import sys, json; from codelib.data.figures import _chart; from codelib.data.figures_draw import draw;"
    code += "svg, png = draw([_chart(json.load(sys.stdin))]); sys.stdout.buffer.write(svg + png)"
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")  # a user's own taste
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "7",
        "MPLCONFIGDIR": str(tmp_path),
        "TZ": "Asia/Shanghai",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asdict(chart)).encode(), capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == svg + png
    assert b"<dc:date>" not in svg and b"tEXtSoftware" not in png


def test_every_chinese_name_of_the_dictionary_has_its_glyphs():
    from codelib.data.figures_draw import font_file, name_of, readable

    assert font_file()[1], "zhplot, which carries the font, is not installed"
    for condition in known_conditions():
        assert name_of(Bar(condition.en, 1, condition.zh)).endswith(condition.zh)
        assert "?" not in readable(condition.en)


def test_chinese_is_drawn_and_not_as_boxes():
    from codelib.data.figures_draw import draw

    def label(text: str) -> np.ndarray:
        return picture(draw([Chart("c", text, "w", "checkups", (Bar("a", 9),), 9, rows=True)])[1])

    drawn = {text: label(text) for text in ("深", "龋", "髓", "炎")}
    assert all((drawn[a] != drawn[b]).any() for a in drawn for b in drawn if a < b)  # boxes would all look alike
    assert all((image != label("")).sum() > 50 for image in drawn.values())


def test_a_character_without_a_glyph_is_never_a_box():
    from codelib.data.figures_draw import draw, name_of

    rare = "\u16a0"  # a rune
    assert name_of(Bar("Malocclusion", 9, f"安{rare}错")) == "Malocclusion"
    assert name_of(Bar(f"{rare} class\n$x_1$", 9, "")) == "? class $x_1$"
    draw([Chart("c", f"{rare} $\\frac$", "w $", "checkups", (Bar(f"{rare}$^", 9, rare),), 9, rows=True)])


def test_without_the_font_names_stand_in_english(monkeypatch):
    from codelib.data import figures_draw

    monkeypatch.setattr(figures_draw, "find_spec", lambda name: None)
    figures_draw._glyphs.cache_clear()
    try:
        assert figures_draw.font_file()[1] is False
        assert figures_draw.name_of(Bar("Deep caries", 9, "深龋")) == "Deep caries"
    finally:
        figures_draw._glyphs.cache_clear()


@pytest.mark.parametrize("visits", [[visit(1)], clinic()], ids=["one", "clinic"])
def test_everything_is_written(visits, tmp_path):
    store = Store(str(tmp_path))
    for work in figures_work(sums_of(visits), FiguresSettings(), True, True):
        json.dumps(work.extra)
        files = make_figure(work.extra, store)
        assert all(store.exists(row["path"]) for row in files.to_pylist())
    names = store.names("figures")
    assert "figures/summary.md" in names and "figures/overview.png" in names
    assert {n[:-4] for n in names if n.endswith(".svg")} == {n[:-4] for n in names if n.endswith(".png")}
