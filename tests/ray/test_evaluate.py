"""jobs.evaluate against a real server that speaks chat completions: scores, resume, a file of one's own, served modules, the report."""

from __future__ import annotations

import csv
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.seeing_server import NUM_PATIENTS, SEEING, FakeServer, options, read, run, variants_file

pytestmark = pytest.mark.ray


class Page(HTMLParser):
    """Collects what a browser would fetch, what is shown, and whether every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "xlink:href") and tag != "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_model_that_looks_is_scored_and_the_control_falls(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command)
    report = read(workspace)
    seeing, blind = report["variants"]
    assert seeing["classification"]["accuracy"] == 1.0
    assert seeing["classification"]["n"] == 24
    assert seeing["classification"]["num_patients"] == NUM_PATIENTS
    assert blind["classification"]["accuracy"] < 0.7
    assert report["controls"][0]["change_ci"][1] < 0
    assert 0 < seeing["generation"]["meteor"] < 1

    page = Page()
    html = (workspace / "evaluate" / "report" / "report.html").read_text()
    page.feed(html)
    assert not page.open
    assert page.fetched
    assert all(url.startswith("data:image/jpeg;base64,") for url in page.fetched)
    assert "url(" not in html
    assert "@import" not in html
    assert page.tags["script"] == 2  # the page's own, and its data: test_report_page.py tries to get past them
    shown = " ".join(page.text)
    assert "<script>alert(1)</script>" in shown  # as text
    assert "100.0" in shown
    assert "48.97" in shown
    assert "chance (uniform)" in shown
    assert "16.7" in shown

    rows = list(csv.DictReader((workspace / "evaluate" / "report" / "predictions.csv").open()))
    assert len(rows) == 24 * 3
    assert str(tmp_path) not in html + json.dumps(report)


def test_nothing_is_asked_twice(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SEEING))
    run(*command, "--limit", "10")
    assert sum(server.asked.values()) == 30
    first = {str(p): p.read_bytes() for p in (workspace / "evaluate" / "report").iterdir() if p.suffix == ".csv"}
    run(*command, "--limit", "10")
    assert sum(server.asked.values()) == 30
    assert "30 kept, 0 made" in capsys.readouterr().out
    assert first == {str(p): p.read_bytes() for p in (workspace / "evaluate" / "report").iterdir() if p.suffix == ".csv"}
    # more samples, and a variant by another name: only what is new is asked
    run(*command[:-1], variants_file(tmp_path, server.url, SEEING.replace("name: seeing,", "name: renamed,")))
    assert sum(server.asked.values()) == 72
    assert max(server.asked.values()) == 1


def test_dry_run_asks_and_writes_nothing(dataset: Path, server: FakeServer, tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    run(*options(dataset, workspace, variants_file(tmp_path, server.url, SEEING)), "--dry-run")
    assert not server.asked
    assert not workspace.exists()


def test_a_file_of_ones_own_is_asked_but_for_its_bad_rows(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((dataset / "test-cls.json").read_text())
    folder = tmp_path / "other clinic"
    folder.mkdir()
    for number, row in enumerate(rows):
        picture = f"HOSPITAL scan {number}.jpg"
        (folder / picture).write_bytes((dataset / row["images"][0]).read_bytes())
        row |= {"images": [picture], "id": f"HOSPITAL-{number}", "mrn": f"HOSPITAL-{number // 2}"}
    rows[3]["images"] = ["HOSPITAL.jpg"]
    rows[5]["messages"][-1]["content"] = "HOSPITAL"
    (folder / "cases.json").write_text(json.dumps(rows))
    workspace = tmp_path / "work"
    command = ("--test", str(folder / "cases.json"), "--benchmark", "classification", "--patients", "mrn")
    command += ("--workspace", str(workspace), "--variants", variants_file(tmp_path, server.url, SEEING))
    run(*command)
    report = read(workspace)
    assert report["dataset"] == "cases"
    assert any("2 of the 24 rows" in note for note in report["notes"])
    scored = report["variants"][0]["classification"]
    assert (scored["n"], scored["accuracy"], scored["num_patients"]) == (22, 1.0, 12)
    rejected = (workspace / "evaluate" / "report" / "rejected.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in rejected[1:]] == [["4", "image_missing"], ["6", "label"]]
    written = [path for path in workspace.rglob("*") if path.is_file()]
    assert not any(b"HOSPITAL" in path.read_bytes() or "HOSPITAL" in path.name for path in written)
    answers = (workspace / "evaluate" / "report" / "predictions.csv").read_text()
    assert ",test/1/image-1," in answers
    assert (workspace / "evaluate" / "report" / "report.html").read_bytes().count(b"data:image/jpeg") >= 22
    assert "HOSPITAL" not in "".join(capsys.readouterr())
    asked = server.asked.total()
    run(*command)
    assert server.asked.total() == asked


SERVED = """
- {name: dead, engine: openai, model: eye, adapter: dead, base_url: URL}
- {name: live, engine: openai, model: eye, adapter: mute, base_url: URL, benchmarks: [classification]}
"""


def test_a_served_module_without_effect_is_refused_though_its_base_is_not_in_the_list(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SERVED))
    run(*command, expect=1)
    said = capsys.readouterr().out
    assert "evaluate: 2 variants on" in said and "16 questions   for the canary alone" in said
    assert server.asked.total() == 48 + 16 + 24 + 24  # what both ask, and their bare model a few reports and classes
    report = read(workspace)
    dead, live = report["variants"]
    assert (dead["status"], dead["generation"], dead["canary"]["num_items"]) == ("refused", None, 16)
    assert "bare model: its adapter had no effect" in dead["canary"]["why"]
    assert (live["status"], live["canary"]["status"], live["classification"]["n"]) == ("complete", "passed", 24)
    rows = list(csv.DictReader((workspace / "evaluate" / "report" / "predictions.csv").open()))
    assert {row["variant"] for row in rows} == {"dead", "live"}
    assert report["cost"]["num_answers"] == server.asked.total()
    run(*command, expect=1)
    assert server.asked.total() == 48 + 16 + 24 + 24


def test_a_server_without_the_bare_model_leaves_its_module_alone(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "work"
    server.away, server.away_says = "eye", 404
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SERVED))
    command += ("--set", "partition_samples=6", "--set", "max_retries=0")
    run(*command)
    for variant in read(workspace)["variants"]:
        assert (variant["status"], variant["canary"]["status"]) == ("complete", "not_run")
        assert "Put that model into the variants file too" in variant["diagnosis"][0]["text"]
    asked = server.asked.total()
    capsys.readouterr()
    run(*command)  # what nobody has to answer is not asked again
    assert server.asked.total() == asked and "0 of" in capsys.readouterr().out


def test_a_bare_model_that_was_away_is_asked_by_the_next_run(
    dataset: Path, server: FakeServer, tmp_path: Path, cluster: object
) -> None:
    workspace = tmp_path / "work"
    server.away = "eye"
    command = options(dataset, workspace, variants_file(tmp_path, server.url, SERVED))
    command += ("--set", "partition_samples=6", "--set", "max_retries=0")
    run(*command)
    assert {variant["canary"]["status"] for variant in read(workspace)["variants"]} == {"not_run"}
    server.away = ""
    run(*command, expect=1)
    assert "refused" in {variant["status"] for variant in read(workspace)["variants"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--benchmarks", "clasification"), "did you mean classification"),
        (("--limit", "0"), "--limit 0"),
        (("--set", "sead=1"), "did you mean seed"),
    ],
)
def test_bad_input_is_one_sentence(
    dataset: Path, server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    file = variants_file(tmp_path, server.url, SEEING)
    run(*options(dataset, tmp_path / "work", file), *arguments, expect=2)
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
