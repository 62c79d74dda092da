"""The report's page in a real browser: its error browser clicked through, at desk and phone width, and what a model wrote stays text."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codelib.evaluate.plan import EvaluateSettings
from codelib.evaluate.report import page_html
from tests.chromium import Chromium, installed
from tests.report_cases import HOSTILE, NAMES, full_report, old_report
from tests.report_run import run_of, variants

pytestmark = pytest.mark.browser
NUM = 30
LIST = "[...document.querySelectorAll('#list li button')].map(e => e.textContent)"
FOUND = "document.getElementById('found').textContent"
CASE = "document.getElementById('case').textContent"
OVER = (  # what stands out of the window, boxes that scroll in themselves apart
    "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 "
    "&& !e.closest('.scroll, pre, svg')).map(e => e.outerHTML.slice(0, 100))"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not installed():
        pytest.skip("no Chromium here")
    with Chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """full.html with every key and old.html without the new ones."""
    where = tmp_path_factory.mktemp("report")
    plan, outcome = run_of(where / "release", NUM)
    for name, report in (("full", full_report(NUM)), ("old", old_report(NUM))):
        html = page_html(where / "release", variants(), plan, outcome, report, EvaluateSettings())
        (where / f"{name}.html").write_text(html, encoding="utf-8")
    return where


def choose(browser: Chromium, name: str, value: str) -> None:
    """A person's choice in one of the filters."""
    browser.run(
        f"(() => {{ const e = document.querySelector('.filters [name={name}]'); e.value = {json.dumps(value)}; "
        "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def search(browser: Chromium, text: str) -> None:
    choose(browser, "q", text)
    browser.run("new Promise(done => setTimeout(done, 250))")  # the page waits until one stops typing


def state(browser: Chromium) -> dict[str, str]:
    found: dict[str, str] = browser.run("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
    return found


def quiet(browser: Chromium) -> None:
    assert browser.complaints == []
    assert browser.requests == []


@pytest.mark.parametrize("name", ["full", "old"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_overflows_and_nothing_is_asked_for(browser: Chromium, folder: Path, name: str, width: int) -> None:
    browser.open(folder / f"{name}.html", width=width)
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OVER) == []
    # a box that scrolls is reached by keyboard, and every part has its heading
    assert browser.run("[...document.querySelectorAll('.scroll')].every(e => e.tabIndex === 0 && e.getAttribute('aria-label'))")
    assert browser.run(
        "[...document.querySelectorAll('section')].every(e => document.getElementById(e.getAttribute('aria-labelledby')))"
    )
    assert browser.run("[...document.querySelectorAll('.contents a')].every(e => document.querySelector(e.getAttribute('href')))")
    assert browser.run("document.querySelectorAll('.contents a').length") >= (11 if name == "full" else 6)
    assert browser.run("document.querySelectorAll('h1').length") == 1
    quiet(browser)


def test_filters_find_what_they_say(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "full.html")
    total = NUM * 9 + NUM * 11
    assert browser.run(FOUND) == f"Answer 1 of {total} to {2 * NUM} questions"
    assert browser.run("document.getElementById('examples').offsetHeight") == 0  # the script's list stands in its place
    assert len(browser.run(LIST)) == 20
    choose(browser, "b", "classification")
    choose(browser, "v", NAMES[1])
    assert browser.run(FOUND) == f"Answer 1 of {NUM} to {NUM} questions"
    counts = {}
    for verdict in ("right", "wrong", "unparsed", "failed"):
        choose(browser, "is", verdict)
        found = re.match(r"Answer 1 of (\d+)", browser.run(FOUND))
        counts[verdict] = int(found[1]) if found else 0
        assert all(text.endswith(verdict) for text in browser.run(LIST))
    assert sum(counts.values()) == NUM
    assert counts["failed"] == 0
    assert browser.run(FOUND) == "No answer fits: clear a filter."
    choose(browser, "is", "")
    choose(browser, "t", "Pulpitis")
    assert len(browser.run(LIST)) == NUM // 6
    assert all("Pulpitis →" in text for text in browser.run(LIST))
    choose(browser, "a", "Pulpitis")
    assert all("Pulpitis → Pulpitis" in text for text in browser.run(LIST))
    browser.click(".filters button[type=reset]")
    browser.run("new Promise(done => setTimeout(done))")
    choose(browser, "v", NAMES[-1])
    choose(browser, "is", "failed")
    assert browser.run(FOUND) == "Answer 1 of 6 to 6 questions"
    assert "evaluate:TimeoutError" in browser.run(CASE)
    choose(browser, "is", "")
    search(browser, "PAIN test-cls/17")  # every word, whatever its case and place
    assert browser.run(FOUND) == "Answer 1 of 1 to 1 questions"
    choose(browser, "q", "")
    choose(browser, "by", "alike")
    alike = [int(found[1]) for text in browser.run(LIST) if (found := re.search(r"(\d+) % alike", text))]
    assert alike == sorted(alike)
    assert len(alike) == 20
    quiet(browser)


@pytest.mark.parametrize("width", [1280, 360])
def test_clicks_keys_pages_and_the_address(browser: Chromium, folder: Path, width: int) -> None:
    page = folder / "full.html"
    browser.open(page, width=width)
    browser.click("#list li:nth-child(3) button")
    assert browser.run(FOUND).startswith("Answer 3 of")
    assert state(browser) == {"at": f"classification/test-cls/0/{NAMES[2]}"}
    browser.press("j")
    browser.press("ArrowRight")
    browser.press("k")
    assert browser.run(FOUND).startswith("Answer 4 of")
    browser.click("#case .steps button:last-child")
    assert browser.run(FOUND).startswith("Answer 5 of")
    browser.click("#older")
    assert browser.run(FOUND).startswith("Answer 21 of")
    assert browser.run("document.getElementById('pages').textContent") == "2 of 30"
    browser.click("#newer")
    assert browser.run(FOUND).startswith("Answer 1 of")
    assert browser.run("document.getElementById('newer').disabled")
    # by keyboard alone: the button that was pressed keeps the focus, though it was drawn anew
    browser.run("document.querySelector('#case [data-step=\"1\"]').focus()")
    for _ in range(2):
        browser.press("Enter")
    assert browser.run(FOUND).startswith("Answer 3 of")
    browser.run("document.querySelector('#list li:nth-child(5) button').focus()")
    browser.press("Enter")
    assert browser.run(FOUND).startswith("Answer 5 of")
    assert browser.run("document.activeElement.getAttribute('aria-current')") == "true"
    # in a field the keys are letters
    browser.click(".filters [name=q]")
    browser.press("j")
    browser.run("new Promise(done => setTimeout(done, 250))")
    assert state(browser)["q"] == "j"
    # the address is the state: opened anew it shows the same answer
    choose(browser, "q", "")
    browser.run("new Promise(done => setTimeout(done, 250))")
    choose(browser, "b", "generation")
    choose(browser, "v", NAMES[4])
    browser.click("#list li:nth-child(7) button")
    fragment, text = browser.run("location.hash"), browser.run(CASE)
    browser.open(page, width=width, fragment=fragment)
    assert browser.run(FOUND) == f"Answer 7 of {NUM} to {NUM} questions"
    assert browser.run(CASE) == text
    # another variant's answer to the same question, though the filter holds it back
    browser.click("#case .others button:first-of-type")
    assert browser.run("document.querySelector('#case .heads h4:last-child').textContent") == NAMES[0]
    assert browser.run("document.documentElement.scrollWidth") <= width
    quiet(browser)


def test_a_cell_of_the_confusion_matrix_leads_to_its_answers(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "full.html")
    browser.click(".heat tbody tr:nth-child(2) td:nth-child(3) a")  # truth Gingivitis, answer Gingivitis, of the first variant
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert all("Gingivitis → Gingivitis" in text and NAMES[0] in text for text in browser.run(LIST))
    assert len(browser.run(LIST)) >= 1
    assert browser.run("document.querySelector('.filters [name=v]').value") == NAMES[0]
    quiet(browser)


def sections(browser: Chromium) -> list[list[Any]]:
    found: list[list[Any]] = browser.run(
        "[...document.querySelectorAll('.pair:not(.heads)')].map(p => [...p.children].map(h => [h.querySelector('h5')?.textContent, "
        "[...h.querySelectorAll('del, ins')].map(e => e.textContent), h.textContent]))"
    )
    return found


def test_reports_stand_side_by_side_by_sections_with_differences_marked(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "full.html")
    choose(browser, "b", "generation")
    choose(browser, "v", NAMES[4])  # leaves out the diagnosis
    english = sections(browser)
    assert [left[0] for left, _ in english] == [right[0] for _, right in english]
    assert "Diagnosis" in [left[0] for left, _ in english]
    missing = next(right for left, right in english if left[0] == "Diagnosis")
    assert missing[2].endswith("section missing")
    plan = next(pair for pair in english if pair[0][0] == "Patient Record")
    assert plan[0][1] == plan[1][1] == []  # the same on both sides: nothing is marked
    search(browser, "远中邻面龋坏")
    browser.run("document.getElementById('browse').scrollIntoView()")  # keys are the browser's while it is seen
    browser.run("document.activeElement.blur()")  # in a field they are letters
    for _ in range(NUM // 5):  # to one whose tooth differs
        chinese = sections(browser)
        if any(left[1] for left, _ in chinese):
            break
        browser.press("j")
    examination = next(pair for pair in chinese if pair[0][0] == "检查")
    assert examination[1][1] == ["48"]  # a word, not the sentence
    assert re.fullmatch(r"\d\d", examination[0][1][0])
    assert "诊断" in [left[0] for left, _ in chinese]
    quiet(browser)


def test_images_are_shown_and_grow(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "full.html", width=360)
    browser.run("Promise.all([...document.querySelectorAll('#case img')].map(e => e.decode()))")
    assert browser.run("[...document.querySelectorAll('#case img')].map(e => e.naturalWidth)") == [300, 300]
    before = browser.run("document.querySelector('#case img').width")
    browser.click("#case .thumbs button")
    assert browser.run("document.querySelector('#case img').width") > before
    assert browser.run("document.documentElement.scrollWidth") <= 360
    own = browser.run("document.querySelector('#case img').src")
    choose(browser, "v", NAMES[5])  # saw the next visit's images
    assert browser.run("document.querySelector('#case img').src") != own
    assert "another patient" in browser.run(CASE)
    quiet(browser)


def test_what_a_model_wrote_is_text(browser: Chromium, folder: Path) -> None:
    browser.open(folder / "full.html", width=360)
    search(browser, "owned onerror")
    assert browser.run(FOUND) == "Answer 1 of 2 to 2 questions"
    for _ in range(2):
        assert HOSTILE in browser.run(CASE)
        browser.click("#case .steps button:last-child")
    choose(browser, "q", "")
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert browser.run("document.title") == "Evaluation: release"
    assert browser.run("document.querySelectorAll('img[src^=http], iframe, object, b > script, link').length") == 0
    assert browser.run("document.scripts.length") == 2
    assert browser.run("document.documentElement.scrollWidth") <= 360
    quiet(browser)


def test_the_policy_stops_what_would_get_through(browser: Chromium, folder: Path, tmp_path: Path) -> None:
    """Were an answer ever put in unescaped, nothing of it runs and nothing is fetched."""
    html = (folder / "full.html").read_text(encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        hostile = HOSTILE.replace("127.0.0.1:9", f"127.0.0.1:{server.getsockname()[1]}")
        (tmp_path / "broken.html").write_text(html.replace("<main id=main>", f"<main id=main>{hostile}"), encoding="utf-8")
        browser.open(tmp_path / "broken.html")
        assert browser.run("document.querySelectorAll('img[src^=http]').length") == 1
        assert browser.run("document.title") == "Evaluation: release"
        assert sum("Content Security Policy" in text for text in browser.complaints) >= 3  # the script, the image, its handler
        server.settimeout(1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_without_script_the_examples_are_there(browser: Chromium, folder: Path) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(folder / "full.html")
        assert browser.run("document.getElementById('browser').offsetHeight") == 0
        assert browser.run("document.querySelectorAll('#examples article').length") == 12
        assert browser.run("document.querySelector('#examples article').offsetHeight") > 0
        quiet(browser)
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_in_print_the_browser_goes_and_no_table_is_cut(browser: Chromium, folder: Path, tmp_path: Path) -> None:
    browser.open(folder / "full.html", width=688)  # A4 less its margins
    browser.media("print")
    try:
        assert browser.run("document.getElementById('browse').offsetHeight") == 0
        assert browser.run("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length") == 0
        assert browser.run("document.documentElement.scrollWidth") <= 688
    finally:
        browser.media("")
    browser.pdf(tmp_path / "report.pdf")
    boxes = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "report.pdf").read_bytes()))
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}  # A4 in points
