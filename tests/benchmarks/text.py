"""How good the text stages are, on text that the rules' author did not write: python -m tests.benchmarks.text [SECTION ...]

One section for each part of the text pipeline; without a name all of them run. Every figure is printed with what it was measured on.
`privacy --probe FILE` measures names on a file of one's own instead (text_probe).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import text_diagnoses, text_privacy, text_probe, text_teeth

SECTIONS: dict[str, Callable[[], None]] = {
    "teeth": text_teeth.section,
    "privacy": text_privacy.main,
    "diagnoses": text_diagnoses.section,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.text", description="How good the text stages are.")
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; all of them without a name")
    parser.add_argument("--probe", type=Path, metavar="FILE", help="names in sentences of this JSON file, and nothing else")
    parser.add_argument("--misses", action="store_true", help="with --probe: print the sentences whose name is released")
    parser.add_argument("--alarms", action="store_true", help="with --probe: print the clean texts that are held back or changed")
    asked = parser.parse_args()
    unknown = [name for name in asked.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"section {unknown[0]}: there is {', '.join(SECTIONS)}")
    if (asked.misses or asked.alarms) and not asked.probe:
        parser.error("--misses and --alarms need --probe FILE")
    if asked.probe:
        if asked.sections != ["privacy"]:
            parser.error("--probe belongs to the section privacy alone: privacy --probe FILE")
        text_probe.section(asked.probe, asked.misses, asked.alarms)
        return
    for name in asked.sections or SECTIONS:
        print(f"\n══ {name} ══")
        SECTIONS[name]()
        if name == "privacy":
            text_probe.section(text_privacy.DATA / "other_hand.json")


if __name__ == "__main__":
    main()
