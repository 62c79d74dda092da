"""Check a release as its reader gets it; then, where you say so, pack it into a zip or upload it.

    python -m jobs.release --verify DIR                       exit code 0: all of it is right; 1: something is not; 2: DIR holds no release
    python -m jobs.release --verify DIR --zip dataset.zip     same content, same bytes
    HF_TOKEN=… python -m jobs.release --verify DIR --upload owner/name    to a private dataset of the Hugging Face Hub
    python -m jobs.release --diff OLDER NEWER [--csv FILE]    what changed between two releases

Nothing is packed or uploaded that was not verified in the same run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from codelib.core.cli import JobFailed, Parser, leave, run_job
from codelib.core.near import Near
from codelib.core.objects import is_object_store
from codelib.data import package, release_diff
from codelib.data.verify import verify


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.release", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--verify", metavar="DIR", help="a release (folder or URI), or a downloaded copy of one")
    what.add_argument("--diff", nargs=2, metavar=("OLDER", "NEWER"), help="two releases to compare")
    parser.add_argument("--csv", metavar="FILE", help="with --diff: a line for every checkup that differs")
    parser.add_argument("--zip", metavar="FILE", help="where to write the archive; outside of DIR")
    parser.add_argument("--upload", metavar="REPO_ID", help="a dataset repository (owner/name); needs a token in HF_TOKEN")
    parser.add_argument("--num-cpus", type=int, help="processes that look at once (default: all CPUs)")
    args = parser.parse_args(argv)

    if args.diff:
        return diff(args)
    if args.csv:
        raise ValueError("--csv belongs to --diff OLDER NEWER")
    workers = os.cpu_count() or 1 if args.num_cpus is None else args.num_cpus
    if workers < 1:
        raise ValueError(f"--num-cpus {workers}: at least 1")
    with _folder(args.verify) as folder:
        return _verified(args, folder, workers)


@contextmanager
def _folder(given: str) -> Iterator[Path]:
    """The folder; of a URI a copy on this machine's disk, which goes at the end."""
    if not is_object_store(given):
        yield Path(given)
        return
    copy = Near.of(given)
    try:
        yield copy.ensure()
    finally:
        copy.remove()


def _verified(args: argparse.Namespace, folder: Path, workers: int) -> int:
    token = package.token(args.upload) if args.upload else None  # before an hour of work
    target = package.target(folder, args.zip) if args.zip else None

    report = verify(folder, workers)
    print(report.table(), flush=True)
    if not report.passed:
        raise JobFailed(
            f"{folder}: {report.failed.total():,} failures in {len(report.failed)} checks; do not share or use this copy"
        )
    print(f"{folder}: all checks passed")
    if target:
        print(f"Packed: {target}   sha256 {package.pack(folder, target)}")
    if args.upload:
        assert token is not None
        print(f"Uploaded: {package.upload(folder, args.upload, token)}   (private; open it to others on its page)")
    return 0


def diff(args: argparse.Namespace) -> int:
    if given := [name for name in ("zip", "upload", "num_cpus") if getattr(args, name) is not None]:
        raise ValueError(f"--{given[0].replace('_', '-')} belongs to --verify DIR")
    with _folder(args.diff[0]) as older, _folder(args.diff[1]) as newer:
        found = release_diff.compare(older, newer)
    print(found.text())
    if args.csv:
        found.write_csv(Path(args.csv))
        print(f"every checkup that differs: {args.csv}")
    return 0


if __name__ == "__main__":
    leave(run_job(main))
