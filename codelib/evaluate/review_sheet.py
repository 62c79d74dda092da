"""A blinded review: dentists judge reports without knowing which one a colleague wrote and which one a model.

    report/predictions.csv + dataset ──> make(...) ──> WORKSPACE/evaluate/review/<name>/
                                                         sheets/reviewer-1.html  the form: images inline, answers saved as a CSV file
                                                         sheets/reviewer-1.csv   the same to be filled in without a browser
                                                         filled/                 what reviewers send back goes here
                                                         key.json                which report is whose; last, and never sent to anyone

Cases are numbered, no sample id stands in a sheet. The order of the reports is drawn anew for each case and each reviewer, with a secret that
stands in key.json alone: who knows the seed and the release cannot work it out.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import secrets
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from codelib.contracts import OK
from codelib.core.config import nearest
from codelib.core.store import Store
from codelib.evaluate.benchmarks import Sample, load_samples
from codelib.evaluate.questions import in_language
from codelib.evaluate.review_page import Case, render
from codelib.evaluate.tables import as_received, inert
from codelib.evaluate.variants import GENERATION
from codelib.models.conversation import Dataset

FOLDER = "review"  # below evaluate/: a withdrawal looks there
REPORT = "report/report.json"
KEY, SHEETS, FILLED = "key.json", "sheets", "filled"
KEY_MODE = 0o600  # on a file system: it says which report is whose, and whom the cases show
VERSION = 1
REFERENCE = "reference"
CRITERIA = ("accuracy", "completeness", "safety")
COLUMNS = ("sheet", "case", "report", "question", "text", *CRITERIA, "best", "comment")
MOST_REPORTS = 6  # beside each other; more nobody compares
_NAME = re.compile(r"[\w-]{1,40}")
_CODE = re.compile(r"(?:^|/)(\d{4,}-\d{3,})-\d{2,}\.\w+$")  # 0013-002-04.jpg


@dataclass(frozen=True)
class Wanted:
    """What `jobs.review make` was asked for."""

    name: str
    variants: tuple[str, ...]  # () where the run has one that wrote reports
    num_cases: int
    num_reviewers: int
    seed: int


def make(store: Store, dataset: Dataset, wanted: Wanted, secret: bytes | None = None) -> str:
    """Write the sheets of a review and its key; returns its folder. store: of evaluate/. secret: tests give one.

    Raises ValueError where there is no report, a variant is unknown or wrote nothing, there are too few cases, or the review is there already.
    """
    if not _NAME.fullmatch(wanted.name):
        raise ValueError(f"--name {wanted.name!r}: letters, digits, - and _, at most 40")
    folder = f"{FOLDER}/{wanted.name}"
    if store.exists(f"{folder}/{KEY}"):
        raise ValueError(
            f"{store.root}/{folder} is there already, and reviewers may hold its sheets; choose another --name, or delete that folder"
        )
    answers = _answers(store)
    names = _chosen(wanted.variants, answers)
    samples = _draw(_asked(store, dataset, names), names, answers, wanted)
    secret = secret or secrets.token_bytes(16)
    evaluated = store.read_json(REPORT)["dataset"]
    key: dict[str, Any] = {"version": VERSION, "name": wanted.name, "dataset": evaluated, "seed": wanted.seed}
    key |= {"reports": [REFERENCE, *names], "withdrawn": [], "cases": {}, "sheets": {}}
    for number, sample in enumerate(samples, start=1):
        shown = {sample.checkup_id} | {code for name in names for code in answers[name][sample.sample_id]["checkups"]}
        key["cases"][str(number)] = {
            "sample_id": sample.sample_id,
            "patient": sample.patient,
            "checkups": sorted(shown - {""}),
        }
    store.delete(folder)  # what a killed run left: sheets without a key
    for reviewer in range(1, wanted.num_reviewers + 1):
        sheet = _token(secret, f"sheet/{reviewer}")
        cases, orders = [], {}
        for number, sample in enumerate(samples, start=1):
            texts = {REFERENCE: sample.reference} | {name: answers[name][sample.sample_id]["answer"] for name in names}
            order = sorted(texts, key=lambda name, case=number: _token(secret, f"{sheet}/{case}/{name}"))  # type: ignore[misc]
            orders[str(number)] = dict(zip(ascii_uppercase, order, strict=False))
            reports = {letter: plain(texts[name]) for letter, name in orders[str(number)].items()}
            cases.append(Case(number, question(sample), tuple(dataset.folder / name for name in sample.images), reports))
        key["sheets"][sheet] = {"reviewer": reviewer, "order": orders}
        store.commit(f"{folder}/{SHEETS}/reviewer-{reviewer}.html", render(sheet, reviewer, cases, CRITERIA).encode())
        store.commit(f"{folder}/{SHEETS}/reviewer-{reviewer}.csv", blank(sheet, cases))
    store.commit_json(f"{folder}/{KEY}", key, KEY_MODE)
    return f"{store.root}/{folder}"


def _token(secret: bytes, what: str) -> str:
    return hashlib.blake2b(what.encode(), key=secret, digest_size=8).hexdigest()


# what is to be judged


def _answers(store: Store) -> dict[str, dict[str, dict[str, Any]]]:
    """variant -> sample_id -> answer and the visits it saw, of the written reports of the last run."""
    name = "report/predictions.csv"
    if not store.exists(name):
        raise ValueError(
            f"{store.root}/{name}: there is no report to review; run jobs.evaluate with the benchmark generation first"
        )
    if not store.exists(REPORT):
        raise ValueError(
            f"{store.root}/{REPORT} is missing: writing the report was interrupted, and its files may not belong together; run the same "
            "jobs.evaluate command again, which asks only what is missing"
        )
    refused = {v["name"] for v in store.read_json(REPORT)["variants"] if v["status"] == "refused"}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    csv.field_size_limit(1 << 24)  # a report of a model that never stops is longer than the default
    for line in csv.DictReader(io.StringIO(store.read(name).decode(), newline="")):
        row = {column: as_received(cell) for column, cell in line.items()}
        if row["benchmark"] == GENERATION and row["status"] == OK and row["answer"].strip() and row["variant"] not in refused:
            codes = [code[1] for image in row["images"].split(";") if (code := _CODE.search(image))]
            told = {"answer": row["answer"], "reference": row["reference"], "checkups": codes}
            found.setdefault(row["variant"], {})[row["sample_id"]] = told
    if not found:
        raise ValueError(f"{store.root}/{name}: no variant wrote a report; run jobs.evaluate with the benchmark generation first")
    return found


def _chosen(names: Sequence[str], answers: Mapping[str, Any]) -> tuple[str, ...]:
    for name in names:
        if name not in answers:
            raise ValueError(f"--variant {name}: wrote no report in the last run; {nearest(name, list(answers))}")
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"--variant {name}: given twice")
    if not names and len(answers) > 1:
        raise ValueError(f"--variant is missing: the run has several that wrote reports: {', '.join(answers)}")
    chosen = tuple(names) or tuple(answers)
    if REFERENCE in chosen:
        raise ValueError(f"--variant {REFERENCE}: that is what the dataset's own report is called here; rename the variant")
    if len(chosen) >= MOST_REPORTS:
        raise ValueError(
            f"--variant: {len(chosen)} variants and the reference; at most {MOST_REPORTS} reports can be judged together"
        )
    return chosen


def _asked(store: Store, dataset: Dataset, names: Sequence[str]) -> tuple[Sample, ...]:
    """The test set in the language that the variants were asked in."""
    spoken = {v.get("language") for v in store.read_json(REPORT)["variants"] if v["name"] in names}
    if len(spoken) > 1:
        raise ValueError(
            "--variant: these were asked in different languages, which would tell them apart; make a review of each language"
        )
    samples, language = load_samples(dataset, GENERATION), spoken.pop()
    return in_language(samples, language) if language else samples


def _draw(samples: Sequence[Sample], names: Sequence[str], answers: Mapping[str, Any], wanted: Wanted) -> list[Sample]:
    """A seeded draw among the samples that all variants answered; each patient once before any patient twice."""
    known = [sample for sample in samples if all(sample.sample_id in answers[name] for name in names)]
    for sample in known:
        if any(answers[name][sample.sample_id]["reference"] != sample.reference for name in names):
            raise ValueError("--dataset: its references are not those of the report; give the dataset that was evaluated")
    if len(known) < wanted.num_cases:
        raise ValueError(
            f"-n {wanted.num_cases}: {len(known)} samples of this dataset were answered by all of {', '.join(names)}"
        )
    order = sorted(known, key=lambda sample: hashlib.sha256(f"{wanted.seed}/review/{sample.sample_id}".encode()).hexdigest())
    seen: Counter[str] = Counter()
    turns = []
    for place, sample in enumerate(order):
        turns.append((seen[sample.patient], place))
        seen[sample.patient] += 1
    return [order[place] for _, place in sorted(turns)[: wanted.num_cases]]


def plain(text: str) -> str:
    """A report without what would tell its writer by the bye: kinds of blanks, line ends and empty lines. Its words stay."""
    lines = [" ".join(line.split()) for line in unicodedata.normalize("NFC", text).splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def question(sample: Sample) -> str:
    """What the model was asked, with a word for each image."""
    return plain(sample.messages[-1].content.replace("<image>", "[image]"))


def blank(sheet: str, cases: Sequence[Case]) -> bytes:
    """The sheet to be filled in with a spreadsheet program. With a byte order mark, without which Excel takes Chinese for gibberish."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for case in cases:
        for letter, text in case.reports.items():
            writer.writerow([sheet, case.number, letter, inert(case.question), inert(text), *[""] * (len(CRITERIA) + 2)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def read_key(folder: Store) -> dict[str, Any]:
    """Raises ValueError where the folder is no review."""
    try:
        key = folder.read_json(KEY)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder.root}: no {KEY} there; give the folder that `jobs.review make` printed") from None
    except json.JSONDecodeError:
        raise ValueError(
            f"{folder.root}/{KEY}: is not what `jobs.review make` wrote; restore it, or make the review again"
        ) from None
    if not isinstance(key, dict) or key.get("version") != VERSION:
        raise ValueError(f"{folder.root}/{KEY}: was written by another version of this package")
    return key


def workspace_of(folder: str) -> str:
    """The workspace that a review lies in. Raises ValueError where it lies elsewhere: a withdrawal would not reach it there."""
    parts = folder.rsplit("/", 3)
    if len(parts) < 4 or parts[1:3] != ["evaluate", FOLDER]:
        raise ValueError(f"{folder}: a review lies in WORKSPACE/evaluate/{FOLDER}/NAME; move it back there")
    return parts[0]
