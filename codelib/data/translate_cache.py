"""Every answer that was paid for, one file each, named by the hash of what was asked.

    cache/translations/3f/3f9a….json    {"english": "...", "tries": 1, "of": "…"}   an answer; tries: how often the text has been answered;
                                                                                    of: a hash of the text alone, whatever model was asked
                                        {"failed": ["refusal"]}                     no answer could be kept: a note for the table

A commit is a rename (on an object store one PUT) and comes before the answer is used, so a kill costs what is under way and no more.

What is kept: answers that pass every check, and answers that fail one. Those were paid for, and at temperature 0 the same snapshot would
say the same again; kept as received, they are checked anew on each reading, so a mended check takes them up without paying.
What is never kept: empty answers, refusals (they change with the server's mood, and would stand for ever), and answers in which an
identifier is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codelib.core.store import Store

FOLDER = "cache/translations"
SECOND_PASS = "cache/second_pass"
NEVER_KEPT = frozenset({"empty", "refusal", "identifier"})


@dataclass(frozen=True)
class Kept:
    """What the cache holds of a text: the last answer and how many there were, or why there is none."""

    english: str
    tries: int
    failed: tuple[str, ...] = ()


def text_digest(text: str) -> str:
    """What a text is known by whoever was asked about it, and how."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class AnswerCache:
    """``folder``: a path, or a Store of its own. Safe for several writers: the last complete file stands."""

    def __init__(self, folder: str | Path | Store) -> None:
        self.store = folder if isinstance(folder, Store) else Store(str(folder))

    @staticmethod
    def key(model: str, prompt: str, chinese: str) -> str:
        return hashlib.sha256(json.dumps([model, prompt, chinese], ensure_ascii=False).encode()).hexdigest()

    @staticmethod
    def _name(key: str) -> str:
        return f"{key[:2]}/{key}.json"

    def get(self, key: str) -> Kept | None:
        """None where nothing is known of the text, or where its file is damaged: then it is asked for again and replaced."""
        try:
            held = json.loads(self.store.read(self._name(key)))
            english, tries = held.get("english", ""), held.get("tries", 0)
            failed = tuple(map(str, held.get("failed", ())))
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError, TypeError):
            return None
        if not isinstance(english, str) or not isinstance(tries, int) or not (english.strip() or failed):
            return None
        return Kept(english, tries, failed)

    def of(self, key: str) -> str:
        """`text_digest` of what an answer is about; "" where its file does not say."""
        try:
            of = json.loads(self.store.read(self._name(key)))["of"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""
        return of if isinstance(of, str) else ""

    def put(self, key: str, english: str, tries: int = 1, of: str = "") -> None:
        """``of``: `text_digest` of what was asked about; `answer_prune` tells by it whether anybody still writes that."""
        assert english.strip(), "an empty answer is never kept"
        self._commit(key, {"english": english, "tries": tries, "of": of})

    def put_failed(self, key: str, failed: Sequence[str]) -> None:
        """A note that a text could not be answered, and why; it holds no answer and stops nobody from asking again."""
        assert failed, "why there is no answer"
        self._commit(key, {"failed": list(failed)})

    def names(self) -> Iterator[str]:
        """The names of all answers and notes, one folder's at a time."""
        for prefix in range(256):
            yield from self.store.names(f"{prefix:02x}")

    def _commit(self, key: str, value: object) -> None:
        self.store.commit(self._name(key), json.dumps(value, ensure_ascii=False).encode())
