"""What translating will cost, for ``--dry-run``; how far it is, for whoever waits; what it came to, for the summary."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS
from codelib.core.stage import Part, manifest_parts, read_part
from codelib.core.store import Store
from codelib.data.translate_budget import TokenEstimate, price_of, spent_before, tokens_of
from codelib.data.translate_cache import FOLDER, AnswerCache
from codelib.data.translate_exchange import compose
from codelib.data.translate_fill import PROGRESS
from codelib.data.translate_prompt import PROMPT
from codelib.data.translate_settings import TranslateSettings
from codelib.data.translate_texts import Counts, Reader

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
        lines.append(
            "             The export has changed since: what is new in it is not read yet, so this is the least it costs."
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
    counts, estimate = Counts(), TokenEstimate()
    reader = Reader(settings, AnswerCache(Store(f"{public.root}/{FOLDER}")), counts)
    tables = (_table(part) for part in manifest_parts(public, "deidentified"))
    tokens_in = tokens_out = requests = 0.0
    for texts in reader.requests(tables):
        given, made = compose(texts, estimate).guess
        tokens_in, tokens_out, requests = tokens_in + given, tokens_out + made, requests + 1
    to_ask = counts.texts - counts.cached
    if not to_ask:
        return f"all {counts.texts:,} distinct texts are answered already; nothing to pay."
    return (
        f"{counts.texts:,} distinct texts, {counts.cached:,} answered already, {to_ask:,} to ask ({counts.chars_to_ask:,} characters, "
        f"{requests:,.0f} requests): about {_money(settings, tokens_in, tokens_out)}."
    )


def _table(part: Part) -> pa.Table:
    return read_part(replace(part, drop=()), [*TEXT_FIELDS, "status"])


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
def shown(public: Store) -> Iterator[None]:
    """Print how far the step is, while it runs in a process elsewhere that writes its counts into the workspace."""
    cache = Store(f"{public.root}/{FOLDER}")
    cache.delete(PROGRESS)
    stop = threading.Event()

    def show() -> None:
        last = ""
        while not stop.wait(_SHOW_EVERY_S):
            with suppress(OSError, ValueError, KeyError):
                line = _line(json.loads(cache.read(PROGRESS)))
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


def _line(done: dict[str, object]) -> str:
    return (
        f"  translations   {done['partitions_read']}/{done['partitions']} partitions read   {done['texts']} texts: {done['cached']} known, "
        f"{done['answered']} answered, {done['needs_review']} to review   {done['requests']} requests, {done['usd']} USD   {done['note']}"
    ).rstrip()


def summary(public: Store) -> str | None:
    """One sentence on the last step that asked a server; None where none did."""
    if not public.exists("stages/translations/manifest.json"):
        return None
    (part,) = manifest_parts(public, "translations")
    (row,) = read_part(part).to_pylist()
    return (
        f"Translated {row['answered']:,} texts by {row['model']} ({row['cached']:,} were known), {row['needs_review']:,} need review; "
        f"{row['requests']:,} requests, {row['input_tokens'] + row['output_tokens']:,} tokens, {row['usd']:.2f} USD"
    )
