"""Write the tables of docs/scaling.md anew, after a measurement or a changed calculator: python -m tests.benchmarks.scaling_document

Rows of unit costs come from the shipped file, tables below an indented `python -m jobs.plan … --table` from that command. Everything else is
left as it stands: read it after.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator

from codelib.sizing.unit_costs import shipped
from jobs.plan import main as plan
from tests.conftest import ROOT

DOCUMENT = ROOT / "docs" / "scaling.md"
_STAGES, _FILES = "| stage | for each |", "| one file | MB |"


def rows_of_stages() -> list[str]:
    return [
        f"| {one.name} | {one.per} | {1000 * one.cpu_s:.3g} | {one.fixed_cpu_s:.2g} | {one.read_bytes / 1e3:.3g} | "
        f"{one.written_bytes / 1e3:.3g} | {one.reads:.2g} | {one.writes:.2g} |"
        for one in shipped().stages
    ]


def rows_of_files() -> list[str]:
    return [
        f"| {one.name} | {one.file_mb:g} | {1000 * one.cpu_s:.0f} | {1000 * one.screens_cpu_s:.0f} | {one.released_kb:.0f} | "
        f"{'–' if one.peak_mb is None else f'{one.peak_mb:.0f}'} |"
        for one in shipped().files
    ]


def printed(command: str) -> list[str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if plan(shlex.split(command)[3:]):
            raise SystemExit(f"{command}: did not end well")
    return out.getvalue().splitlines()


def written_anew(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        yield line
        if line.startswith((_STAGES, _FILES)):
            yield lines[at]  # the rule below the head
            yield from rows_of_stages() if line.startswith(_STAGES) else rows_of_files()
        elif re.match(r" {4}python -m jobs\.plan .*--table", line):
            while not lines[at].startswith("|"):
                yield lines[at]
                at += 1
            yield from printed(line.strip())
        else:
            continue
        while at < len(lines) and lines[at].startswith("|"):
            at += 1


def main() -> None:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    DOCUMENT.write_text("\n".join(written_anew(lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
