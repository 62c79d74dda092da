"""private/queue/contact-sheet.html: what waits for a person, what was rejected, a sample of what is released; all on one page.

The page is self-contained and opens from disk: thumbnails are embedded, its one script collects the answers and saves image-answers.csv.
How much of each it shows is bounded, so the page stays a page however large the export is; what it leaves out it says.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from typing import Any

import pyarrow.compute as pc

from codelib.contracts import OK
from codelib.core.stage import Part, read_part
from codelib.core.store import Store
from codelib.data.image_review import ACROSS, QUEUED, Answers, Tables, answers_to, rejected_rows

FILE = "queue/contact-sheet.html"
MAX_WAITING, MAX_OF_A_REASON, MAX_RELEASED, MAX_PAIRS = 1000, 24, 60, 60
NEVER_OPENED = ("images:record_screenshot", "images:outside_folders", "images:visit_rejected")


def write(tables: Tables, answers: Answers, duplicates: Sequence[Part], private: Store) -> None:
    """Write the page. Pictures of released and of rejected rows stand in the images tables: no source file is opened."""
    private.commit_stream(FILE, (piece.encode() for piece in _page(tables, answers, duplicates)))


def _page(tables: Tables, answers: Answers, duplicates: Sequence[Part]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for part in tables.chosen:
        counts.update(part.counts)
    waiting = sum(counts[reason] for reason in QUEUED)
    yield _HEAD
    yield f"<p>{counts[OK]} pictures pass, {sum(counts.values()) - counts[OK]} do not, {waiting} of these wait for you.</p>"
    yield f"<h2>Waiting for you: {waiting}</h2>{_INTRODUCTION}<section>"
    for row in islice(rejected_rows(tables, QUEUED, ["preview", "pixels", "findings"]), MAX_WAITING):
        yield _question(row)
    yield f"</section>{_left_out(waiting, MAX_WAITING)}"
    others = sorted(reason for reason in counts if reason != OK and reason not in QUEUED)
    yield "<h2>Rejected without a question</h2>"
    for reason in others:
        yield f"<h3>{escape(reason.removeprefix('images:'))}: {counts[reason]}</h3>"
        if reason in NEVER_OPENED:
            yield "<p>never opened; listed in ledger.csv</p>"
            continue
        yield "<section>"
        for row in islice(rejected_rows(tables, (reason,), ["preview", "pixels"]), MAX_OF_A_REASON):
            yield _figure(_jpeg(row), _where(row))
        yield f"</section>{_left_out(counts[reason], MAX_OF_A_REASON)}"
    yield from _pairs(tables, duplicates)
    yield "<h2>A sample of what passes</h2><p>Something here that should not be released? Answer <i>reject</i>.</p><section>"
    for row in _sample(tables):
        yield _question(row, ("reject",))
    yield "</section>"
    yield _TAIL.replace("GIVEN", json.dumps(answers.lines()))


def _sample(tables: Tables) -> Iterator[dict[str, Any]]:
    """Pictures that pass, a few from each of some partitions; the same ones for the same tables."""
    having = [i for i, part in enumerate(tables.chosen) if part.counts.get(OK)]
    order = sorted(having, key=lambda i: hashlib.sha256(tables.images[i].key.encode()).hexdigest())
    left = MAX_RELEASED
    for position, index in enumerate(order):
        if left <= 0:
            return
        share = max(1, left // (len(order) - position))
        chosen = read_part(tables.chosen[index], ["image_key", "visit_key", "status"], ok_only=True)
        keys = sorted(chosen["image_key"].to_pylist(), key=lambda k: hashlib.sha256(k.encode()).hexdigest())[:share]
        table = read_part(tables.images[index], ["image_key", "picture_key", "visit_key", "kind", "part", "pixels"])
        for row in table.to_pylist():
            if row["image_key"] in keys:
                yield {**row, "preview": None, "reject_reason": "", "path": "", "findings": None}
        left -= len(keys)


def _pairs(tables: Tables, duplicates: Sequence[Part]) -> Iterator[str]:
    """Look-alikes of two patients, side by side."""
    pairs = [
        row
        for part in duplicates
        if part.rows
        for row in read_part(part).to_pylist()
        if not row["exact"] and not row["same_patient"]
    ]
    if not pairs:
        return
    pairs.sort(key=lambda r: (-r["similarity"], r["image_key"]))
    yield f"<h2>Alike, of two patients: {len(pairs)} pairs</h2><p>Reported for the audit of the split; nothing was rejected for it.</p>"
    shown = pairs[:MAX_PAIRS]
    pixels = _pixels_of(tables, {key for row in shown for key in (row["image_key"], row["other_key"])})
    for row in shown:
        a, b = (_figure(pixels.get(row[name]), "") for name in ("image_key", "other_key"))
        yield f"<section>{a}{b}<p>{row['similarity']:.2f}</p></section>"
    yield _left_out(len(pairs), MAX_PAIRS)


def _pixels_of(tables: Tables, keys: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in tables.images:
        if keys <= set(found):
            break
        here = keys & set(read_part(part, ["image_key", "visit_key"])["image_key"].to_pylist())
        if here:
            table = read_part(part, ["image_key", "visit_key", "pixels"])
            table = table.filter(pc.is_in(table["image_key"], pc.cast(list(here), "string")))
            found |= dict(zip(table["image_key"].to_pylist(), table["pixels"].to_pylist(), strict=True))
    return found


def _jpeg(row: dict[str, Any]) -> bytes | None:
    """Rejected for what it shows: a preview; for another visit's copy: its pixels, which the images stage had no reason to drop."""
    found: bytes | None = row["preview"] or row["pixels"]
    return found


def _where(row: dict[str, Any]) -> str:
    return f"{row['path']} {row['part']}".strip()


def _figure(jpeg: bytes | None, caption: str) -> str:
    if not jpeg:
        return f"<figure class=none><figcaption>{escape(caption)}</figcaption></figure>"
    data = base64.b64encode(jpeg).decode()
    return f'<figure><img loading=lazy src="data:image/jpeg;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'


def _question(row: dict[str, Any], answers: Sequence[str] = ()) -> str:
    # what a picture shows and whose it is are two questions
    key = f"{row['picture_key']},{row['visit_key']},{row['reject_reason'] if row['reject_reason'] == ACROSS else ''}"
    choices = "".join(
        f'<label><input type=radio name="{key}" value={answer}>{answer}</label>'
        for answer in answers or answers_to(row["reject_reason"])
    )
    return (
        f"<figure><div class=picture>{_image(_jpeg(row))}{_boxes(row['findings'])}</div>"
        f"<figcaption><b>{escape(row['reject_reason'].removeprefix('images:'))}</b> {choices}<br>{escape(_where(row))}</figcaption></figure>"
    )


def _image(jpeg: bytes | None) -> str:
    return f'<img loading=lazy src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">' if jpeg else ""


def _boxes(findings: list[dict[str, Any]] | None) -> str:
    return "".join(
        f"<i style='left:{100 * x0:.1f}%;top:{100 * y0:.1f}%;width:{100 * (x1 - x0):.1f}%;height:{100 * (y1 - y0):.1f}%'></i>"
        for finding in findings or ()
        for x0, y0, x1, y1 in finding["boxes"]
    )


def _left_out(total: int, shown: int) -> str:
    return f"<p>… and {total - shown} more, in images.csv and ledger.csv</p>" if total > shown else ""


_INTRODUCTION = """<p><b>accept</b>: release it as it is · <b>reject</b>: never · <b>mask</b>: paint over what is framed, look again, release.
Then <button onclick="save()">Save the answers</button>, put <code>image-answers.csv</code> beside this page (private/queue), and run the same
command again. <span id=count>0</span> answered.</p>"""

_HEAD = """<!doctype html><html lang=en><meta charset=utf-8><title>Contact sheet</title><style>
body{font:14px system-ui,sans-serif;margin:24px;color:#222}section{display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start}
figure{margin:0;width:256px}figure.none{padding:8px;background:#eee;box-sizing:border-box}img{max-width:256px;display:block}
figcaption{font-size:12px;overflow-wrap:anywhere;padding-top:4px}.picture{position:relative;display:inline-block}
.picture i{position:absolute;border:2px solid #d55e00;box-sizing:border-box}label{margin-right:8px;white-space:nowrap}
button{font:inherit}h2{margin-top:32px;border-top:1px solid #ccc;padding-top:16px}</style>
<h1>Contact sheet</h1>
<p><b>Private.</b> This page shows pictures that may identify a patient, and names of source files. It never leaves this room.</p>"""

_TAIL = """<script>
const given = GIVEN;
for (const [picture, visit, reason, answer] of given) {
  const input = document.querySelector(`input[name="${picture},${visit},${reason}"][value=${answer}]`);
  if (input) input.checked = true;
}
const chosen = () => [...document.querySelectorAll("input:checked")].map(i => i.name + "," + i.value);
const count = () => { document.getElementById("count").textContent = chosen().length; };
document.addEventListener("change", count); count();
function save() {
  const now = chosen(), keys = new Set(now.map(line => line.slice(0, line.lastIndexOf(","))));
  const kept = given.filter(([p, v, r]) => !keys.has([p, v, r].join(","))).map(row => row.join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["picture_key,visit_key,reason,answer", ...kept, ...now].join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "image-answers.csv";
  link.click();
}
</script></html>"""
