"""Taking visits whose consent was withdrawn out of ``evaluate/``.

Goes: each answer to a question that showed something of the visit (its own, one with its images, one with it as a worked example), the
tables of predictions, the report with its page of examples, and the cases of blinded reviews that show them. Stays: every other answer, so
that the next `jobs.evaluate` makes table and report anew and asks only what is new. An answer that does not say what it was about goes too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from codelib.core.store import Store, Workspace
from codelib.evaluate import review_withdrawn
from codelib.evaluate.predictor import CHECKUPS
from codelib.evaluate.report import FOLDER, WITHDRAWN
from codelib.evaluate.variants import Variant

_NOTE = "Test patients of this report withdrew, and it was taken away. Run the same jobs.evaluate command again: other answers were kept.\n"
_CODE = re.compile(r"(.+)-\d+\.\w+$")  # 0013-002-04.jpg


def withdraw(workspace: Workspace, checkups: frozenset[str]) -> tuple[list[str], bool]:
    """What is to be told, and True: all of it can be done at once, since evaluation works under the workspace's lock. May be called again."""
    store = Store(f"{workspace.public.root.rstrip('/')}/evaluate")
    if not checkups or not store.names(""):
        return [], True
    reviews = review_withdrawn.withdraw(store, checkups)
    concerned = _predictions_show(store, checkups)
    answers = [name for name in store.names("answers") if _is_about(store, name, checkups)]
    if not concerned and not answers:
        return reviews, True
    # the answers go last: killed before, they say again that all of it has to go
    for name in store.names(FOLDER):
        if name != f"{FOLDER}/{WITHDRAWN}":
            store.delete(name)
    store.commit(f"{FOLDER}/{WITHDRAWN}", _NOTE.encode())
    store.delete("stages/predictions")
    for name in answers:
        store.delete(name)
    store.sweep()
    told = f"evaluate/: {len(answers):,} answers about them, the predictions and the report were removed; the same jobs.evaluate makes it anew"
    return [told, *reviews], True


def retrain_notes(variants: Iterable[Variant]) -> list[str]:
    """Of resolved variants, whose adapter learned from somebody who withdrew since (`codelib.train.withdrawn`)."""
    notes = []
    for variant in variants:
        about = Path(variant.adapter).parent / "run.json" if variant.adapter else None
        if about is not None and about.is_file() and json.loads(about.read_text(encoding="utf-8")).get("retrain"):
            notes.append(retrain_note(variant.name))
    return notes


def retrain_note(name: str) -> str:
    return f"{name}: its adapter learned from people who withdrew since; retrain before it is used."


def _is_about(store: Store, name: str, checkups: frozenset[str]) -> bool:
    try:
        told = json.loads(store.read(name)).get(CHECKUPS)
    except (ValueError, AttributeError):
        return True
    return not isinstance(told, list) or not checkups.isdisjoint(told)


def _predictions_show(store: Store, checkups: frozenset[str]) -> bool:
    """By the images; a row of a question without images says nothing, and counts where it was not answered (else its answer tells)."""
    for name in store.names("stages/predictions"):
        if name.endswith(".parquet"):
            try:
                table = store.read_table(name, ["images", "status"])
            except pa.ArrowInvalid:
                return True
            for images, status in zip(table["images"].to_pylist(), table["status"].to_pylist(), strict=True):
                if not images and status != "ok":
                    return True
                if any((found := _CODE.match(os.path.basename(image))) and found[1] in checkups for image in images or ()):
                    return True
    return False
