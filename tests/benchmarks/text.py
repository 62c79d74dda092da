"""How good the text stages are, on text that the rules' author did not write: python -m tests.benchmarks.text [SECTION ...]

One section for each part of the text pipeline; without a name all of them run. Every figure is printed with what it was measured on.

A file of cases written by somebody else (columns input, expected; for teeth FDI numbers, region, ambiguous, reject or nothing, for diagnoses
"condition status; ...") is judged with

    python -m tests.benchmarks.text teeth --cases FILE [--misses]
    python -m tests.benchmarks.text diagnoses --cases FILE [--misses]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import text_diagnoses, text_privacy, text_teeth

SECTIONS: dict[str, Callable[[], None]] = {
    "teeth": text_teeth.section,
    "privacy": text_privacy.main,
    "diagnoses": text_diagnoses.section,
}
OF_FILE: dict[str, Callable[[Path, bool], None]] = {"teeth": text_teeth.of_file, "diagnoses": text_diagnoses.of_file}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.text", description="How good the text stages are.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--cases", type=Path, metavar="FILE", help=f"a CSV file of cases, for {' or '.join(OF_FILE)}")
    parser.add_argument("--misses", action="store_true", help="with --cases: print each case that is not read as expected")
    said = parser.parse_args()
    if unknown := [name for name in said.sections if name not in SECTIONS]:
        parser.error(f"section {unknown[0]}: there is {', '.join(SECTIONS)}")
    if said.misses and not said.cases:
        parser.error("--misses needs --cases FILE")
    if said.cases:
        if len(said.sections) != 1 or said.sections[0] not in OF_FILE:
            parser.error(f"--cases needs one section, {' or '.join(OF_FILE)}")
        return OF_FILE[said.sections[0]](said.cases, said.misses)
    for name in said.sections or SECTIONS:
        print(f"\n══ {name} ══")
        SECTIONS[name]()


if __name__ == "__main__":
    main()
