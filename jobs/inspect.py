"""Look into a workspace: a visit, an image, a stage, or what was rejected; before and after.

    python -m jobs.inspect --workspace DIR visit 0013-002 [--private]
    python -m jobs.inspect --workspace DIR image 0013-002-04.jpg [--input EXPORT]
    python -m jobs.inspect --workspace DIR stage annotated
    python -m jobs.inspect --workspace DIR rejections [images:truncated] [--private]

--private also shows what stands before de-identification: only where you may see it, and never in a shared log.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from codelib.core.cli import Parser, run_job
from codelib.core.store import Store, Workspace
from codelib.data import look


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m jobs.inspect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--private-room", help="where the private room lies (default: WORKSPACE/private)")
    what = parser.add_subparsers(dest="what", required=True)
    visit = what.add_parser("visit", help="one checkup, field by field")
    visit.add_argument("checkup_id")
    visit.add_argument("--private", action="store_true", help="show it as it was written, too")
    image = what.add_parser("image", help="one image")
    image.add_argument("name", help="a released file name, or an image key")
    image.add_argument("--input", help="the export: then a picture before | after is made in private/inspect")
    stage = what.add_parser("stage", help="what a stage made")
    stage.add_argument("name")
    rejections = what.add_parser("rejections", help="what was rejected, and why")
    rejections.add_argument("reason", nargs="?")
    rejections.add_argument("--private", action="store_true", help="name the sources")
    args = parser.parse_args(argv)

    workspace = Workspace.at(args.workspace, args.private_room)
    if args.what == "visit":
        print(look.visit(workspace, args.checkup_id, args.private))
    elif args.what == "image":
        print(look.image(workspace, args.name, Store(args.input) if args.input else None))
    elif args.what == "stage":
        print(look.stage(workspace, args.name))
    else:
        print(look.rejections(workspace, args.reason, args.private))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
