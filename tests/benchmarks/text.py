"""How good the text stages are, on text that the rules' author did not write: python -m tests.benchmarks.text [SECTION ...]

One section for each part of the text pipeline; without a name all of them run. Every figure is printed with what it was measured on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import text_diagnoses, text_privacy, text_teeth

SECTIONS: dict[str, Callable[[], None]] = {
    "teeth": text_teeth.section,
    "privacy": text_privacy.main,
    "diagnoses": text_diagnoses.section,
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"section {unknown[0]}: there is {', '.join(SECTIONS)}")
    for name in names or SECTIONS:
        print(f"\n══ {name} ══")
        SECTIONS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
