"""The report: every figure where it belongs, nothing fetched, nothing that a model wrote is run."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from codelib.contracts import OK, PREDICTIONS, SIX_CLASSES, rejected
from codelib.core.store import Store
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.cases import choose, thumbnail
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.predictor import BAD_REFERENCE
from codelib.evaluate.report import summary, write_report
from codelib.evaluate.run import Outcome
from codelib.evaluate.scores import evaluate_scores
from codelib.evaluate.tables import table_csv
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Message

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x.png onerror=alert(1)> \"'& Caries"
SETTINGS = EvaluateSettings(embeddings=("ngrams",), num_examples=4)
SHOWN = (
    Variant(name="tuned <b>", model="tiny", adapter="train/demo"),
    Variant(name="shuffled", model="tiny", adapter="train/demo", images="shuffled", benchmarks=("classification",)),
    Variant(name="broken", model="nowhere/model", benchmarks=("classification",)),
)


class Page(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert not [name for name, _ in attrs if name.startswith("on")], "an event handler"
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "poster")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> out of place"

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].startswith(name))


def make_run(folder: Path) -> tuple[Plan, Outcome]:
    """20 visits of 10 patients: `tuned` knows 15, one answer hostile; `shuffled` says Caries to all; `broken` answers nothing."""
    samples, rows = [], []
    for index in range(20):
        label = SIX_CLASSES[index % 6]
        name = f"Images/{index // 2:04d}-{index % 2 + 1:03d}-01.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 200), (index * 10, 0, 0)).save(path)
        question = (Message("user", f"<image>\nWhat is {index}?"),)
        told = {"language": ("en", "zh")[index % 2], "names_label": index < 10}
        samples.append(Sample(f"test-cls/{index}", "classification", f"{index // 2:04d}", question, (name,), label, **told))
        for variant in SHOWN:
            answer = {"tuned <b>": label if index < 15 else (HOSTILE if index == 15 else "no idea"), "shuffled": "Caries"}.get(
                variant.name
            )
            parsed = {"no idea": None, HOSTILE: "Caries"}.get(answer or "", answer)
            row = {"variant": variant.name, "sample_id": samples[-1].sample_id, "benchmark": "classification", "images": [name]}
            row |= {"reference": label, "answer": answer, "parsed": parsed, "status": OK, "reject_reason": None}
            rows.append(row if answer else row | rejected("evaluate:OSError"))
    text = tuple(
        Sample(
            f"test-diagnostic/{s.sample_id[9:]}",
            "generation",
            s.patient,
            s.messages,
            s.images,
            f"Diagnosis: {s.reference}, tooth {i}",
        )
        for i, s in enumerate(samples)
    )
    for sample in text:
        row = {"variant": "tuned <b>", "sample_id": sample.sample_id, "benchmark": "generation", "images": list(sample.images)}
        row |= {
            "reference": sample.reference,
            "answer": sample.reference,
            "parsed": sample.reference,
            "status": OK,
            "reject_reason": None,
        }
        rows.append(row)
    tests = {"classification": tuple(samples), "generation": text}
    prints = {variant.name: {"model": "sha256:00"} for variant in SHOWN}
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)
    return Plan([], SHOWN, tests, {}, prints, frozenset()), Outcome(table, 0, 60, {})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("release")
    plan, outcome = make_run(folder)
    report = evaluate_scores("release", SHOWN, plan, outcome, SETTINGS)
    store = Store(str(tmp_path_factory.mktemp("evaluate")))
    page = write_report(store, folder, SHOWN, plan, outcome, report, SETTINGS)
    return report, Path(page).parent


def test_figures(written: tuple[dict[str, Any], Path]) -> None:
    report, _ = written
    tuned, blind, broken = report["variants"]
    assert tuned["classification"]["accuracy"] == 0.75
    assert tuned["classification"]["num_unparsed"] == 4
    assert (tuned["classification"]["num_patients"], tuned["classification"]["effective_patients"]) == (10, 10.0)
    assert tuned["generation"]["corpus_bleu"] == pytest.approx(100)
    assert blind["classification"]["accuracy"] == 0.2
    assert (broken["status"], broken["classification"], broken["failures"]) == ("failed", None, {"evaluate:OSError": 20})
    assert [row["accuracy"] for row in report["baselines"]["classification"]] == pytest.approx([1 / 6, 0.2, 0.2])
    assert report["baselines"]["generation"][0]["meteor"] < 0.9
    control = report["controls"][0]
    assert (control["as_is"], control["shuffled"]) == ("tuned <b>", "shuffled")
    assert control["change"] == pytest.approx(0.2 - 0.75)
    assert control["change_ci"][0] < control["change"] < control["change_ci"][1] < 0
    groups = {g["name"]: (g["n"], g["accuracy"]) for g in tuned["classification"]["subgroups"]}
    assert groups == {
        "complaint names the label": (10, 1.0),
        "complaint does not name it": (10, 0.5),
        "asked in English": (10, 0.8),
        "asked in Chinese": (10, 0.7),
    }
    notes = " ".join(report["notes"])
    assert "toy" in notes
    assert "broken is failed: 0 of 20" in notes
    assert "n = 20" in notes


def test_the_page_is_self_contained_and_shows_the_figures(written: tuple[dict[str, Any], Path]) -> None:
    report, folder = written
    html = (folder / "report.html").read_text()
    page = Page(html)
    assert page.tags["link"] == page.tags["iframe"] == page.tags["object"] == 0
    assert page.tags["script"] == 2  # the page's own, and its data
    assert page.fetched
    assert all(url.startswith(("data:image/jpeg;base64,", "#")) for url in page.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert not re.search(r"<[a-z][^>]* style=", html)  # the policy would not let it in
    tuned = page.row("tuned <b>")
    assert tuned[1].startswith("75.0[")
    assert tuned[-2:] == ["20", "4"]
    assert page.row("chance")[1] == "16.7"
    assert page.row("majority (always Caries)")[1] == "20.0"
    assert page.row("SFT Qwen 7B")[1:] == ["78.92", "85.06", "78.92", "79.39", "unknown"]
    assert page.row("Gingivitis")[1:] == ["100.0", "75.0", "85.7", "4"]
    matrix = [row for row in page.rows if row[:1] == ["Gingivitis"] and len(row) == 8]
    assert matrix[0][1:] == ["0", "3", "0", "0", "0", "0", "1"]
    groups = next(row for row in page.rows if "complaint names the label" in row)
    accuracies = page.rows[page.rows.index(groups) + 1]
    assert [value.split("[")[0] for value in accuracies[1:3]] == ["100.0", "50.0"]
    assert [value.split("n = ")[1] for value in accuracies[1:3]] == ["10", "10"]
    assert page.tags["figure"] == 3 + len(report["ablations"])
    assert page.tags["article"] == 4


def test_the_same_run_gives_the_same_bytes(written: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    report, folder = written
    plan, outcome = make_run(tmp_path / "release")
    again = evaluate_scores("release", SHOWN, plan, outcome, SETTINGS)
    write_report(Store(str(tmp_path / "evaluate")), tmp_path / "release", SHOWN, plan, outcome, again, SETTINGS)
    for name in ("report.html", "report.json", "table.csv", "predictions.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "evaluate" / "report" / name).read_bytes(), name
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))


def test_csv_files_say_the_same(written: tuple[dict[str, Any], Path]) -> None:
    report, folder = written
    rows = list(csv.DictReader(io.StringIO(table_csv(report).decode())))
    found = {(row["kind"], row["name"], row["metric"]): row["value"] for row in rows}
    assert float(found["variant", "tuned <b>", "accuracy"]) == 0.75
    groups = {(row["name"], row["group"]): row["value"] for row in rows if row["kind"] == "subgroup"}
    assert float(groups["tuned <b>", "complaint names the label"]) == 1.0
    assert float(found["paper", "SFT Qwen 7B", "f1"]) == pytest.approx(0.7939)
    predictions = list(csv.DictReader((folder / "predictions.csv").open(newline="")))
    assert len(predictions) == 80
    assert [row["answer"] for row in predictions if row["answer"] == HOSTILE] == [HOSTILE]


def test_the_summary_names_every_row(written: tuple[dict[str, Any], Path]) -> None:
    text = summary(written[0])
    for words in (
        "tuned <b>",
        "75.0",
        "failed",
        "chance (uniform)",
        "majority (always Caries)",
        "another patient's report",
        "-55.0 points",
        "complaint names the label 100.0 (n = 10); complaint does not name it 50.0 (n = 10)",
    ):
        assert words in text


def test_a_reference_without_a_class_is_left_out_and_told(tmp_path: Path) -> None:
    plan, outcome = make_run(tmp_path)
    rows = outcome.table.to_pylist()
    rows = [row | rejected(BAD_REFERENCE) if row["sample_id"] == "test-cls/0" else row for row in rows]
    outcome = Outcome(pa.Table.from_pylist(rows, schema=PREDICTIONS.schema), 0, 0, {})
    report = evaluate_scores("release", SHOWN, plan, outcome, SETTINGS)
    assert report["variants"][0]["status"] == "complete"
    assert report["variants"][0]["classification"]["n"] == 19
    assert any("1 test samples have a reference" in note for note in report["notes"])


def test_a_dataset_that_says_nothing_of_its_samples_has_no_subgroups(tmp_path: Path) -> None:
    plan, outcome = make_run(tmp_path)
    bare = tuple(replace(sample, language="", names_label=None) for sample in plan.tests["classification"])
    report = evaluate_scores("release", SHOWN, replace(plan, tests={"classification": bare}), only(outcome, bare), SETTINGS)
    assert [variant["classification"]["subgroups"] for variant in report["variants"] if variant["classification"]] == [[], []]
    assert "complaint" not in summary(report)


def only(outcome: Outcome, samples: tuple[Sample, ...]) -> Outcome:
    names = {sample.sample_id for sample in samples}
    rows = [row for row in outcome.table.to_pylist() if row["sample_id"] in names]
    return Outcome(pa.Table.from_pylist(rows, schema=PREDICTIONS.schema), 0, 0, {})


def test_examples_mix_right_and_wrong(tmp_path: Path) -> None:
    samples = [Sample(f"t/{i}", "classification", str(i), (), (), "Caries") for i in range(30)]
    verdicts = {
        f"t/{i}": ["right", "right"] if i < 20 else (["right", "wrong"] if i < 25 else ["wrong", "unparsed"]) for i in range(30)
    }
    chosen = [int(sample.sample_id[2:]) for sample in choose(samples, verdicts, 9, seed=0)]
    assert [sum(a <= i < b for i in chosen) for a, b in ((0, 20), (20, 25), (25, 30))] == [3, 3, 3]
    assert chosen == [int(sample.sample_id[2:]) for sample in choose(samples[::-1], verdicts, 9, seed=0)]
    assert len(choose(samples, {}, 99, seed=0)) == 30


def test_thumbnails_are_small_and_a_bad_file_is_none(tmp_path: Path) -> None:
    Image.effect_noise((2000, 1000), 80).convert("RGB").save(tmp_path / "a.jpg", exif=b"Exif\0\0secret")
    url = thumbnail(tmp_path / "a.jpg")
    assert url is not None
    assert len(url) < 20_000
    (tmp_path / "b.jpg").write_bytes(b"not an image")
    assert thumbnail(tmp_path / "b.jpg") is None
    assert thumbnail(tmp_path / "c.jpg") is None
