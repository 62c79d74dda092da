"""Taking visits whose consent was withdrawn out of ``train/`` and ``features/``.

    finished run    the visit's lines leave samples.csv, preflight.csv and rejected.csv; token-ready shards (texts) and checkpoints
                    (optimiser states) go; run.json says {"withdrawn_samples": n, "retrain": true}: an adapter cannot unlearn, and whether
                    it may still be used a person says
    unfinished run  goes as a whole: its data are no more, so it could never be continued
    features        codelib.train.feature_store: the partitions that hold one of the visit's images

A run whose samples are not known is taken for one that saw all of them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

from codelib.core.near import remove_unused
from codelib.core.store import Store, Workspace, lock_file
from codelib.train import feature_store
from codelib.train.run_folder import EXAMPLES, SAMPLES, WITHDRAWN, RunFolder

_LINES = ("rejected.csv", "preflight.csv")
_WHOLE = (EXAMPLES, "checkpoints", "ray", "preflight.json")  # can be made again, or are of no use to a finished run
_CANARY = "adapter/canary.json"
_LEARNED = ("training", "validation")  # the sides that reached the weights, or the choice among them


def withdraw(workspace: Workspace, checkups: frozenset[str]) -> tuple[list[str], bool]:
    """What is to be told, and whether all of it could be done: not where a run is at work. May be called again."""
    told, done = feature_store.withdraw(workspace, checkups)
    if not checkups:
        return told, done
    remove_unused()  # copies of a release that killed jobs left on this machine
    for folder in _runs(workspace.public):
        name = folder.path.name
        if not _saw(folder, checkups):
            if _is_preparing(folder):
                told.append(
                    f"train/{name}: at work, and may be reading data of somebody who withdrew; stop it, and run this command again"
                )
                done = False
            continue
        try:
            with folder.locked():
                told.append(f"train/{name}: {_clear(folder, checkups)}")
        except ValueError:
            told.append(f"train/{name}: at work on data of somebody who withdrew; stop it, and run this command again")
            done = False
    return told, done


def _runs(public: Store) -> list[RunFolder]:
    root = Path(public.path("train"))
    if public.is_local:
        return [RunFolder(path) for path in sorted(root.iterdir()) if path.is_dir()] if root.is_dir() else []
    names = sorted({name.split("/")[1] for name in public.names("train") if name.count("/") > 1})
    return [RunFolder(Path(name), f"{public.root.rstrip('/')}/train/{name}") for name in names]


def _is_preparing(folder: RunFolder) -> bool:
    """Whether a run holds its lock and does not say yet what it learns from: it may have read the release already."""
    if folder.store.exists(SAMPLES) or folder.finished() is not None or not os.path.exists(lock_file(folder.store)):
        return False
    try:
        with folder.locked():
            return False
    except ValueError:
        return True


def _saw(folder: RunFolder, checkups: frozenset[str]) -> bool:
    if not folder.store.exists(SAMPLES):
        # shards are there before anything else is: a run that was killed while it made them holds texts already
        begun = folder.store.exists("settings.json") or bool(folder.store.names(EXAMPLES))
        return begun and not _is_marked_unknown(folder)
    return any(row["checkup_id"] in checkups for row in _rows(folder, SAMPLES))


def _is_marked_unknown(folder: RunFolder) -> bool:
    return (folder.finished() or {}).get("withdrawn_samples", 0) is None


def _rows(folder: RunFolder, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(folder.store.read(name).decode("utf-8"), newline="")))


def _clear(folder: RunFolder, checkups: frozenset[str]) -> str:
    finished = folder.finished()
    if finished is None:
        for name in folder.store.names(""):
            if name not in ("lock", SAMPLES):  # what tells whom it saw goes last
                folder.store.delete(name)
        folder.remove()
        elsewhere = "; end it where it still runs: no lock reaches other machines here" if folder.uri else ""
        return f"a run that was not finished had learned from them, and was removed{elsewhere}"
    count = None
    # run.json is written before the lines go, so that a kill in between counts the same again: lines are blanked, and never fewer
    if folder.store.exists(SAMPLES):
        gone = {row["sample_id"] for row in _rows(folder, SAMPLES) if row["checkup_id"] in checkups}
        learned = [row["sample_id"] for row in _rows(folder, SAMPLES) if row["side"] in _LEARNED]  # others reached no weight
        count = sum(name in gone or name == WITHDRAWN for name in learned)
        for name in _LINES:
            _drop_lines(folder, name, lambda row: row["sample_id"] in gone or any(c in row["detail"] for c in checkups))
        _blank_canary(folder, gone)
    else:
        for name in _LINES:
            folder.store.delete(name)
    for name in _WHOLE:
        folder.store.delete(name)
    if count != 0:
        folder.store.commit_json("run.json", finished | {"withdrawn_samples": count, "retrain": True})
    if folder.store.exists(SAMPLES):
        folder.blank_samples(checkups)
    folder.store.sweep()
    if count == 0:
        return "its adapter learned from none of their samples; what named them beside it is gone"
    number = "nobody knows how many" if count is None else f"{count:,}"
    return f"its adapter learned from {number} of their samples and cannot unlearn them: retrain, and replace the adapter where it is used"


def _blank_canary(folder: RunFolder, gone: set[str]) -> None:
    if folder.store.exists(_CANARY):
        canary = folder.store.read_json(_CANARY)
        names = [WITHDRAWN if name in gone else name for name in canary["sample_ids"]]
        if names != canary["sample_ids"]:
            folder.store.commit_json(_CANARY, canary | {"sample_ids": names})


def _drop_lines(folder: RunFolder, name: str, is_gone: Callable[[dict[str, str]], bool]) -> None:
    if not folder.store.exists(name):
        return
    rows = _rows(folder, name)
    left = [row for row in rows if not is_gone(row)]
    if len(left) < len(rows):
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(left)
        folder.store.commit(name, out.getvalue().encode())
