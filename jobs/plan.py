"""What dataset, training and evaluation of a clinic will take: hours, memory, network, storage and money, each figure with its sum.

    python -m jobs.plan --visits 1000000 --workers 20 c7i.16xlarge --market spot --gpu-nodes 1 p4de.24xlarge --recipe paper-7b

Nothing is started and nothing is asked. Unit costs were measured (codelib/sizing/unit_costs.yaml), machines and prices are a list
(codelib/sizing/machines.yaml; `--machines FILE`, `--price NAME=USD`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from codelib.core.cli import Parser, leave, run_job
from codelib.core.config import load
from codelib.sizing import dataset, flow, learning, machines, unit_costs
from codelib.sizing.clinic import Assumed, Clinic, Translate, nodes
from codelib.sizing.figure import Section, about, table
from codelib.train.settings import TrainSettings


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    check_together(args)
    known = (machines.read(Path(args.machines)) if args.machines else machines.known()).with_prices(machines.prices(args.price))
    costs = unit_costs.read(Path(args.unit_costs)) if args.unit_costs else unit_costs.shipped()
    plans = {f"{visits:,} visits": sections(args, visits, known, costs) for visits in args.visits}
    if args.json:
        plain = {name: [asdict(section) for section in plan] for name, plan in plans.items()}
        try:
            Path(args.json).write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ValueError(f"--json {args.json}: name a file in a folder that is there") from None
    if args.table:
        print("\n".join(table(plans)))
        return 0
    measured = costs.measured
    print(f"unit costs  measured on {measured.machine}, {measured.date}, commit {measured.commit}: {measured.repeat}")
    print(f"prices      {known.note}\n")
    for plan in plans.values():
        for section in plan:
            print("\n".join(section.lines()), end="\n\n")
    if args.stages:
        for visits in args.visits:
            print("\n".join(stage_lines(args, visits, known, costs)), end="\n\n")
    return 0


def parser() -> Parser:
    made = Parser(prog="python -m jobs.plan", description=(__doc__ or "").splitlines()[0])
    made.add_argument(
        "--visits", type=int, nargs="+", required=True, metavar="N", help="visits of the export; several: one plan each"
    )
    made.add_argument(
        "--photographs", type=float, default=5.7, metavar="N", help="photographs a visit (default: the published 5.7)"
    )
    made.add_argument("--photograph-mp", type=float, default=18.0, metavar="MP", help="megapixels of one (default 18, a DSLR's)")
    made.add_argument("--photograph-mb", type=float, default=6.0, metavar="MB", help="megabytes of one JPEG (default 6)")
    made.add_argument(
        "--radiographs", type=float, default=0.92, metavar="N", help="radiographs a visit (default: the published 0.92)"
    )
    made.add_argument(
        "--radiograph", default="panoramic PNG", metavar="SORT", help="what they are, as measured (default panoramic PNG)"
    )
    made.add_argument("--no-screens", action="store_true", help="without the screens for writing, faces and documents")
    made.add_argument("--chars", type=float, default=500.0, metavar="N", help="Chinese characters a visit (default 500)")
    made.add_argument("--partition-visits", type=int, metavar="N", help="dataset.partition_visits (default: the recipe's 32)")
    two: dict[str, Any] = {"nargs": 2, "metavar": ("N", "TYPE")}
    made.add_argument("--workers", default=["4", "c7i.16xlarge"], help="machines of jobs.dataset (default 4 c7i.16xlarge)", **two)
    made.add_argument("--head", default="m7i.2xlarge", metavar="TYPE", help="the head's machine (default m7i.2xlarge)")
    made.add_argument(
        "--market", choices=["on_demand", "spot"], default="on_demand", help="how workers are paid (default on_demand)"
    )
    made.add_argument("--gpu-nodes", help="machines of training and evaluation; without them neither is planned", **two)
    made.add_argument("--recipe", help="what is trained (default paper-7b)")
    made.add_argument(
        "--set", action="append", default=[], metavar="k=v", help="one setting of the recipe, for example global_batch=512"
    )
    made.add_argument("--test-visits", type=int, default=600, metavar="N", help="test visits of each benchmark (default 600)")
    made.add_argument("--variants", type=int, default=5, metavar="N", help="variants that are evaluated (default 5)")
    made.add_argument(
        "--translate", metavar="MODEL", help="a service that translates, for example gpt-4o-2024-11-20 (default: none)"
    )
    made.add_argument("--batch-api", action="store_true", help="translation through the Batch API")
    made.add_argument("--repeats", type=float, default=0.0, metavar="SHARE", help="of the text that stood before (default 0)")
    made.add_argument("--tokens-per-minute", type=int, metavar="N", help="the service's limit")
    for name, field in Assumed.model_fields.items():
        option, kind = f"--{name.replace('_', '-')}", int if name == "rows" else float
        given = None if name == "mfu" else field.default  # a recipe has one too
        default = " (default: the recipe's)" if name == "mfu" else "" if given is None else f" (default {given})"
        made.add_argument(option, type=kind, default=given, metavar="N", help=f"{field.description}{default}")
    made.add_argument("--price", action="append", default=[], metavar="TYPE=USD", help="your price of a machine's hour")
    made.add_argument("--machines", metavar="FILE", help="a list of machines of your own, as codelib/sizing/machines.yaml")
    made.add_argument("--unit-costs", metavar="FILE", help="unit costs of your own, as tests.benchmarks.unit_costs writes them")
    made.add_argument("--stages", action="store_true", help="also the stages of jobs.dataset, one by one")
    made.add_argument("--table", action="store_true", help="a Markdown table, a column for each number of visits")
    made.add_argument("--json", metavar="FILE", help="also as JSON")
    return made


def check_together(args: Any) -> None:
    """An option that would change nothing is a mistake. Raises ValueError."""
    alone = []
    if args.gpu_nodes is None:
        alone += [(name, "--gpu-nodes N TYPE") for name, given in (("--recipe", args.recipe), ("--set", args.set)) if given]
    if args.translate is None:
        asked = (("--batch-api", args.batch_api), ("--repeats", args.repeats), ("--tokens-per-minute", args.tokens_per_minute))
        alone += [(name, "--translate MODEL") for name, given in asked if given]
    for name, wanted in alone:
        raise ValueError(f"{name} changes nothing without {wanted}")
    if args.table and args.stages:
        raise ValueError("--table has no room for --stages: give one of them")


def checked(kind: type[Any], options: dict[str, str], /, **values: Any) -> Any:
    """A model of these values; a mistake is said by the option's name."""
    try:
        return kind(**values)
    except ValidationError as error:
        said = []
        for one in error.errors():
            name = str(one["loc"][0]) if one["loc"] else ""
            said.append(
                f"{options.get(name, name)} {one['input']!r}: {one['msg'].removeprefix('Value error, ')}" if name else one["msg"]
            )
        raise ValueError("; ".join(said).replace("Value error, ", "").replace("Input should be", "must be")) from None


def clinic_of(args: Any, visits: int) -> Clinic:
    options = {
        "visits": "--visits",
        "photographs_per_visit": "--photographs",
        "photograph_megapixels": "--photograph-mp",
        "photograph_megabytes": "--photograph-mb",
        "radiographs_per_visit": "--radiographs",
        "chars_per_visit": "--chars",
    }
    made: Clinic = checked(
        Clinic,
        options,
        visits=visits,
        photographs_per_visit=args.photographs,
        photograph_megapixels=args.photograph_mp,
        photograph_megabytes=args.photograph_mb,
        radiographs_per_visit=args.radiographs,
        radiograph=args.radiograph,
        screens=not args.no_screens,
        chars_per_visit=args.chars,
    )
    return made


def assumed_of(args: Any) -> Assumed:
    names = list(Assumed.model_fields)
    options = {name: f"--{name.replace('_', '-')}" for name in names}
    made: Assumed = checked(Assumed, options, **{name: given for name in names if (given := getattr(args, name)) is not None})
    return made


def sections(args: Any, visits: int, known: machines.Machines, costs: unit_costs.UnitCosts) -> list[Section]:
    clinic, assumed = clinic_of(args, visits), assumed_of(args)
    for option, value, least in (
        ("--partition-visits", args.partition_visits, 1),
        ("--test-visits", args.test_visits, 1),
        ("--variants", args.variants, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"{option} {value}: at least {least}")
    try:
        costs.file(clinic.radiograph)
    except ValueError as error:
        raise ValueError(f"--radiograph {error}") from None
    options = {"repeats": "--repeats", "model": "--translate", "tokens_per_minute": "--tokens-per-minute"}
    translate = checked(
        Translate,
        options,
        model=args.translate,
        batch=args.batch_api,
        repeats=args.repeats,
        tokens_per_minute=args.tokens_per_minute,
    )
    workers = nodes(args.workers, known, args.market, "--workers")
    head = nodes(["1", args.head], known, "on_demand", "--head")
    found = [dataset.plan(clinic, workers, head, costs, assumed, translate, args.partition_visits)]
    if args.gpu_nodes:
        gpus = nodes(args.gpu_nodes, known, "on_demand", "--gpu-nodes")
        settings = load(TrainSettings, "train", args.recipe or "paper-7b", args.set)
        if args.mfu is not None:
            settings = settings.model_copy(update={"mfu": assumed.mfu})
        assumed = assumed.model_copy(update={"mfu": settings.mfu})
        found.append(learning.training(clinic, gpus, settings, costs, args.test_visits))
        models = [settings.model] * args.variants
        found.append(learning.evaluation(clinic, gpus, models, costs, assumed, known, args.test_visits))
    return found


def stage_lines(args: Any, visits: int, known: machines.Machines, costs: unit_costs.UnitCosts) -> list[str]:
    clinic, workers = clinic_of(args, visits), nodes(args.workers, known, args.market, "--workers")
    size = args.partition_visits or costs.partition_visits
    lines = [
        f"stages of jobs.dataset: {visits:,} visits on {workers.said}",
        f"  {'stage':<14}{'counts':>22}{'CPU h':>12}{'tasks':>12}{'hours':>10}{'read GB':>12}{'written GB':>12}  waits for",
    ]
    for one in flow.stages(clinic, workers, costs, assumed_of(args), size):
        counted = f"{one.count:,.0f} {one.unit}"
        lines.append(
            f"  {one.name:<14}{counted:>22}{about(one.cpu_s / 3600):>12}{one.tasks:>12,}{about(one.hours):>10}"
            f"{about(one.read_bytes / 1e9):>12}{about(one.written_bytes / 1e9):>12}  {one.waits_for}"
        )
    return lines


if __name__ == "__main__":
    leave(run_job(main))
