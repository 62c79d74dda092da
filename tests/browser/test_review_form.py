"""The form of a blinded review in a real browser: a dentist's clicks become the file that the score reads, and outlive a reload."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codelib.evaluate.review_sheet import CRITERIA
from jobs.review import main
from tests.chromium import Chromium, installed
from tests.review_room import key_of, make_room

pytestmark = pytest.mark.browser
COUNT = "document.getElementById('count').textContent"
KEPT = "document.getElementById('kept').textContent"
OVER = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
COMMENT = 'a, "b"\n第二行'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not installed():
        pytest.skip("no Chromium here")
    with Chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def review(tmp_path: Path) -> Path:
    dataset, workspace = make_room(tmp_path, num_patients=1)
    main(["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "2", "--reviewers", "1"])
    return workspace / "evaluate" / "review" / "first"


def saved(browser: Chromium, folder: Path) -> Path:
    """The file that the button hands out, as the browser downloads it."""
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click("#save")
    until = time.monotonic() + browser.timeout_s
    while not (found := list(folder.glob("*.csv"))):
        assert time.monotonic() < until, "nothing was downloaded"
        time.sleep(0.05)
    return found[0]


def judge(browser: Chromium, review: Path) -> None:
    """5, 4, 3 for the model and 2, 2, 2 for the reference, by the mouse; the model is the better one. The machine is short of memory
    meanwhile, where Chromium's localStorage can read as empty."""
    (sheet,) = key_of(review.parents[2])["sheets"].values()
    for case, order in sheet["order"].items():
        for letter, whose in order.items():
            for criterion, value in zip(CRITERIA, (5, 4, 3) if whose == "tuned" else (2, 2, 2), strict=True):
                browser.click(f'input[name="{case},{letter},{criterion}"][value="{value}"]')
                browser.send("Memory.simulatePressureNotification", level="critical")
            if whose == "tuned":
                browser.click(f'input[name="{case},best"][value="{letter}"]')
    browser.click("textarea")
    browser.send("Input.insertText", text=COMMENT)


def test_clicks_outlive_a_reload_and_become_the_file_that_the_score_reads(
    browser: Chromium, review: Path, tmp_path: Path
) -> None:
    page = review / "sheets" / "reviewer-1.html"
    browser.open(page)
    assert browser.run(COUNT) == "0 of 2"
    judge(browser, review)
    assert browser.run(COUNT) == "2 of 2"
    browser.expect(KEPT, "kept in this browser")
    browser.open(page)
    browser.expect(COUNT, "2 of 2")
    assert browser.run("document.querySelectorAll('section.done').length") == 2
    assert browser.run("document.querySelector('textarea').value") == COMMENT
    file = saved(browser, tmp_path)
    assert not browser.complaints
    assert not [url for url in browser.requests if not url.startswith("blob:")]
    assert file.name == "reviewer-1-filled.csv"
    assert file.read_bytes().startswith(b"\xef\xbb\xbfsheet,case,report,accuracy,completeness,safety,best,comment\r\n")

    (review / "filled").mkdir()
    file.rename(review / "filled" / file.name)
    main(["score", str(review)])
    result = json.loads((review / "review.json").read_text(encoding="utf-8"))
    assert {row["name"]: row["share"] for row in result["preference"]}["tuned"] == 1
    means = {(row["name"], row["criterion"]): row["value"] for row in result["ratings"]}
    assert [means["tuned", criterion] for criterion in CRITERIA] == [5, 4, 3]
    assert [means["reference", criterion] for criterion in CRITERIA] == [2, 2, 2]
    assert [(c["case"], c["comment"]) for c in result["comments"]] == [(1, COMMENT)]
    assert result["reviewers"] == [{"reviewer": 1, "num_complete": 2, "num_open": 0}]


def test_a_form_that_nobody_touched_saves_open_cells(browser: Chromium, review: Path, tmp_path: Path) -> None:
    browser.open(review / "sheets" / "reviewer-1.html")  # another review: its answers are its own
    assert browser.run(COUNT) == "0 of 2"
    lines = saved(browser, tmp_path).read_text("utf-8-sig").strip().splitlines()
    assert all(line.endswith(",,,,,") for line in lines[1:])
    assert len(lines) == 5


def test_it_fits_a_phone_an_image_opens_and_no_script_of_a_model_runs(browser: Chromium, review: Path) -> None:
    for width in (1280, 360):
        browser.open(review / "sheets" / "reviewer-1.html", width=width)
        assert browser.run(OVER) == 0, width
    assert browser.run("document.title") == "Review of reports"
    before = browser.run("document.querySelector('.images img').height")
    browser.click(".images img")
    assert browser.run("document.querySelector('.images img').height") > before
    assert not browser.complaints
    assert not browser.requests
