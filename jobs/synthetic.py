"""Write a synthetic clinic export with known truth.

    python -m jobs.synthetic --output runs/clinic --visits 120 --seed 7

The export lies in the folder, its truth beside it as <folder>.truth.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codelib.synthetic.export import generate
from codelib.synthetic.people import POOLS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="jobs.synthetic", description="Write a synthetic clinic export with known truth.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--visits", type=int, default=120, metavar="N", help="visits, rejected ones included (default 120)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default 0)")
    parser.add_argument("--pool", choices=POOLS, default="train", help="names and phrases; the two share none")
    arguments = parser.parse_args(argv)
    try:
        truth = generate(arguments.output, visits=arguments.visits, seed=arguments.seed, pool=arguments.pool)
    except (ValueError, OSError) as error:
        print(f"jobs.synthetic: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output}: {arguments.visits} visits written, truth in {truth}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
