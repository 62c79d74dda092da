"""What translating will cost, for ``--dry-run``; how far it is, for whoever waits; what it came to, for the summary."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from codelib.core.ahead import read_parts
from codelib.core.stage import manifest_parts, read_part
from codelib.core.store import Store
from codelib.data import annotate_ask
from codelib.data.annotate import AnnotateSettings
from codelib.data.annotate_second import Questions
from codelib.data.translate_budget import TokenEstimate, price_of
from codelib.data.translate_cache import FOLDER, SECOND_PASS, AnswerCache
from codelib.data.translate_exchange import Task, Translation
from codelib.data.translate_fill import COLUMNS, PROGRESS
from codelib.data.translate_prompt import PROMPT
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Reader, Text
from codelib.models.remote_budget import spent_before
from codelib.models.remote_prices import tokens_of

_AT_LEAST = (
    "             What is new in the export, or in the answers of a person, is not read yet, so this is the least it costs."
)
_SHOW_EVERY_S = 10.0
_SAMPLE_CHARS = 500  # a visit's text in the sense of scale


def cost_lines(settings: TranslateSettings, public: Store, is_current: bool) -> list[str]:
    """Lines for the plan; none where nothing is asked of a server. Reads, touches nothing, asks nobody.

    ``is_current``: whether the de-identified text that lies there is all there will be; otherwise the figure is the least it costs.
    """
    if settings.engine != "openai":
        return []
    how = f"{settings.model}{', Batch API' if settings.transport == 'batch' else ''}"
    if not public.exists("stages/deidentified/manifest.json"):
        return [
            f"translation  {how}: the text is not known yet, it is read and de-identified first; ask again after that stage.",
            f"             For a sense of scale: {_scale(settings)}",
        ]
    lines = [f"translation  {how}: {_forecast(settings, public)}"]
    if not is_current:
        lines.append(_AT_LEAST)
    waiting = sum(not name.endswith(".plan.json") for name in public.names(f"{FOLDER}/batches"))
    if waiting:
        lines.append(
            f"             {waiting} batches of an earlier run are paid for and wait to be fetched; their texts are counted above."
        )
    return [*lines, f"             {_spent(settings, public)}"]


def _scale(settings: TranslateSettings) -> str:
    """What a thousand visits would cost if no text of theirs repeated."""
    chars = 1000 * _SAMPLE_CHARS
    requests = chars / min(settings.chars_per_request, settings.texts_per_request * _SAMPLE_CHARS / 8)
    tokens_in, tokens_out = TokenEstimate().of("龋" * chars, chars, 8000)
    money = _money(settings, tokens_in + requests * tokens_of(PROMPT), tokens_out)
    return f"1,000 visits of {_SAMPLE_CHARS} Chinese characters are about {money}, less where texts repeat."


def _forecast(settings: TranslateSettings, public: Store) -> str:
    counts = Counts()
    reader = Reader(settings, AnswerCache(Store(f"{public.root}/{FOLDER}")), counts)
    tables = read_parts(manifest_parts(public, "deidentified"), COLUMNS)
    return _to_pay(settings, reader.requests(tables), Translation(), counts, "texts")


def second_lines(annotate: AnnotateSettings, translate: TranslateSettings, public: Store, is_current: bool) -> list[str]:
    """The same for the second pass over the diagnoses."""
    if annotate.second_pass.engine == "none":
        return []
    settings, questions, counts = annotate_ask.asking(annotate, translate), Questions(annotate), Counts()
    if not public.exists("stages/bilingual/manifest.json"):
        return [f"second pass  {settings.model}: the diagnoses are not known yet; ask again after the stage bilingual."]
    tables = ((table, None) for table in read_parts(manifest_parts(public, "bilingual"), annotate_ask.COLUMNS))
    reader = annotate_ask.StringReader(questions, AnswerCache(Store(f"{public.root}/{SECOND_PASS}")), counts)
    requests = reader.requests(tables, settings.texts_per_request)
    told = _to_pay(settings, requests, annotate_ask.Diagnoses(questions), counts, "unknown strings")
    return [f"second pass  {settings.model}: {told}", *([] if is_current else [_AT_LEAST])]


def _to_pay(settings: TranslateSettings, requests: Iterable[list[Text]], task: Task, counts: Counts, what: str) -> str:
    """``counts``: what the reading of the requests counts in."""
    estimate = TokenEstimate()
    tokens_in = tokens_out = number = 0.0
    for texts in requests:
        given, made = task.compose(texts, estimate).guess
        tokens_in, tokens_out, number = tokens_in + given, tokens_out + made, number + 1
    to_ask = counts.texts - counts.cached
    if not to_ask:
        return f"all {counts.texts:,} distinct {what} are answered already; nothing to pay."
    return (
        f"{counts.texts:,} distinct {what}, {counts.cached:,} answered already, {to_ask:,} to ask ({counts.chars_to_ask:,} characters, "
        f"{number:,.0f} requests): about {_money(settings, tokens_in, tokens_out)}."
    )


def _money(settings: TranslateSettings, tokens_in: float, tokens_out: float) -> str:
    price = price_of(settings)
    tokens = f"{_round(tokens_in)} tokens in, {_round(tokens_out)} out"
    if price is None:
        return f"{tokens}; the price of {settings.model} is not known (translate.usd_per_million_input and _output)"
    return f"{price.usd(tokens_in, tokens_out):.2f} USD ({tokens}; {price.as_of})"


def _round(tokens: float) -> str:
    """Two digits: it is a guess."""
    return f"{float(f'{tokens:.2g}'):,.0f}"


def _spent(settings: TranslateSettings, public: Store) -> str:
    spent = spent_before(Store(f"{public.root}/{FOLDER}"))
    budgets = [f"{settings.budget_usd:g} USD"] if settings.budget_usd is not None else []
    budgets += [f"{settings.budget_tokens:,} tokens"] if settings.budget_tokens is not None else []
    return (
        f"Spent in this workspace so far: {spent.usd:.2f} USD, {spent.tokens:,.0f} tokens. Budget: "
        f"{' and '.join(budgets) or 'none (translate.budget_usd, translate.budget_tokens)'}."
    )


@contextmanager
def shown(public: Store, folder: str) -> Iterator[None]:
    """Print how far a step that asks is, while it runs in a process elsewhere that writes its counts into its cache's folder."""
    cache = Store(f"{public.root}/{folder}")
    cache.delete(PROGRESS)
    stop = threading.Event()

    def show() -> None:
        last = ""
        while not stop.wait(_SHOW_EVERY_S):
            with suppress(OSError, ValueError, KeyError):
                line = _line(_CALLED[folder], json.loads(cache.read(PROGRESS)))
                if line != last:
                    print(line, flush=True)
                last = line

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        cache.delete(PROGRESS)


_CALLED = {FOLDER: "translations", SECOND_PASS: "second pass"}


def _line(title: str, done: dict[str, object]) -> str:
    return (
        f"  {title:<14} {done['partitions_read']}/{done['partitions']} partitions read   {done['texts']} texts: {done['cached']} known, "
        f"{done['answered']} answered, {done['needs_review']} to review   {done['requests']} requests, {done['usd']} USD   {done['note']}"
    ).rstrip()


def summary(public: Store, stage: str) -> str:
    """One sentence on the step of this name that has just asked a server."""
    (part,) = manifest_parts(public, stage)
    (row,) = read_part(part).to_pylist()
    done = "Translated" if stage == "translations" else "Second pass: read"
    return (
        f"{done} {row['answered']:,} texts by {row['model']} ({row['cached']:,} were known), {row['needs_review']:,} need review; "
        f"{row['requests']:,} requests, {row['input_tokens'] + row['output_tokens']:,} tokens, {row['usd']:.2f} USD"
    )
