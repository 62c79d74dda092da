"""What a server failed on is asked for again, by the next run and alone; what nobody asks for any more leaves the caches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from codelib.contracts import DEIDENTIFIED, TEXT_FIELDS
from codelib.core.stage import Part, Stage, count
from codelib.core.store import Store
from codelib.data import unanswered
from codelib.data.answer_prune import prune
from codelib.data.translate import AnswerCache, TranslateSettings, asked, make_bilingual
from codelib.data.translate_cache import text_digest
from codelib.data.translate_fill import TRANSLATIONS, translations_stage, translations_work
from codelib.data.translate_texts import key_of
from codelib.data.unanswered import UNANSWERED, Partition
from tests import llm_server

STAGE = Stage("bilingual", 1, TRANSLATIONS)


def settings(server: llm_server.Running, **changes: Any) -> TranslateSettings:
    given = {"base_url": server.url, "model": "m-1", "key_env": "TEST_KEY", "backoff_s": 0.01, "timeout_s": 5, "max_retries": 1}
    return TranslateSettings(engine="openai", **(given | changes))


def commit(public: Store, stage: str, key: str, table: pa.Table, drop: tuple[str, ...] = ()) -> Part:
    public.commit_table(f"stages/{stage}/{key}.parquet", table)
    return Part(key, stage, public.root, table.num_rows, count(table), drop)


def deidentified(public: Store, *texts: str, drop: tuple[str, ...] = ()) -> Part:
    """A visit v0, v1, … for each text."""
    rows = [
        dict.fromkeys(TEXT_FIELDS, "")
        | {"checkup_id": f"{n:04d}-001", "visit_key": f"v{n}", "examination": text, "status": "ok", "teeth": [], "removed": []}
        for n, text in enumerate(texts)
    ]
    return commit(public, "deidentified", "d", pa.Table.from_pylist(rows, schema=DEIDENTIFIED.schema), drop)


class Run:
    """The steps of `asking.Asking` on one partition, without Ray."""

    def __init__(self, server: llm_server.Running, folder: Path) -> None:
        self.server, self.options, self.public = server, settings(server), Store(str(folder))
        self.cache = AnswerCache(folder / "cache" / "translations")
        self.made: str = ""

    def __call__(self, part: Part) -> tuple[list[dict[str, Any]], bool]:
        """The bilingual rows, and whether the partition was made in this run."""
        known = unanswered.read(self.public, "bilingual")
        (work,) = unanswered.work([part], known)
        is_new = STAGE.key(work) != self.made
        opened = [] if is_new else unanswered.still_open([part], known)
        if is_new or opened:
            (ask,) = translations_work([part] if is_new else [], opened)
            fill = translations_stage(self.options, self.public).fn
            assert fill is not None
            fill(*ask.inputs, ask.extra)
        known = unanswered.take_up(known, self.cache)
        (work,) = unanswered.work([part], known)
        is_new, self.made = STAGE.key(work) != self.made, STAGE.key(work)
        if is_new:
            given = self.public.read_table(part.name)
            self.table = make_bilingual(self.options, self.cache)(given, work.extra)
        tables = [commit(self.public, "asked", "a", asked(self.table, self.options))]
        unanswered.write(unanswered.found([part], tables, known), self.public, "bilingual")
        return self.table.to_pylist(), is_new


def checks(row: dict[str, Any]) -> list[str]:
    return next(t["checks"] for t in row["translations"] if t["field"] == "examination")


A, B, C = (llm_server.chinese(n) for n in (1, 2, 3))


def test_what_the_server_failed_on_is_asked_again_by_the_next_run_and_nothing_else(server, tmp_path: Path) -> None:
    server.control(poison=[A], wrong=[B])
    run, part = Run(server, tmp_path), deidentified(Store(str(tmp_path)), A, B, C)
    first, _ = run(part)
    assert checks(first[0]) == ["needs_review", "http_500"]
    assert checks(first[1])[0] == "needs_review" and checks(first[2]) == []
    server.control(poison=[A], wrong=[B])
    _, is_made_again = run(part)  # the server fails again: one text was asked for, and the partition stays
    bodies = [list(json.loads(body["messages"][1]["content"]).values()) for body in server.stats()["bodies"]]
    assert [texts for texts in bodies if texts != ["龋病"]] == [[A], [A]]  # the harmless word tells who is to blame
    assert not is_made_again
    server.control()
    third, is_made_again = run(part)
    assert is_made_again and server.stats()["delivered"] == {A: 1}
    assert checks(third[0]) == [] and third[0]["examination"] == llm_server.english(A)
    assert third[1:] == first[1:]  # what failed its checks stays as it was
    server.control()
    assert not run(part)[1] and server.stats()["requests"] == 0


def test_a_kill_after_the_answer_and_before_the_partition_costs_nothing(server, tmp_path: Path) -> None:
    known = {"d": Partition(None, (("v0", "k1"), ("v1", "k2")))}
    cache = AnswerCache(tmp_path)
    cache.put("k1", "pain")
    taken = unanswered.take_up(known, cache)
    assert taken["d"].texts == (("v1", "k2"),) and taken["d"].answered
    assert unanswered.take_up(taken, cache) == taken  # what the next run knows, having read it from disk
    unanswered.write(taken, Store(str(tmp_path)), "bilingual")
    assert unanswered.read(Store(str(tmp_path)), "bilingual") == taken


def test_rows_of_changed_visits_are_not_asked_for(server, tmp_path: Path) -> None:
    run, part = Run(server, tmp_path), deidentified(Store(str(tmp_path)), A, B, drop=("v0",))
    rows, _ = run(part)
    assert server.stats()["delivered"] == {B: 1}
    assert checks(rows[0]) == ["needs_review", "not_asked"]
    assert checks(rows[1]) == []
    assert unanswered.still_open([part], unanswered.read(Store(str(tmp_path)), "bilingual")) == []
    back = Part(part.key, part.stage, part.root, part.rows, part.counts)  # the record is again what it was
    rows, is_made_again = run(back)
    assert is_made_again and checks(rows[0]) == []
    assert server.stats()["delivered"] == {A: 1, B: 1}


def test_an_answer_comes_for_a_partition_with_a_changed_visit_whose_answers_were_pruned(server, tmp_path: Path) -> None:
    server.control(poison=[B])
    run, part = Run(server, tmp_path), deidentified(Store(str(tmp_path)), A, B)
    run(part)
    run.cache.store.delete(run.cache._name(key_of(run.options, A)))
    server.control()
    rows, is_made_again = run(Part(part.key, part.stage, part.root, part.rows, part.counts, ("v0",)))
    assert is_made_again and checks(rows[1]) == []
    assert server.stats()["delivered"] == {B: 1}


# pruning


@pytest.fixture
def pruned(server, tmp_path: Path) -> tuple[Store, AnswerCache, TranslateSettings]:
    public, options = Store(str(tmp_path)), settings(server)
    cache = AnswerCache(Store(f"{public.root}/cache/translations"))
    for text in (A, B, C):
        cache.put(key_of(options, text), llm_server.english(text), 1, text_digest(text))
    return public, cache, options


def tables(public: Store, options: TranslateSettings, *texts: str, drop: tuple[str, ...] = ()) -> list[Part]:
    rows = [
        {"checkup_id": f"{n:04d}-001", "visit_key": f"v{n}", "key": key_of(options, t), "text": text_digest(t), "status": "ok"}
        for n, t in enumerate(texts)
    ]
    return [commit(public, "asked", "a", pa.Table.from_pylist(rows, schema=unanswered.ASKED.schema), drop)]


def test_answers_of_texts_that_nobody_holds_are_deleted_and_the_others_stay(pruned) -> None:
    public, cache, options = pruned
    counts = prune(public, "cache/translations", tables(public, options, A, B, C, drop=("v2",)))
    assert (counts["kept"], counts["removed"]) == (2, 1)
    assert cache.get(key_of(options, C)) is None
    assert all(cache.get(key_of(options, text)) for text in (A, B))
    written = "".join(path.read_text() for path in Path(public.path()).rglob("cache/**/*.json"))
    assert llm_server.english(C) not in written and llm_server.english(A) in written


def test_an_answer_of_another_model_to_a_current_text_stays(pruned) -> None:
    public, cache, options = pruned
    other = options.model_copy(update={"model": "m-2"})
    for text in (A, C):
        cache.put(key_of(other, text), llm_server.english(text), 1, text_digest(text))
    prune(public, "cache/translations", tables(public, options, A))
    assert cache.get(key_of(other, A)) and not cache.get(key_of(other, C))


def test_books_and_batches_stay_but_for_requests_with_a_text_that_is_gone(pruned) -> None:
    public, cache, options = pruned
    cache.store.commit_json("spent/x.json", {"usd": 1})
    cache.store.commit_json("batches/b.json", {"model": "m-1"})
    text = {"key": "k", "tries": 0, "failed": []}
    plan = {"r0": [text | {"chinese": A}, text | {"chinese": C}], "r1": [text | {"chinese": A}]}
    cache.store.commit_json("batches/b.plan.json", plan)
    prune(public, "cache/translations", tables(public, options, A))
    assert list(cache.store.read_json("batches/b.plan.json")) == ["r1"]
    assert cache.store.exists("spent/x.json") and cache.store.exists("batches/b.json")


def test_nothing_is_current_nothing_stays(pruned) -> None:
    public, cache, _ = pruned
    cache.store.commit(f"ab/{'ab' * 32}.json", b"{half")
    prune(public, "cache/translations", [])
    assert list(cache.names()) == []


def test_a_table_of_asked_names_a_text_once_and_counts_what_is_unanswered(server, tmp_path: Path) -> None:
    server.control(poison=[A])
    run, part = Run(server, tmp_path), deidentified(Store(str(tmp_path)), A, B)
    run(part)
    table = asked(run.table, run.options)
    assert count(table) == {UNANSWERED: 1, "ok": 1}
