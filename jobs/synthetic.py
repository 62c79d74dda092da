"""Write a synthetic clinic export with known truth.

    python -m jobs.synthetic --output runs/clinic --visits 120 --seed 7

The export lies in the folder, its truth beside it as <folder>.truth.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from codelib.core.cli import Parser, leave, run_job
from codelib.synthetic.export import generate
from codelib.synthetic.people import POOLS
from codelib.synthetic.plan import Images


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.synthetic", description="Write a synthetic clinic export with known truth.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--visits", type=int, default=120, metavar="N", help="visits, rejected ones included (default 120)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default 0)")
    parser.add_argument("--pool", choices=POOLS, default="train", help="names and phrases; the two share none")
    parser.add_argument(
        "--images",
        choices=get_args(Images),
        default="few",
        help="photographs of a visit: few (1 to 4), or as in the published dataset (1 to 26, 5.7 on average)",
    )
    args = parser.parse_args(argv)
    truth = generate(args.output, visits=args.visits, seed=args.seed, pool=args.pool, images=args.images)
    print(f"{args.output}: {args.visits} visits written, truth in {truth}")
    return 0


if __name__ == "__main__":
    leave(run_job(main))
