"""How the release's steps scale to a million visits: python -m tests.benchmarks.release [SECTION ...]

One section for each step; without a name all of them run. Ends with 1 where a target is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.benchmarks import release_conversations, release_split

SECTIONS: dict[str, Callable[[], bool]] = {
    "split": release_split.section,
    "conversations": lambda: release_conversations.conversations(1_000_000),
    "shards": lambda: release_conversations.shards(1_000_000),
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"section {unknown[0]}: there is {', '.join(SECTIONS)}")
    passed = [SECTIONS[name]() for name in names or SECTIONS]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
