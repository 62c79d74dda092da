"""The whole way on a synthetic clinic: export, dataset, training, evaluation, report. No GPU, no key, no network.

    python -m jobs.demo --workspace demo

The model is a toy of a few hundred thousand parameters: the demo shows that the machinery works, not that a toy can diagnose.
Run it again and it skips what is done.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from codelib.core.cli import Parser, leave, run_job
from codelib.core.cluster import connect
from codelib.core.progress import duration
from codelib.synthetic.export import generate
from jobs import dataset, evaluate, train

VISITS = 120


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", default="demo", help="where everything is made (default: demo)")
    parser.add_argument("--visits", type=int, default=VISITS, help=f"visits of the synthetic clinic (default {VISITS})")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.visits < 60:
        raise ValueError(f"--visits {args.visits}: at least 60, or too few are left to test on")
    folder = Path(args.workspace)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--workspace {folder}: a file stands there; give a folder")
    work, export = folder / "work", folder / "clinic"
    started_s = time.monotonic()

    _say(1, f"a synthetic clinic of {args.visits} visits, with everything that goes wrong in a real one")
    _make_clinic(export, args.visits, args.seed)
    with connect():
        _say(2, "the dataset: read, de-identify, number the teeth, translate (offline stand-in), label, split, release")
        dataset.main(["--input", str(export), "--workspace", str(work), "--recipe", "demo"])
        _say(3, "fine-tuning: LoRA on a tiny model with Qwen2.5-VL's architecture (a toy, built here on first use)")
        train.main(["--dataset", str(work / "release"), "--workspace", str(work), "--recipe", "demo"])
        _say(4, "evaluation: the toy before and after tuning, and with the images of other visits")
        variants = Path(str(files("jobs"))) / "variants" / "demo.yaml"
        evaluate.main(
            ["--dataset", str(work / "release"), "--workspace", str(work), "--recipe", "demo", "--variants", str(variants)]
        )
    _summary(work, time.monotonic() - started_s)
    return 0


def _say(number: int, what: str) -> None:
    print(f"\n[{number}/4] {what}", flush=True)


def _make_clinic(export: Path, visits: int, seed: int) -> None:
    """Make the export, or keep the one that is there. One that was begun and not finished is made anew; a folder that is not
    ours is left alone."""
    marker, begun = export.with_name("clinic.done.json"), export.with_name("clinic.begun")
    wanted = {"visits": visits, "seed": seed}
    if marker.is_file():
        if json.loads(marker.read_text()) != wanted:
            raise ValueError(f"{export} was made with {marker.read_text().strip()}; use another --workspace, or remove this one")
        print("  already there, kept")
        return
    if export.exists() and not begun.exists():
        raise ValueError(f"{export} is there and not the demo's; use another --workspace")
    export.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    shutil.rmtree(export, ignore_errors=True)
    generate(export, visits=visits, seed=seed)
    marker.write_text(json.dumps(wanted) + "\n")
    print(f"  {export} (its truth: {export}.truth.json)")


def _summary(work: Path, elapsed_s: float) -> None:
    """What a person wants to know at the end."""
    report = json.loads((work / "evaluate" / "report" / "report.json").read_text(encoding="utf-8"))
    released = json.loads((work / "release" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    rejected = {name: n for name, n in released.items() if not name.endswith("/ok")}
    print(f"\nDone in {duration(elapsed_s)}.")
    print(f"  built      {released.get('visit/ok', 0)} visits, {released.get('image/ok', 0)} images in {work / 'release'}")
    print(f"  rejected   {', '.join(f'{n} {name.partition(chr(47))[2]}' for name, n in rejected.items())}")
    for variant in report["variants"]:
        scores = variant.get("classification")
        if scores:
            print(f"  accuracy   {_percent(scores)}   {variant['name']}")
    for row in report["baselines"]["classification"]:
        print(f"  accuracy   {100 * row['accuracy']:5.1f} %{'':24}   {row['name']}")
    print(f"  report     {work / 'evaluate' / 'report' / 'report.html'}   (open it in a browser)")
    print("  The model is a toy: it shows that the whole way works. Its answers mean nothing in a clinic.")


def _percent(scores: dict[str, Any]) -> str:
    low, high = scores["accuracy_ci"] or (0.0, 1.0)
    return f"{100 * scores['accuracy']:5.1f} % (95 %: {100 * low:4.1f} to {100 * high:5.1f})"


if __name__ == "__main__":
    leave(run_job(main))
