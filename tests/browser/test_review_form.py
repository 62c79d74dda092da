"""The form of a blinded review in a real browser: a dentist's clicks become the file that the score reads, and outlive a reload."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.review import main
from tests.review_room import key_of, make_room

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=4000"),
)
SAVE = """<script>
const out = text => { document.body.innerHTML = "<pre id=out></pre>"; document.getElementById("out").textContent = text; };
const decode = bytes => new TextDecoder("utf-8", {ignoreBOM: true}).decode(bytes);
URL.createObjectURL = blob => {
  blob.arrayBuffer().then(bytes => out(JSON.stringify([decode(bytes), told.file, said]))); return "about:blank"; };
HTMLAnchorElement.prototype.click = () => {};
let said = "";
const tick = (name, value) => document.querySelector(`input[name="${name}"][value="${value}"]`).click();
const finish = () => { said = [document.getElementById("count").textContent, document.title, String(document.querySelectorAll(".done").length)];
  document.getElementById("save").click(); };
CLICKS
</script>"""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium here")
    return found


@pytest.fixture
def review(tmp_path: Path) -> Path:
    dataset, workspace = make_room(tmp_path, num_patients=1)
    main(["make", "--workspace", str(workspace), "--dataset", str(dataset), "-n", "2", "--reviewers", "1"])
    return workspace / "evaluate" / "review" / "first"


def after(browser: str, page: Path, clicks: str, scratch: Path) -> tuple[str, str, list[str]]:
    """The file that is saved after some clicks, its name, and what the page said then."""
    copy = scratch / "clicked.html"
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</html>", SAVE.replace("CLICKS", clicks) + "</html>"), encoding="utf-8")
    command = [browser, *FLAGS, f"--user-data-dir={scratch}/profile", "--dump-dom", f"file://{copy}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    saved, name, said = json.loads(html.unescape(found[1]))
    return saved, name, said


def judged(folder: Path) -> str:
    """Clicks that give the model 5, 4, 3 and the reference 2, 2, 2, and call the model the better one."""
    ((_, sheet),) = json.loads((folder / "key.json").read_text())["sheets"].items()
    clicks = []
    for case, order in sheet["order"].items():
        for letter, whose in order.items():
            for criterion, value in zip(
                ("accuracy", "completeness", "safety"), (5, 4, 3) if whose == "tuned" else (2, 2, 2), strict=True
            ):
                clicks.append(f'tick("{case},{letter},{criterion}", {value});')
            if whose == "tuned":
                clicks.append(f'tick("{case},best", "{letter}");')
    clicks.append('const area = document.querySelector("textarea"); area.value = "a, \\"b\\"\\n第二行";')
    clicks.append('area.dispatchEvent(new Event("input", {bubbles: true}));')
    return "".join(clicks)


def test_clicks_become_the_file_that_the_score_reads(browser: str, review: Path, tmp_path: Path) -> None:
    saved, name, said = after(browser, review / "sheets" / "reviewer-1.html", judged(review) + "finish();", tmp_path)
    assert (name, said) == ("reviewer-1-filled.csv", ["2 of 2", "Review of reports", "2"])  # the title: no script of a model ran
    (review / "filled").mkdir()
    (review / "filled" / name).write_text(saved, encoding="utf-8", newline="")
    main(["score", str(review)])
    result = json.loads((review / "review.json").read_text(encoding="utf-8"))
    assert {row["name"]: row["share"] for row in result["preference"]}["tuned"] == 1
    means = {(row["name"], row["criterion"]): row["value"] for row in result["ratings"]}
    assert [means["tuned", c] for c in ("accuracy", "completeness", "safety")] == [5, 4, 3]
    assert means["reference", "safety"] == 2
    assert [(c["case"], c["comment"]) for c in result["comments"]] == [(1, 'a, "b"\n第二行')]
    assert result["reviewers"] == [{"reviewer": 1, "num_complete": 2, "num_open": 0}]


def test_what_was_ticked_outlives_a_reload(browser: str, review: Path, tmp_path: Path) -> None:
    clicks = f'if (!localStorage.getItem("again")) {{ localStorage.setItem("again", "1"); {judged(review)} location.reload(); }} else finish();'
    saved, _, said = after(browser, review / "sheets" / "reviewer-1.html", clicks, tmp_path)
    assert said[0] == "2 of 2"
    assert saved.startswith("\ufeffsheet,case,report,accuracy,completeness,safety,best,comment\r\n")
    (token,) = key_of(review.parents[2])["sheets"]
    assert saved.count(f"{token},") == 4
    assert '"a, ""b""\n第二行"' in saved


def test_a_form_that_nobody_touched_saves_open_cells(browser: str, review: Path, tmp_path: Path) -> None:
    saved, _, said = after(browser, review / "sheets" / "reviewer-1.html", "finish();", tmp_path)
    assert said[0] == "0 of 2"
    assert all(line.endswith(",,,,,") for line in saved.strip().splitlines()[1:])
