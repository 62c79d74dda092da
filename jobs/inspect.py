"""Look into a workspace: a visit, an image, a stage, or what was rejected; before and after.

    python -m jobs.inspect --workspace DIR visit 0013-002 [--private]
    python -m jobs.inspect --workspace DIR image 0013-002-04.jpg [--input EXPORT]
    python -m jobs.inspect --workspace DIR stage annotated
    python -m jobs.inspect --workspace DIR audit 50 [--sample NAME]
    python -m jobs.inspect --workspace DIR rejections [images:truncated] [--private]
    python -m jobs.inspect text "左上6深龋，患者周岩" [--names 周岩,何静] [--field diagnosis]

`text` needs no workspace: it prints as JSON what each text stage makes of a sentence. --private also shows what stands before
de-identification: only where you may see it, and never in a shared log.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from codelib.core.cli import Parser, leave, run_job
from codelib.core.store import Store, Workspace
from codelib.data import look, loupe


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m jobs.inspect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workspace", help="the workspace to look into (all but text need it)")
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
    audit = what.add_parser("audit", help="N released visits drawn at random, as written | as released, for a person to judge")
    audit.add_argument("num_visits", type=int)
    audit.add_argument("--sample", default="first", help="a name for the sample; drawn once, its verdicts stay")
    text = what.add_parser("text", help="one sentence through the text stages, as JSON")
    text.add_argument("sentence")
    text.add_argument("--names", default="", help="names known from the record's columns, between commas")
    text.add_argument("--field", default="diagnosis", help="the field it stands in (default: diagnosis)")
    args = parser.parse_args(argv)

    if args.what == "text":
        print(json.dumps(loupe.look(args.sentence, args.names.split(","), args.field), ensure_ascii=False, indent=1))
        return 0
    if args.workspace is None:
        parser.error("--workspace is missing: which workspace should be looked into?")
    workspace = Workspace.at(args.workspace, args.private_room)
    if args.what == "visit":
        print(look.visit(workspace, args.checkup_id, args.private))
    elif args.what == "image":
        print(look.image(workspace, args.name, Store(args.input) if args.input else None))
    elif args.what == "audit":
        print(look.audit(workspace, args.num_visits, args.sample))
    elif args.what == "stage":
        print(look.stage(workspace, args.name))
    else:
        print(look.rejections(workspace, args.reason, args.private))
    return 0


if __name__ == "__main__":
    leave(run_job(main))
