"""10,000 translations against a server that misbehaves: `python -m tests.benchmarks.translate`.

The server (tests/llm_server.py) is a process of its own; the translating process another, killed with SIGKILL half way and started again. A
third of all requests are answered 429 or 500, connections are cut, JSON is broken, keys are missing, some texts are always refused. Ends with
1 where a target is missed.

    throughput   requests sent, as a share of what the limit allows between the first and the last: also the failed ones count
                 against a limit, so no client can have more answers than this share times those that the server gives
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import TEXT_FIELDS
from codelib.data.translate import AnswerCache, TranslateSettings
from codelib.data.translate_checks import check
from codelib.data.translate_fill import fill
from codelib.data.translate_texts import key_of
from tests import llm_server

SHARES = {
    "429": 1 / 12,
    "429_after": 1 / 12,
    "500": 1 / 6,
    "cut": 0.02,
    "broken": 0.02,
    "missing": 0.01,
    "empty": 0.01,
    "slow": 0.01,
}
NUM_REFUSED = 10
ROWS = 250  # texts in one table: about what a partition of the dataset holds


def settings(url: str, per_minute: int, told: bool, texts_per_request: int) -> TranslateSettings:
    """``told``: the limit stands in the settings, not in the server's headers."""
    limit = per_minute if told else None
    return TranslateSettings(
        engine="openai", base_url=url, model="bench-1", requests_per_minute=limit, texts_per_request=texts_per_request
    )


def tables(num_texts: int) -> list[pa.Table]:
    texts = [llm_server.chinese(i) for i in range(num_texts)]
    rows = [dict.fromkeys(TEXT_FIELDS, "") | {"examination": text, "remarks": text, "status": "ok"} for text in texts]
    return [pa.Table.from_pylist(rows[i : i + ROWS]) for i in range(0, len(rows), ROWS)]


def translate(args: argparse.Namespace) -> None:
    """The translating process."""
    made = tables(args.texts)
    options = settings(args.url, args.per_minute, args.told, args.texts_per_request)
    print(fill(options, AnswerCache(args.cache), lambda: made, len(made)).to_pylist()[0], flush=True)


def run_once(args: argparse.Namespace, server: llm_server.Running, cache: str, kill_at: int | None) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.translate", "--url", server.url, "--cache", cache]
    command += [
        "--texts",
        str(args.texts),
        "--per-minute",
        str(args.per_minute),
        "--texts-per-request",
        str(args.texts_per_request),
    ]
    command += ["--told"] if args.told else []
    process = subprocess.Popen(command, env={**os.environ, "OPENAI_API_KEY": llm_server.KEY})
    while kill_at is not None and process.poll() is None:
        if sum(1 for _ in Path(cache).glob("??/*.json")) >= kill_at:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.2)
    process.wait()
    assert kill_at is not None or process.returncode == 0, "the translating process failed"


def measure(args: argparse.Namespace, kill: bool) -> bool:
    refused = [llm_server.chinese(i) for i in range(0, args.texts, max(args.texts // NUM_REFUSED, 1))][:NUM_REFUSED]
    with llm_server.started() as server, tempfile.TemporaryDirectory() as cache:
        server.control(
            shares=SHARES, refuse=refused, requests_per_minute=args.per_minute, headers=not args.told, latency_s=args.latency_s
        )
        if kill:
            run_once(args, server, cache, kill_at=args.texts // 2)
            paid_before = sum(server.stats()["delivered"].values())
        run_once(args, server, cache, kill_at=None)
        stats = server.stats()
        options = settings(server.url, args.per_minute, args.told, args.texts_per_request)
        return report(args, stats, options, AnswerCache(cache), set(refused), paid_before if kill else None)


def report(
    args: argparse.Namespace,
    stats: dict[str, Any],
    options: TranslateSettings,
    cache: AnswerCache,
    refused: set[str],
    paid_before: int | None,
) -> bool:
    right = lost = noted = 0
    for i in range(args.texts):
        text = llm_server.chinese(i)
        kept = cache.get(key_of(options, text))
        if kept is not None and kept.english == llm_server.english(text) and not check(text, kept.english):
            right += 1
        elif text in refused and kept is not None and kept.failed == ("refusal",):
            noted += 1
        else:
            lost += 1
    again = Counter(stats["delivered"].values())
    twice = sum(n * (times - 1) for times, n in again.items())
    throughput = stats["requests"] / max(stats["seconds"], 1e-9) * 60 / args.per_minute
    in_flight = options.concurrency * args.texts_per_request
    ten_seconds = args.per_minute / 6
    print(
        f"\n{args.texts} texts, {args.texts_per_request} a request, limit {args.per_minute} requests a minute "
        f"({'in the settings' if args.told else 'learned from headers'})"
        + (", killed once with SIGKILL" if paid_before is not None else "")
    )
    print(f"server: {stats['requests']} requests in {stats['seconds']:.1f} s; answers by kind {stats['acts']}")
    lines = [
        (f"translated {right}, refused and noted {noted}", right == args.texts - len(refused) and noted == len(refused)),
        (f"lost {lost}", lost == 0),
        (
            f"most requests in any 10 s: {stats['most_in_ten_seconds']} (limit {ten_seconds:g})",
            stats["most_in_ten_seconds"] <= ten_seconds,
        ),
        (f"most requests in any minute: {stats['most_in_a_minute']}", stats["most_in_a_minute"] <= args.per_minute),
        (f"refused by the server's limit: {stats['over_limit']}", stats["over_limit"] == 0),
    ]
    if paid_before is None:
        lines += [
            (f"texts paid twice: {twice}", twice == 0),
            (f"throughput {100 * throughput:.1f} % of what the limit allows", throughput >= 0.9),
        ]
    else:
        lines.append(
            (f"texts paid twice after the kill at {paid_before}: {twice} (under way at most {in_flight})", twice <= in_flight)
        )
    for line, passed in lines:
        print(f"{'pass' if passed else 'MISS'}  {line}")
    return all(passed for _, passed in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--texts-per-request", type=int, default=8)
    parser.add_argument("--per-minute", type=int, default=1200)
    parser.add_argument("--latency-s", type=float, default=0.3)
    parser.add_argument("--told", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.url:
        translate(args)
        return 0
    runs = [(False, False), (True, False), (False, True)]  # (the limit is told, killed)
    passed = []
    for told, kill in runs:
        args.told = told
        passed.append(measure(args, kill))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
