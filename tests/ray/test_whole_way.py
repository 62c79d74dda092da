"""The whole way, as a newcomer goes it: the demo twice, and the real export to a report."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests import here
from tests.jobs import ROOT, run, tree

TRAINED = ("--recipe", "demo")
VARIANTS = ROOT / "jobs" / "variants" / "demo.yaml"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demo, run to its end; its folder and its words."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, run("demo", "--workspace", folder, timeout_s=900)


def report_of(workspace: Path) -> dict:
    return json.loads((workspace / "evaluate" / "report" / "report.json").read_text(encoding="utf-8"))


def test_the_tuned_model_beats_base_chance_and_majority_and_looks_at_the_images(demo):
    report = report_of(demo[0] / "work")
    base, tuned, shuffled = (v["classification"] for v in report["variants"])
    chance, majority, _ = (row["accuracy"] for row in report["baselines"]["classification"])
    assert tuned["n"] >= 25
    assert tuned["accuracy_ci"][0] > max(majority, chance)
    assert tuned["accuracy"] > base["accuracy"]
    assert shuffled["accuracy"] < tuned["accuracy_ci"][0]
    (control,) = report["controls"]
    assert control["change_ci"][1] < 0


def test_the_demo_ends_with_what_a_person_wants_to_know(demo):
    _, said = demo
    end = said[said.index("Done in") :]
    for words in ("built", "rejected", "ingest:duplicate_visit", "Tiny, LoRA-tuned", "majority", "report.html", "toy"):
        assert words in end, words


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag, attrs):
        self.outside += [
            v for k, v in attrs if k in ("src", "href") and v and v.startswith(("http:", "https:", "//")) and tag != "a"
        ]


def test_the_report_is_one_page_that_asks_nobody(demo):
    page = (demo[0] / "work" / "evaluate" / "report" / "report.html").read_text(encoding="utf-8")
    links = _Links()
    links.feed(page)
    assert links.outside == []
    for words in ("Table 3", "majority", "images shuffled", "data:image/jpeg;base64,"):
        assert words in page, words


def test_a_second_demo_skips_what_is_done_and_says_so(demo):
    folder, _ = demo
    before = {p: p.stat().st_mtime_ns for p in (folder / "work" / "release").rglob("*")}
    adapter = tree(folder / "work" / "train" / "demo" / "adapter")
    said = run("demo", "--workspace", folder)
    assert "already there, kept" in said
    assert said.count("nothing new") >= 10
    assert "done already, skipped" in said
    assert " 0 made" in said
    assert {p: p.stat().st_mtime_ns for p in (folder / "work" / "release").rglob("*")} == before
    assert tree(folder / "work" / "train" / "demo" / "adapter") == adapter


def test_the_real_export_goes_all_the_way_to_a_report(demo, real_workspace, tmp_path):
    release, workspace = real_workspace / "release", tmp_path / "work"
    assert "all checks passed" in here.run("release", "--verify", release)
    shutil.copytree(demo[0] / "work" / "models", workspace / "models")  # the toy is built once
    run("train", "--dataset", release, "--workspace", workspace, *TRAINED)
    said = run("evaluate", "--dataset", release, "--workspace", workspace, "--variants", VARIANTS, *TRAINED)
    report = report_of(workspace)
    assert [v["name"] for v in report["variants"]][:2] == ["Tiny, zero-shot", "Tiny, LoRA-tuned"]
    assert report["variants"][1]["classification"]["n"] >= 1
    assert "report.html" in said
