"""The texts of a table that are to be translated: each once, cached ones left out, several to a request.

deidentified rows ─ fields ─ visits with a privacy doubt left out ─ each distinct text once ─ in the cache? ─ requests
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow as pa

from codelib.contracts import OK, TEXT_FIELDS
from codelib.data.identifiers import contains_identifier
from codelib.data.translate_cache import NEVER_KEPT, AnswerCache, Kept, text_digest
from codelib.data.translate_checks import check
from codelib.data.translate_prompt import instruction
from codelib.data.translate_settings import TranslateSettings

NOT_ASKED = "not_asked"
"""The note for a row that is valid no more: its text is not sent, and asked for should it come back."""
_SERVER_FAILURES = frozenset(
    {"connection", "timeout", "answer_format", "missing_key", "rate_limited", "unanswered", NOT_ASKED}
)  # and http_*

MAX_TRIES = 2  # an answer that fails a check is asked for once more
_READERS = 16  # cache files looked up at once: hides the latency of a network disk


@dataclass(frozen=True)
class Text:
    """A text to be asked for. ``tries``: answers it has had; ``failed``: the checks that the last one failed."""

    key: str
    chinese: str
    tries: int = 0
    failed: tuple[str, ...] = ()


@dataclass
class Counts:
    """What became of the distinct texts."""

    texts: int = 0
    cached: int = 0
    answered: int = 0
    review: int = 0
    chars_to_ask: int = 0
    held_back: int = 0  # visits in which an identifier was found at the last moment


def key_of(settings: TranslateSettings, chinese: str) -> str:
    """The cache's name for a text: model, prompt with the terms of this text, content."""
    return AnswerCache.key(settings.model, instruction([chinese]), chinese)


def fields_of(row: dict[str, str]) -> dict[str, str]:
    """The text fields of a visit in which something is written."""
    return {name: row[name] for name in TEXT_FIELDS if row[name] and row[name].strip()}


def is_safe(fields: dict[str, str]) -> bool:
    """Whether a visit's text may go to an outside service."""
    return not any(contains_identifier(text) for text in fields.values())


def verdict(chinese: str, kept: Kept) -> tuple[str, ...]:
    """The checks that a kept answer fails; or why there is none."""
    return tuple(check(chinese, kept.english)) if kept.english.strip() else kept.failed


@dataclass
class Reader:
    """Reads tables and yields the texts to ask for, a request's worth at a time. ``seen``: keys of this run, hashes only.

    ``again``: what is known in memory alone of texts without a cached answer: how often they failed, or None where they are given up.
    """

    settings: TranslateSettings
    cache: AnswerCache
    counts: Counts = field(default_factory=Counts)
    seen: set[bytes] = field(default_factory=set)
    again: dict[str, Text | None] = field(default_factory=dict)

    def requests(self, tables: Iterable[pa.Table]) -> Iterator[list[Text]]:
        waiting: list[Text] = []
        chars = 0
        with ThreadPoolExecutor(_READERS) as pool:
            for table in tables:
                for text in self._new(table, pool):
                    full = len(waiting) == self.settings.texts_per_request
                    if waiting and (full or chars + len(text.chinese) > self.settings.chars_per_request):
                        yield waiting
                        waiting, chars = [], 0
                    waiting.append(text)
                    chars += len(text.chinese)
        if waiting:
            yield waiting

    def _new(self, table: pa.Table, pool: ThreadPoolExecutor) -> list[Text]:
        found: list[Text] = []
        for row in table.select([*TEXT_FIELDS, "status"]).to_pylist():
            fields = fields_of(row) if row["status"] == OK else {}
            if not is_safe(fields):
                self.counts.held_back += 1
                continue
            for chinese in fields.values():
                key = key_of(self.settings, chinese)
                if bytes.fromhex(key) not in self.seen:
                    self.seen.add(bytes.fromhex(key))
                    found.append(Text(key, chinese))
        self.counts.texts += len(found)
        asked = [text for text in pool.map(self._to_ask, found) if text is not None]
        self.counts.chars_to_ask += sum(len(text.chinese) for text in asked)
        return asked

    def _to_ask(self, text: Text) -> Text | None:
        kept = self.cache.get(text.key)
        if kept is None or not kept.english.strip():
            return self.again.get(text.key, text)
        failed = verdict(text.chinese, kept)
        if failed and kept.tries < MAX_TRIES:  # a kill came between the answer and its retry
            return replace(text, tries=kept.tries, failed=failed)
        self.counts.cached += 1
        self.counts.review += bool(failed)
        return None


def failed_at_server(checks: Iterable[str]) -> bool:
    """Whether a text has no answer because the server gave none, and so may get one another day. A failed check, a refusal or a text
    that is too long says the same again."""
    return any(check in _SERVER_FAILURES or check.startswith("http_") for check in checks)


def is_final(text: Text, failed: tuple[str, ...]) -> bool:
    return not failed or text.tries + 1 >= MAX_TRIES


def settle(text: Text, english: str | None, failed: tuple[str, ...], cache: AnswerCache) -> Text | None:
    """Put an answer on disk; None where the text is done with, else the text as it is to be asked for again.

    ``failed``: the checks that the answer fails, or why there is none. Called before anything is done with the answer.
    """
    tries = text.tries + 1
    if english is not None and english.strip() and not NEVER_KEPT.intersection(failed):
        cache.put(text.key, english, tries, text_digest(text.chinese))
    elif tries >= MAX_TRIES:
        cache.put_failed(text.key, failed)
    return None if is_final(text, failed) else replace(text, tries=tries, failed=failed)
