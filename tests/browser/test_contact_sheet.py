"""The contact sheet in a real browser: a person's clicks become the file of answers that the next run reads."""

import html
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from codelib.contracts import CHOSEN, IMAGES, RECORDS
from codelib.core.stage import Part, count
from codelib.core.store import Store
from codelib.data import contact_sheet
from codelib.data.image_review import ACROSS, ANSWERS_FILE, Answers, Tables, read_answers
from tests.pictures import jpeg, photograph

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=4000"),
)
SAVE = """<script>
URL.createObjectURL = blob => { blob.text().then(text => {
  document.body.innerHTML = "<pre id=out></pre>"; document.getElementById("out").textContent = text; }); return "about:blank"; };
HTMLAnchorElement.prototype.click = () => {};
CLICKS
document.querySelector("button").click();
</script>"""


@pytest.fixture
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium here")
    return found


def tables(folder: Path) -> Tables:
    """One visit: a picture that waits for a face, one that is another patient's, and one that passes."""
    store = Store(str(folder))
    files = [{"path": f"<b>{n}</b>.jpg", "kind": "photograph", "size_bytes": 1} for n in ("face", "copy", "fine")]
    record = dict.fromkeys(RECORDS.schema.names) | {"visit_key": "v1", "files": files, "status": "ok"}
    reasons = ("images:face", "images:duplicate_across_patients", None)
    images, chosen = [], []
    for index, (file, reason) in enumerate(zip(files, reasons, strict=True)):
        shared = {
            "image_key": file["path"],
            "visit_key": "v1",
            "sources": [file["path"]],
            "part": "",
            "kind": "photograph",
            "ordinal": index + 1,
        }
        status = {"status": "rejected" if reason else "ok", "reject_reason": reason}
        own = {"status": "ok", "reject_reason": None} if reason and "across" in reason else status
        picture = jpeg(photograph(index))
        seen = (
            {"preview": picture, "findings": [{"code": "face", "score": 0.9, "boxes": [[0.1, 0.1, 0.5, 0.5]]}]}
            if own == status and reason
            else {"pixels": picture}
        )
        images.append(dict.fromkeys(IMAGES.schema.names) | shared | {"picture_key": f"p{index}"} | seen | own)
        chosen.append(shared | status)
    parts = []
    for contract, rows in ((RECORDS, [record]), (IMAGES, images), (CHOSEN, chosen)):
        table = pa.Table.from_pylist(rows, schema=contract.schema)
        part = Part("k", contract.name, store.root, len(rows), count(table))
        store.commit_table(part.name, table)
        parts.append([part])
    return Tables(*parts, key_of=lambda path: path)


def after(browser: str, page: Path, clicks: str) -> str:
    """The text of the file that is saved after some clicks."""
    copy = page.with_name("clicked.html")
    copy.write_text(
        page.read_text(encoding="utf-8").replace("</html>", SAVE.replace("CLICKS", clicks) + "</html>"), encoding="utf-8"
    )
    command = [browser, *FLAGS, f"--user-data-dir={page.parent}/profile", "--dump-dom", f"file://{copy}"]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return html.unescape(found[1])


def click(picture: str, answer: str, reason: str = "") -> str:
    return f"document.querySelector('input[name=\"{picture},v1,{reason}\"][value={answer}]').click();"


def test_clicks_become_the_file_that_the_next_run_reads(browser, tmp_path):
    store, found = Store(str(tmp_path)), tables(tmp_path)
    contact_sheet.write(found, Answers(), [], store)
    page = tmp_path / contact_sheet.FILE
    saved = after(browser, page, click("p0", "mask") + click("p0", "reject") + click("p1", "accept", ACROSS))
    store.commit(ANSWERS_FILE, saved.encode())
    assert read_answers(store) == Answers({"v1": {"p0": "reject"}}, {"v1": {"p1": "accept"}})

    # the next page knows the answers, also those about pictures that it does not show, and a new one joins them
    answers = replace(read_answers(store), content={"v1": {"p0": "reject"}, "v9": {"p9": "reject"}})
    contact_sheet.write(found, answers, [], store)
    store.commit(ANSWERS_FILE, after(browser, page, click("p2", "reject")).encode())
    content = {"v1": {"p0": "reject", "p2": "reject"}, "v9": {"p9": "reject"}}
    assert read_answers(store) == Answers(content, {"v1": {"p1": "accept"}})


def test_names_of_files_are_text_and_not_markup(tmp_path):
    contact_sheet.write(tables(tmp_path), Answers(), [], Store(str(tmp_path)))
    text = (tmp_path / contact_sheet.FILE).read_text(encoding="utf-8")
    assert "<b>face</b>.jpg" not in text
    assert "&lt;b&gt;face&lt;/b&gt;.jpg" in text
    assert text.count("data:image/jpeg;base64,") == 3
