"""How good the text stages are, on text that the rules' author did not write: python -m tests.benchmarks.text [SECTION ...]

One section for each part of the text pipeline; without a name all of them run. Every figure is printed with what it was measured on.

A file of cases written by somebody else is judged with one section and --cases FILE [--misses] [--alarms]:

    teeth        CSV input, expected: FDI numbers, region, ambiguous, reject or nothing
    privacy      JSON {"records": [{"text", "names"}], "clean": [...]}: the names in sentences
    diagnoses    CSV input, expected: "condition status; ..."
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import text_diagnoses, text_privacy, text_probe, text_speed, text_teeth

SECTIONS: dict[str, Callable[[], None]] = {
    "teeth": text_teeth.section,
    "privacy": text_privacy.main,
    "diagnoses": text_diagnoses.section,
    "speed": text_speed.section,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.text", description="How good the text stages are.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--cases", type=Path, metavar="FILE", help="cases that somebody else wrote, and nothing else")
    parser.add_argument("--misses", action="store_true", help="with --cases: print each case that is not read as expected")
    parser.add_argument("--alarms", action="store_true", help="with privacy --cases: print the clean texts held back or changed")
    asked = parser.parse_args()
    if unknown := [name for name in asked.sections if name not in SECTIONS]:
        parser.error(f"section {unknown[0]}: there is {', '.join(SECTIONS)}")
    if (asked.misses or asked.alarms) and not asked.cases:
        parser.error("--misses and --alarms need --cases FILE")
    if asked.cases:
        if len(asked.sections) != 1:
            parser.error(f"--cases needs one section, {' or '.join(SECTIONS)}")
        return _of_file(asked)
    for name in asked.sections or SECTIONS:
        print(f"\n══ {name} ══")
        SECTIONS[name]()
        if name == "privacy":
            for file in sorted(text_privacy.DATA.glob("other_hand*.json")):
                text_probe.section(file)


def _of_file(asked: argparse.Namespace) -> None:
    if asked.sections == ["privacy"]:
        text_probe.section(asked.cases, asked.misses, asked.alarms)
    elif asked.sections == ["teeth"]:
        text_teeth.of_file(asked.cases, asked.misses)
    else:
        text_diagnoses.of_file(asked.cases, asked.misses)


if __name__ == "__main__":
    main()
