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
from codelib.models.loading import ORIGIN

_NOTE = "Test patients of this report withdrew, and it was taken away. Run the same jobs.evaluate command again: other answers were kept.\n"
_OWN = re.compile(r"test/\d+/image-\d+")  # of a file of one's own (codelib.evaluate.plan): says nothing of a visit
_CODE = re.compile(r"(.+)-\d+\.\w+$")  # 0013-002-04.jpg


def withdraw(workspace: Workspace, checkups: frozenset[str]) -> tuple[list[str], bool]:
    """What is to be told, and True: all of it can be done at once, since evaluation works under the workspace's lock. May be called again."""
    store = Store(f"{workspace.public.root.rstrip('/')}/evaluate")
    if not checkups:
        return [], True
    store.sweep()  # a page that a killed run did not finish shows patients too, and nothing says whom
    if not store.names(""):
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
    told = f"evaluate/: {len(answers):,} answers about them, the predictions and the report were removed; the same jobs.evaluate makes it anew"
    return [told, *reviews], True


def retrain_notes(variants: Iterable[Variant], workspace: Store) -> list[str]:
    """Of resolved variants, whose adapter or merged model learned from somebody who withdrew since (`codelib.train.withdrawn`)."""
    here = (one for one in variants if one.engine == "transformers")
    concerned = (one for one in here if any(is_to_retrain(path, workspace) for path in (one.model, one.adapter) if path))
    return [retrain_note(one.name) for one in concerned]


def is_to_retrain(model: str, workspace: Store | None = None) -> bool:
    """Whether the run that an adapter or a merged model lies in, or was merged from, learned from somebody who withdrew since. A merged model
    knows of those before it was made; of later ones that run does, where it lies in the workspace."""
    for path in (Path(model).parent / "run.json", Path(model) / ORIGIN):
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if about.get("retrain") or (path.name == ORIGIN and workspace and _is_marked(about.get("run"), workspace)):
            return True
    return False


def _is_marked(run: object, workspace: Store) -> bool:
    """Whether a withdrawal marked the run that a merged model names."""
    name = run.get("name") if isinstance(run, dict) else None
    if not isinstance(name, str) or os.path.basename(name) != name or not workspace.exists(f"train/{name}/run.json"):
        return False
    found = workspace.read_json(f"train/{name}/run.json")
    return isinstance(run, dict) and found.get("data_sha256") == run.get("data_sha256") and bool(found.get("retrain"))


def retrain_note(name: str) -> str:
    return f"{name}: it learned from people who withdrew since; retrain before it is used."


def _is_about(store: Store, name: str, checkups: frozenset[str]) -> bool:
    try:
        told = json.loads(store.read(name)).get(CHECKUPS)
    except (ValueError, AttributeError):
        return True
    return not isinstance(told, list) or not checkups.isdisjoint(told)


def _predictions_show(store: Store, checkups: frozenset[str]) -> bool:
    """By the images; a row of a question without images, or of a file of one's own, says nothing
    and counts where it was not answered (else its answer tells)."""
    for name in store.names("stages/predictions"):
        if name.endswith(".parquet"):
            try:
                table = store.read_table(name, ["images", "status"])
            except pa.ArrowInvalid:
                return True
            for images, status in zip(table["images"].to_pylist(), table["status"].to_pylist(), strict=True):
                told = [image for image in images or () if not _OWN.fullmatch(image)]
                if not told and status != "ok":
                    return True
                if any((found := _CODE.match(os.path.basename(image))) and found[1] in checkups for image in told):
                    return True
    return False
