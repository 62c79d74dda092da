"""Which question killed the process that asked it: Ray starts a lost actor again for ever, and somebody has to stop that.

    partition begins ──> deaths/<partition>.json: begun once more ──> partition done: the note goes
    begun for the third time ──> one question at a time, each noted before it is put
    begun again after that    ──> the noted question is given up (evaluate:WorkerDied), the others are asked

A note that is older than the job says nothing (the driver of that time may have been killed) and is removed at the job's start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from codelib.core.store import Store

FOLDER = "deaths"
DIED = "WorkerDied"  # the class of error of a question that was given up
LOADING = "loading the model"  # noted in place of a question's key
_TOGETHER = 2  # times that a partition is begun with all its questions in one batch


@dataclass
class Note:
    """Of one partition: how often it was begun, what was being done when it was last noted, and what is given up."""

    store: Store
    name: str
    begun: int = 0
    doing: str | None = None
    given_up: list[str] = field(default_factory=list)

    @property
    def careful(self) -> bool:
        return self.begun > _TOGETHER

    def begin(self) -> None:
        """The process before this one died over what it noted last, if it was careful already."""
        self.begun += 1
        if self.doing is not None:
            self.given_up.append(self.doing)
        self.doing = None
        self._write()

    def about_to(self, doing: str) -> None:
        """Before a question is put (its key), or the model loaded. Costs a commit, and so only where somebody died before."""
        if self.careful:
            self.doing = doing
            self._write()

    def done(self) -> None:
        self.store.delete(self.name)

    def _write(self) -> None:
        value: dict[str, Any] = {"begun": self.begun, "doing": self.doing, "given_up": self.given_up}
        self.store.commit_json(self.name, value)


def open_note(store: Store, partition: str) -> Note:
    name = f"{FOLDER}/{partition}.json"
    try:
        return Note(store, name, **store.read_json(name))
    except (FileNotFoundError, ValueError, TypeError):  # nobody began it, or a file that is no note
        return Note(store, name)


def forget(store: Store) -> None:
    """At a job's start."""
    for name in store.names(FOLDER):
        store.delete(name)
