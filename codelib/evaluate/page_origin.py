"""The report's last part: failures, cost and time, exact prompts, versions, fingerprints, settings."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from codelib.evaluate.page_parts import NONE, Report, duration, folded, named, paragraph, plain, row, section, table, whole

_DECODING = {"temperature": 0.0, "top_p": 1.0, "seed": 0, "repetition_penalty": 1.0}  # what is not worth saying


def failures(report: Report) -> str:
    rows = [
        row(f"<th scope=row>{escape(variant['name'])}</th>", plain(reason, prose=True), plain(count))
        for variant in report["variants"]
        for reason, count in (variant.get("failures") or {}).items()
    ]
    shown = (
        table(("Model", "Reason", "Questions"), rows, "Failures", prose=(1,))
        if rows
        else "<p>None: every question was answered.</p>"
    )
    return section("failures", "Failures", shown)


def _usd(value: float | None) -> str:
    return NONE if value is None else (f"${value:,.2f}" if value >= 0.01 or value == 0 else f"${value:.4f}")


def costs(report: Report) -> str:
    rows = []
    for variant in report["variants"]:
        if cost := variant.get("cost"):
            seconds, answers = cost.get("seconds"), cost.get("num_answers")
            each = f"{seconds / answers:.2f} s" if seconds is not None and answers else NONE
            counts = [plain(whole(cost.get(name))) for name in ("num_answers", "prompt_tokens", "completion_tokens")]
            speed = cost.get("tokens_per_s")
            times = [duration(seconds), each, NONE if speed is None else f"{speed:.0f}"]
            priced = cost.get("num_priced")
            of = f" ({priced:,} of {answers:,})" if cost.get("usd") is not None and priced not in (None, answers) else ""
            rows.append(row(named(variant), *counts, *map(plain, times), plain(f"{_usd(cost.get('usd'))}{of}")))
    head = ("Model", "Answers", "Prompt tokens", "Answer tokens", "Time", "An answer", "Tokens a second", "Cost")
    text = "Time is the sum over answers: several are made at once, so that the run took less. A cost is given where the price is known."
    return section("cost", "Cost and time", paragraph(text) + table(head, rows, "Cost and time of each variant")) if rows else ""


def prompts(report: Report) -> str:
    parts = []
    for found in report.get("prompts") or ():
        label = f"{str(found['benchmark']).capitalize()}: {', '.join(found.get('variants') or ())}"
        parts.append(folded(label, f"<pre class=text tabindex=0>{escape(str(found['text']))}</pre>"))
    text = "As the first test visit was asked, word for word; <image> stands where an image goes."
    return section("prompts", "Exact prompts", paragraph(text) + "".join(parts)) if parts else ""


def _asked_how(variant: Report) -> str:
    adapter = f" + {variant['adapter']}" if variant.get("adapter") else ""
    said = [f"{variant.get('engine', '')}: {variant.get('model', '')}{adapter}", str(variant.get("prompting") or "")]
    decoding: dict[str, Any] = variant.get("decoding") or {}
    odd = [f"{name} {value}" for name, value in decoding.items() if _DECODING.get(name) != value]
    said += odd or (["greedy"] if decoding else [])
    return ", ".join(filter(None, said))


def _canary(variant: Report) -> str:
    found = variant.get("canary") or {}
    if not found or found.get("status") == "not_needed":
        return NONE
    why = f": {found['why']}" if found.get("why") else ""
    return f"{str(found.get('status', '')).replace('_', ' ')}{why}"


def origin(report: Report) -> str:
    rows = []
    for variant in report["variants"]:
        prints = ", ".join(f"{name} {value}" for name, value in (variant.get("fingerprint") or {}).items())
        rows.append(
            row(
                f"<th scope=row>{escape(variant['name'])}</th>",
                plain(_asked_how(variant), prose=True),
                plain(_canary(variant), prose=True),
                f"<td class=print>{escape(prints)}</td>",
            )
        )
    head = ("Model", "What", "Adapter has an effect?", "Fingerprint")
    versions = " · ".join(f"{name} {value}" for name, value in (report.get("versions") or {}).items())
    settings = " · ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in (report.get("settings") or {}).items()
        if value is not None
    )
    body = (
        f"{table(head, rows, 'What each variant is', prose=(1, 2, 3))}{paragraph(versions)}{paragraph(f'Settings: {settings}')}"
    )
    return section("versions", "Versions and fingerprints", body)
