"""A series of fault drills on virtual hosts of this machine.

    python -m tests.cluster.faults --drills 40 --seed 1 [--journal drills.jsonl]

Drill N of a series has the seed SEED + N - 1: `--drills 1 --seed 17` with another journal makes the 17th of a series from 1 again. What
stands in the journal is not made again, so that the same command goes on after a kill. Exit code 0: every drill ended as if nothing had
happened; 1: one did not.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from codelib.core.cli import Parser
from tests.cluster.faults.cluster import RayHosts
from tests.cluster.faults.drill import Outcome, conduct
from tests.cluster.faults.journal import Journal, summary
from tests.cluster.faults.plan import Drill, Over, draw
from tests.cluster.faults.work import Dataset, Training
from tests.cluster.hosts import HOSTS, started, until, why_not


class Ground:
    """A cluster and the two jobs, made when the first drill wants them and shared by all."""

    def __init__(self, share: Path, cluster: RayHosts) -> None:
        self.share, self.cluster = share, cluster
        self._work: dict[Over, Dataset | Training] = {}

    def work(self, over: Over) -> Dataset | Training:
        if over not in self._work:
            self._work[over] = Dataset(self.share, self.cluster.trace) if over == "dataset" else Training(self.share)
        return self._work[over]

    def conduct(self, drill: Drill) -> Outcome:
        """Make a drill; its workspace goes where it ended well, and stays with the job's words where it did not."""
        place, log = self.share / f"seed-{drill.seed}", self.share / f"seed-{drill.seed}.log"
        outcome = conduct(drill, self.work(drill.over).attempt(drill, place), self.cluster, log)
        if outcome.failure:
            outcome.failure += f"\n{log.read_text(errors='replace')[-3000:]}"
        else:
            shutil.rmtree(place)
        return outcome


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Three virtual hosts with Ray on them. At the end nothing runs there and nothing lies in their /tmp; AssertionError where it does."""
    with started(folder / "share") as hosts:
        cluster = RayHosts(hosts)
        yield Ground(hosts.share, cluster)
        for host in HOSTS:
            cluster.end(host)
        until(lambda: not cluster.left(), 30, lambda: f"left behind: {cluster.left()}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m tests.cluster.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--drills", type=int, default=40, help="how many (default 40)")
    parser.add_argument("--seed", type=int, default=1, help="of the first drill; the others count up from it")
    parser.add_argument("--journal", type=Path, default=Path("drills.jsonl"), help="a line of JSON for each drill")
    try:
        args = parser.parse_args(argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if reason := why_not():
        print(f"error: {reason}", file=sys.stderr)
        return 2
    journal = Journal(args.journal)
    seeds = range(args.seed, args.seed + args.drills)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the hosts go in any case
    if todo := [seed for seed in seeds if seed not in journal.done()]:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, ground(Path(folder)) as place:
            for seed in todo:
                outcome = place.conduct(draw(seed))
                journal.add(outcome)
                if outcome.failure:
                    print(outcome.failure, flush=True)
    made = [line for line in journal.lines() if line["seed"] in seeds]
    print(summary(made))
    return 1 if any(line["failure"] for line in made) else 0


if __name__ == "__main__":
    sys.exit(main())
