"""What an actor holds: an engine, and the ledger of received answers.

    partition ──> answers known in evaluate/answers/<xx>/<key>.json ──────────────┐
              └─> the others, of all variants together, to the group's engine ────┴──> predictions table
                    each kept as it comes

Each received answer becomes a file at once, so that a kill costs what is in flight and nothing else. Whatever goes wrong with a
model becomes rejected rows of its variant (``evaluate:<error class>``): the other variants go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, PREDICTIONS, SIX_CLASSES, rejected
from codelib.core.stage import digest
from codelib.core.store import Store
from codelib.evaluate import canary
from codelib.evaluate.answers import options_in, parse_class
from codelib.evaluate.asking import Asker, LoadFailed
from codelib.evaluate.deaths import DIED, LOADING, Note, open_note
from codelib.evaluate.plan import choices
from codelib.evaluate.variants import CLASSIFICATION, MISSING, UNCACHED, Variant, hub_revision
from codelib.models.conversation import Conversation, Message
from codelib.models.engine import Answer, Engine, Request, failed
from codelib.models.remote_desk import Access

BAD_REFERENCE = "evaluate:reference"  # the dataset's own answer names no class: no model can help, it is not asked again
CHECKUPS = "checkups"  # in an answer's file: the visits that its question shows something of


class ModelNotFound(ValueError):
    """A model folder that is not there, or a hub model of which nothing is on this machine."""


def make_engine(variants: Sequence[Variant], access: Access | None) -> Engine:
    """The engine of a group of resolved variants. Raises whatever its model's loading raises. access: to servers."""
    first, given = variants[0], [variant.batch_size for variant in variants if variant.batch_size]
    together = max(given) if len(given) == len(variants) else None  # whoever names none leaves it to the engine
    if first.engine == "openai":
        from codelib.models.openai_engine import OpenAIEngine

        return OpenAIEngine(first.model, fields=first, concurrency=together or 4, access=access)
    if not Path(first.model).exists() and (Path(first.model).is_absolute() or hub_revision(first.model) in (MISSING, UNCACHED)):
        raise ModelNotFound(first.model)
    from codelib.models.loading import import_all

    import_all()
    from codelib.models.transformers_engine import TransformersEngine

    return TransformersEngine(first.model, batch_size=together)


def answer_name(key: str) -> str:
    return f"answers/{key[:2]}/{key}.json"


def question_request(variant: Variant, benchmark: str, prompt: Conversation) -> Request:
    """How a variant puts a question of a benchmark."""
    return Request(
        prompt,
        variant.answer_length(benchmark),
        variant.adapter,
        variant.pixels(),
        choices(variant, benchmark),
        variant.decoding,
    )


class Predictor:
    """What an actor holds: at most one engine, and the ledger of answers.

    groups: group key -> its variants. fingerprints: variant name -> what its model and adapter are, by content. access: to servers, where a
    group asks one. run: of one `jobs.evaluate`; another run's canaries are asked again.
    """

    def __init__(
        self,
        folder: str,
        groups: dict[str, tuple[Variant, ...]],
        fingerprints: dict[str, dict[str, str]],
        store: Store,
        access: Access | None = None,
        run: str = "",
    ):
        self.folder, self.groups, self.fingerprints, self.store = Path(folder), groups, fingerprints, store
        self.access, self.run = access, run
        self.variants = {variant.name: variant for members in groups.values() for variant in members}
        self.group: str | None = None
        self.engine: Engine | None = None
        self.broken: dict[str, str] = {}  # group -> class of the error that loading its model met
        self.canaries: dict[str, str | None] = {}  # variant -> why its adapter is not asked

    def __call__(self, extra: dict[str, Any]) -> pa.Table:
        asks: list[dict[str, Any]] = extra["asks"]
        reasons = [self._reject(row, extra) for row in extra["rows"]]
        wanted = sorted({row["ask"] for row, reason in zip(extra["rows"], reasons, strict=True) if reason is None})
        answers = {number: known for number in wanted if (known := self._known(asks[number])) is not None}
        todo = [number for number in wanted if number not in answers]
        if todo:
            answers |= self._ask(extra, todo)
        rows = [_row(row, extra, answers.get(row["ask"]), reason) for row, reason in zip(extra["rows"], reasons, strict=True)]
        return pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)

    def _reject(self, row: dict[str, Any], extra: dict[str, Any]) -> str | None:
        if row["benchmark"] == CLASSIFICATION and parse_class(row["reference"]) is None:
            return BAD_REFERENCE
        images = extra["questions"][extra["asks"][row["ask"]]["question"]]["images"]
        if any(not os.path.isfile(self.folder / name) for name in images):
            return "evaluate:image_missing"
        return None

    def _known(self, ask: dict[str, Any]) -> Answer | None:
        """The kept answer; None where there is none, or a file that is none (a broken disk, another version): it is asked again."""
        name = answer_name(ask["key"])
        if not self.store.exists(name):
            return None
        try:
            fields = self.store.read_json(name)
            checkups = fields.pop(CHECKUPS, None)
            if "cut" not in fields:  # an answer of a version that did not say
                fields["cut"] = fields["completion_tokens"] >= self.variants[ask["variant"]].answer_length(ask["benchmark"])
            answer = Answer(**fields | {"log_likelihoods": tuple(fields.get("log_likelihoods", ()))})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if isinstance(checkups, list) and not set(ask["checkups"]) <= set(checkups):
            self._keep({**ask, "checkups": sorted({*checkups, *ask["checkups"]})}, answer)  # another visit asks the same since
        return answer

    def _keep(self, ask: dict[str, Any], answer: Answer) -> None:
        held = {**vars(answer), CHECKUPS: ask["checkups"]}
        self.store.commit(answer_name(ask["key"]), json.dumps(held, ensure_ascii=False).encode())

    def _ask(self, extra: dict[str, Any], todo: list[int]) -> dict[int, Answer]:
        """All variants' questions together, each received answer kept at once. Raises OSError where it cannot be kept."""
        asks = extra["asks"]
        note = open_note(self.store, digest([extra["group"], *(ask["key"] for ask in asks)]))
        note.begin()
        got: dict[int, Answer] = {}
        ready: list[int] = []
        problems = self._problems(extra, {asks[number]["variant"] for number in todo}, note)
        for number in todo:
            given_up = asks[number]["key"] in note.given_up or LOADING in note.given_up
            problem = DIED if given_up else problems.get(asks[number]["variant"])
            if problem is None:
                ready.append(number)
            else:
                got[number] = failed(problem)
        requests = [self._request(extra, asks[number]) for number in ready]
        for index, answer in self._answers(extra["group"], requests, [asks[number]["key"] for number in ready], note):
            got[ready[index]] = answer
            if answer.error is None:
                self._keep(asks[ready[index]], answer)
        note.done()
        return got

    def _problems(self, extra: dict[str, Any], names: Iterable[str], note: Note) -> dict[str, str]:
        """Variant -> class of the error for which its adapter is not asked. The canaries of all adapters go to the engine together, once in
        each actor, unless another of this run asked them: what it finds is committed."""
        records: dict[str, str] = {}
        items: dict[str, canary.Items] = {}
        for name in sorted(names):
            variant = self.variants[name]
            # a server's LoRA modules are judged by their answers
            if variant.adapter is None or variant.engine != "transformers" or name in self.canaries:
                continue
            if not (Path(variant.adapter) / "adapter_config.json").is_file():
                self.canaries[name] = "AdapterNotFound"
                continue
            records[name] = canary.record_name(self.fingerprints[name], variant)
            held = canary.read_record(self.store, records[name])
            if held is not None and (held.get("run"), held["status"]) == (self.run, canary.PASSED):
                self.canaries[name] = None
            elif records[name] in note.given_up:
                self.canaries[name] = DIED
            elif LOADING not in note.given_up:
                items[name] = canary.trainers_items(variant, self.folder) or self._own_items(extra, variant)
        self._judge(extra["group"], items, records, note)
        return {name: problem for name in names if (problem := self.canaries.get(name)) is not None}

    def _own_items(self, extra: dict[str, Any], variant: Variant) -> canary.Items:
        references = {
            row["ask"]: row["reference"] for row in extra["rows"] if row["reference"] and self._reject(row, extra) is None
        }
        mine = [
            (number, ask) for number, ask in enumerate(extra["asks"]) if ask["variant"] == variant.name and number in references
        ]
        return canary.own_items(variant, [(self._request(extra, ask).prompt, references[number]) for number, ask in mine])

    def _judge(self, group: str, items: dict[str, canary.Items], records: dict[str, str], note: Note) -> None:
        asked = [(name, request) for name in items for request in canary.requests(self.variants[name], items[name])]
        keys = [records[name] for name, _ in asked]
        answers = dict(self._answers(group, [request for _, request in asked], keys, note))
        for name in items:
            found = canary.judge(items[name], [answers[index] for index, (owner, _) in enumerate(asked) if owner == name])
            if found["status"] == canary.NOT_RUN:  # the next partition's items may tell, and another actor's may have told
                held = canary.read_record(self.store, records[name])
                if held is not None and held.get("run") == self.run:
                    continue
            else:
                self.canaries[name] = canary.NO_EFFECT if found["status"] == canary.REFUSED else None
            self.store.commit_json(records[name], {**found, "run": self.run})

    def _answers(self, group: str, requests: Sequence[Request], keys: Sequence[str], note: Note) -> Iterator[tuple[int, Answer]]:
        """Each request's answer, exactly once. keys: what is noted where somebody died over this partition before."""
        asker = Asker(lambda: self._engine(group, note), self._discard)
        if not note.careful:
            yield from asker.ask(requests)
            return
        for index, (request, key) in enumerate(zip(requests, keys, strict=True)):
            note.about_to(key)
            yield from ((index, answer) for _, answer in asker.ask([request]))

    def _engine(self, group: str, note: Note) -> Engine:
        """Loaded once while partitions of one group follow each other. Raises LoadFailed, again at once where it failed before."""
        if group in self.broken:
            raise LoadFailed(self.broken[group])
        if self.engine is None or self.group != group:
            self.engine = None  # let go first, for its memory
            note.about_to(LOADING)
            try:  # wide: loading is somebody else's code, and the other groups go on
                self.engine, self.group = make_engine(self.groups[group], self.access), group
            except Exception as error:
                self.broken[group] = type(error).__name__
                raise LoadFailed(self.broken[group]) from None
        return self.engine

    def _discard(self) -> None:
        self.engine = None

    def _request(self, extra: dict[str, Any], ask: dict[str, Any]) -> Request:
        question = extra["questions"][ask["question"]]
        prompt = Conversation(
            ask["key"],
            tuple(Message(role, content) for role, content in question["messages"]),
            tuple(str(self.folder / name) for name in question["images"]),
        )
        return question_request(self.variants[ask["variant"]], ask["benchmark"], prompt)


def _row(row: dict[str, Any], extra: dict[str, Any], answer: Answer | None, reason: str | None) -> dict[str, Any]:
    empty = dict.fromkeys(PREDICTIONS.schema.names)
    question = extra["questions"][extra["asks"][row["ask"]]["question"]]
    told = {name: row[name] for name in ("variant", "benchmark", "sample_id", "reference")}
    # worked examples of another folder (--test with --dataset) are left out: their paths tell of this machine
    images = [name for name in question.get("named", question["images"]) if not name.startswith("../")]
    made = empty | told | {"images": images, "status": OK}
    if reason is not None:
        return made | rejected(reason)
    assert answer is not None, "a sample without a reason was asked"
    if answer.error is not None:
        return made | rejected(f"evaluate:{answer.error}")
    if row["benchmark"] == CLASSIFICATION:
        parsed = parse_class(answer.text, options_in(question["messages"][-1][1]))
    else:
        parsed = answer.text.strip() or None
    return made | {
        "answer": answer.text,
        "parsed": parsed,
        "constrained": _likeliest(answer.log_likelihoods),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "cut": answer.cut,
        "latency_s": answer.latency_s,
        "usd": answer.usd,
    }


def _likeliest(log_likelihoods: Sequence[float]) -> str | None:
    """The class whose name is the likeliest answer; None where that was not asked."""
    if len(log_likelihoods) != len(SIX_CLASSES):
        return None
    return max(zip(log_likelihoods, SIX_CLASSES, strict=True))[1]
