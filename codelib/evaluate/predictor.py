"""What an actor holds: engines, and the ledger of received answers.

    partition ──> rows known in evaluate/answers/<xx>/<key>.json ──┐
              └─> the others, batch by batch, to the engine ───────┴──> predictions table

Each received answer becomes a file at once, so that a kill costs the batch in flight and nothing else. Whatever goes wrong with a
model becomes rejected rows of its variant (``evaluate:<error class>``): the other variants go on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, PREDICTIONS, rejected
from codelib.core.store import Store
from codelib.evaluate.answers import parse_class
from codelib.evaluate.variants import CLASSIFICATION, Variant
from codelib.models.conversation import Conversation, Message
from codelib.models.engine import Answer, Engine, Request, answer_all

BAD_REFERENCE = "evaluate:reference"  # the dataset's own answer names no class: no model can help, it is not asked again
CHECKUPS = "checkups"  # in an answer's file: the visits that its question shows something of
# errors that the next request will meet as well: the rest of the partition is not tried
_HOPELESS = frozenset({"APIConnectionError", "AuthenticationError", "NotFoundError", "PermissionDeniedError"})


class ModelNotFound(ValueError):
    """A model folder that is not there."""


class AdapterNotFound(ValueError):
    """An adapter folder that is not there."""


def make_engine(variant: Variant) -> Engine:
    """The engine of a resolved variant. Raises whatever its model's loading raises."""
    if variant.engine == "openai":
        from codelib.models.openai_engine import OpenAIEngine

        return OpenAIEngine(variant.model, base_url=variant.base_url, concurrency=variant.batch_size)
    if variant.adapter and not Path(variant.adapter).exists():
        raise AdapterNotFound(variant.adapter)
    if Path(variant.model).is_absolute() and not Path(variant.model).exists():
        raise ModelNotFound(variant.model)
    from codelib.models.transformers_engine import TransformersEngine

    return TransformersEngine(variant.model, batch_size=variant.batch_size)


def answer_name(key: str) -> str:
    return f"answers/{key[:2]}/{key}.json"


class Predictor:
    """What an actor holds: the engines it has loaded, at most one of them a local model, and the ledger of answers."""

    def __init__(self, folder: str, variants: dict[str, Variant], store: Store):
        self.folder, self.variants, self.store = Path(folder), variants, store
        self.name: str | None = None
        self.engine: Engine | None = None
        self.failed: dict[str, str] = {}  # variant -> class of the error that its loading met

    def __call__(self, extra: dict[str, Any]) -> pa.Table:
        variant, samples = self.variants[extra["variant"]], extra["samples"]
        reasons = {s["sample_id"]: self._reject(s, extra["benchmark"]) for s in samples}
        known = {s["sample_id"]: self._known(s["key"]) for s in samples}
        todo = [s for s in samples if reasons[s["sample_id"]] is None and known[s["sample_id"]] is None]
        known |= self._ask(variant, extra["benchmark"], todo)
        rows = [_row(extra, s, known[s["sample_id"]], reasons[s["sample_id"]]) for s in samples]
        return pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)

    def _reject(self, sample: dict[str, Any], benchmark: str) -> str | None:
        if benchmark == CLASSIFICATION and parse_class(sample["reference"]) is None:
            return BAD_REFERENCE
        if any(not (self.folder / name).is_file() for name in sample["images"]):
            return "evaluate:image_missing"
        return None

    def _known(self, key: str) -> Answer | None:
        if not self.store.exists(answer_name(key)):
            return None
        held = self.store.read_json(answer_name(key))
        fields = {name: value for name, value in held.items() if name != CHECKUPS}
        return Answer(**fields | {"log_likelihoods": tuple(fields.get("log_likelihoods", ()))})

    def _ask(self, variant: Variant, benchmark: str, todo: list[dict[str, Any]]) -> dict[str, Answer]:
        """Batch by batch, each received answer kept at once."""
        got: dict[str, Answer] = {}
        hopeless: str | None = None
        for start in range(0, len(todo), variant.batch_size):
            batch = todo[start : start + variant.batch_size]
            answers = _failures(hopeless, len(batch)) if hopeless else self._answer(variant, benchmark, batch)
            for sample, answer in zip(batch, answers, strict=True):
                got[sample["sample_id"]] = answer
                if answer.error is None:
                    held = {**vars(answer), CHECKUPS: sample["checkups"]}
                    self.store.commit(answer_name(sample["key"]), json.dumps(held, ensure_ascii=False).encode())
            errors = {answer.error for answer in answers}
            if len(errors) == 1 and errors <= _HOPELESS:
                hopeless = answers[0].error
        return got

    def _answer(self, variant: Variant, benchmark: str, batch: list[dict[str, Any]]) -> list[Answer]:
        prompts = [
            Conversation(
                sample["sample_id"],
                tuple(Message(role, content) for role, content in sample["messages"]),
                tuple(str(self.folder / name) for name in sample["images"]),
            )
            for sample in batch
        ]
        if variant.name in self.failed:
            return _failures(self.failed[variant.name], len(batch))
        # two wide catches, one for each thing that is somebody else's code: whatever a model does, the other variants go on
        try:
            engine = self._engine(variant)
        except Exception as error:
            self.failed[variant.name] = type(error).__name__
            return _failures(type(error).__name__, len(batch))
        try:
            length = variant.answer_length(benchmark)
            return answer_all(engine, [Request(one, length, variant.adapter, variant.pixels()) for one in prompts])
        except Exception as error:
            if len(batch) == 1:
                return _failures(type(error).__name__, 1)
        # one bad sample must not take its batch down: one by one
        return [answer for sample in batch for answer in self._answer(variant, benchmark, [sample])]

    def _engine(self, variant: Variant) -> Engine:
        """Loaded once while partitions of one variant follow each other; the one before is let go first, for its memory."""
        if self.engine is None or self.name != variant.name:
            self.engine = None
            self.engine, self.name = make_engine(variant), variant.name
        return self.engine


def _failures(error: str | None, count: int) -> list[Answer]:
    return [Answer("", 0, 0, 0.0, error=error)] * count


def _row(extra: dict[str, Any], sample: dict[str, Any], answer: Answer | None, reason: str | None) -> dict[str, Any]:
    row = {
        "variant": extra["variant"],
        "sample_id": sample["sample_id"],
        "benchmark": extra["benchmark"],
        "images": sample["images"],
        "reference": sample["reference"],
        "answer": None,
        "parsed": None,
        "prompt_tokens": None,
        "completion_tokens": None,
        "latency_s": None,
        "status": OK,
        "reject_reason": None,
    }
    if reason is not None:
        return row | rejected(reason)
    assert answer is not None, "a sample without a reason was asked"
    if answer.error is not None:
        return row | rejected(f"evaluate:{answer.error}")
    parsed = parse_class(answer.text) if extra["benchmark"] == CLASSIFICATION else (answer.text.strip() or None)
    return row | {
        "answer": answer.text,
        "parsed": parsed,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "latency_s": answer.latency_s,
    }
