"""What stands before a run: the listing of the export, consent, whose the workspace is.

workspace.json           (public)   that there is a private room, and a check value of its key
private/workspace.json   the settings of the last finished run: a mapping and a server's address tell of the clinic
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from codelib.core.config import differences
from codelib.core.stage import Work
from codelib.core.store import Store, Workspace
from codelib.data.consent import Consent, Lines, bury, hashes_of, line_hash, read_tombstones, stone_of
from codelib.data.export import batch_names, list_batch
from codelib.data.settings import DatasetSettings
from codelib.data.vault import Secret

_FILE = "workspace.json"
_LONGEST_LINE = 200  # of a difference between settings: a clinic's own list may stand in one
_LISTERS = 16  # batches listed at once: hides the latency of a network disk


@dataclass(frozen=True)
class ListedBatch:
    name: str
    fingerprint: str
    num_visits: int
    num_files: int  # image files, those of excluded visits left out
    excluded: frozenset[str]  # what of the exclusion list, or which tombstones, kept somebody of it out

    @property
    def work(self) -> Work:
        return Work((), {"batch": self.name, "listing": self.fingerprint}, identity=self.fingerprint)


def list_batches(export: Store, consent: Consent) -> list[ListedBatch]:
    """Names, sizes and times of everything in the export; nothing is opened."""
    with ThreadPoolExecutor(_LISTERS) as pool:
        return list(pool.map(lambda name: _listed(export, name, consent), batch_names(export)))


def _listed(export: Store, name: str, consent: Consent) -> ListedBatch:
    batch = list_batch(export, name)
    files, excluded = len(batch.loose), set()
    for patient in batch.patients.values():
        for time, held in (("", patient.loose), *((v.time or "", v.files) for v in patient.visits.values())):
            match = consent.match(patient.number, time)
            if match is None:
                files += len(held)
            else:
                excluded.add(match)
    visits = sum(len(p.visits) for p in batch.patients.values())
    return ListedBatch(name, batch.fingerprint(), visits, files, frozenset(excluded))


# consent


def tell_of_unknown(lines: Lines, consent: Consent, batches: Sequence[ListedBatch], private: Store) -> None:
    """Say how many lines of the exclusion list name nobody: a misspelt one would let its patient in."""
    withdrawn = {name for name, stone in read_tombstones(private).items() if stone["ids"]}
    known = {one for batch in batches for one in batch.excluded} | withdrawn
    unknown = sum(hashes_of(consent.keyed, line).isdisjoint(known) for line in lines.out)
    if unknown:
        print(
            f"note: {unknown} of {len(lines.out)} lines of the exclusion list match no patient or visit folder here, and nobody was withdrawn "
            "for them; check their spelling: whoever else was meant is still in"
        )


def remember(lines: Lines, private: Store) -> None:
    """Make a tombstone of every line, so that whoever it means stays out where the list is forgotten: somebody whom only a sheet names, or
    who comes in a later export, too."""
    keyed = Secret(private).load()  # the listing of a new workspace was made before its key
    bury(private, {line_hash(keyed, line): stone_of(keyed, line) for line in lines.out}, lines)


# ownership


def _mine(settings: DatasetSettings) -> dict[str, object]:
    return {name: value for name, value in settings.fingerprint().items() if name != "exclude"}


def _before(private: Store) -> dict[str, object]:
    """The settings of the last finished run, those that are new since at their defaults."""
    written: dict[str, object] = private.read_json(_FILE)
    try:
        return _mine(DatasetSettings.model_validate(written))
    except ValidationError:  # a setting that is no more
        return written


def check_owner(workspace: Workspace, settings: DatasetSettings, reconfigure: bool) -> None:
    """Raises ValueError where the workspace's private room is another one, or its last finished run had other settings."""
    public, private = workspace.public, workspace.private
    if public.exists(_FILE):
        check = Secret(private).load().text("check", "") if private.exists("key") else None
        if public.read_json(_FILE)["key_check"] != check:
            raise ValueError(
                f"--workspace {public.root}: its private room is not {private.root} (or that room's key was replaced); "
                "name the right one with --private-room: another key would give every patient another code"
            )
    if private.exists(_FILE) and not reconfigure:
        changed = [
            line if len(line) < _LONGEST_LINE else f"{line[:_LONGEST_LINE]} …"
            for line in differences(_before(private), _mine(settings))
        ]
        if changed:
            raise ValueError(
                f"--workspace {public.root} was made with other settings ({'; '.join(changed[:4])}); use another workspace, "
                "the same settings, or --reconfigure to redo what depends on them here"
            )


def check_keys(settings: DatasetSettings) -> None:
    """Raises ValueError where a server is to be asked whose key is in no environment: said before the work, not after the images."""
    second = settings.annotate.second_pass
    asked = (
        ("translate", settings.translate.engine, settings.translate.key_env),
        ("annotate.second_pass", second.engine, second.key_env),
    )
    for place, engine, variable in asked:
        if engine == "openai" and not os.environ.get(variable):
            raise ValueError(
                f"{place}.engine=openai: the environment variable {variable} is not set; put the server's key into it"
            )


def take(workspace: Workspace, release: Store) -> None:
    """Make the key of a new workspace, and remove what an earlier run left: half-written files, the texts of its errors, pictures that
    `jobs.inspect` made (whose patient may have withdrawn since). To be called under the lock."""
    Secret(workspace.private).create()
    workspace.public.commit_json(_FILE, {"key_check": Secret(workspace.private).load().text("check", "")})
    workspace.private.delete("errors")
    workspace.private.delete("inspect")
    for name in workspace.private.names("audit"):
        if name.endswith(".html"):  # the records as written; the verdicts beside it stay
            workspace.private.delete(name)
    workspace.private.sweep()
    release.sweep()


def sign(workspace: Workspace, settings: DatasetSettings) -> None:
    """A run is finished: the workspace is of these settings now."""
    workspace.private.commit_json(_FILE, _mine(settings))
