"""Evaluation of five variants against the common way, side by side in one run: `python -m tests.benchmarks.evaluate [--visits 24] [--rounds 1]`.

A synthetic release of 448 px photographs (one to four a visit; `--images published`: 1 to 26, 5.7 on average) and the tiny Qwen2.5-VL; five
variants of it: zero-shot, few-shot (three worked examples, generation), and three LoRA adapters on the language model.
Random weights hardly end an answer by themselves: every side makes all tokens up to the limit, 8 of a class and 192 of a report.

- together: one `python -m jobs.evaluate` with all five
- alone: five of them, one for each
- script: five runs of a straightforward script (`python -m tests.benchmarks.evaluate_script`)

Whole commands, as a user starts them: Python, imports, Ray, loading and the report (ours) are in it; each with all CPUs of the machine (ours
takes an actor for each, the script torch's threads), in turns; ratios are medians over the rounds. `--computing` measures the same three inside
this process on one thread, without any start: what sharing saves of the model's own work; it has no target. Then the metrics of 600 reports by
5 variants, without embedding model; and `jobs.evaluate` against a server that counts, killed, run again. Ends with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from codelib.contracts import OK, PREDICTIONS, SIX_CLASSES
from codelib.core.store import Store
from codelib.evaluate.plan import EvaluateSettings, Plan, make_plan
from codelib.evaluate.predictor import Predictor
from codelib.evaluate.run import Outcome
from codelib.evaluate.scores import evaluate_scores
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, Variant
from codelib.models.conversation import Conversation, open_dataset
from codelib.models.loading import load_base
from codelib.models.tiny import build
from codelib.synthetic.drawing import photograph
from codelib.synthetic.plan import Images, num_photographs
from codelib.train.lora import PLACES
from tests.benchmarks import evaluate_script
from tests.chat_server import Body, completion, started

MOST_OF_ALONE, LEAST_GAIN, MOST_METRICS_S = 0.6, 3.0, 60.0
LENGTHS = {CLASSIFICATION: 8, GENERATION: 192}
BENCHMARKS = (CLASSIFICATION, GENERATION)
_PICTURES = 24
_WORDS = ["caries", "tooth", "16", "gingiva", "red", "swollen", "pulp", "vital", "percussion", "negative", "crown", "review"]
_SECTIONS = ("Chief complaint", "Present illness", "Examination", "Diagnosis", "Treatment plan", "Advice")


def report_text(rng: np.random.Generator, words: int) -> str:
    each = max(1, words // len(_SECTIONS))
    return "\n".join(f"{name}: {' '.join(_WORDS[int(i)] for i in rng.integers(0, len(_WORDS), each))}." for name in _SECTIONS)


def write_release(folder: Path, visits: int, images: Images) -> None:
    """Test visits with a class and a report each, and six training visits for the worked examples."""
    rng = np.random.default_rng(0)
    (folder / "Images").mkdir(parents=True)
    pictures = []
    for _ in range(_PICTURES):
        image = photograph(rng, None)
        image.thumbnail((448, 448), Image.Resampling.LANCZOS)
        pictures.append(image)
    files: dict[str, list[Any]] = {f"{side}-{task}": [] for side in ("test", "train") for task in ("cls", "diagnostic")}
    for number in range(visits + 6):
        side = "test" if number < visits else "train"
        names = []
        for place in range(num_photographs(rng, images)):
            names.append(f"Images/{number:04d}-001-{place + 1:02d}.jpg")
            pictures[int(rng.integers(_PICTURES))].save(folder / names[-1], quality=95)
        shown = [f"image-{place}: <image>" for place in range(1, len(names) + 1)]
        record = ["Age: 35", "Gender: female", "Chief complaint: pain for three days", f"Examination: {' '.join(_WORDS * 4)}"]
        for task, answer in (("cls", SIX_CLASSES[number % 6]), ("diagnostic", report_text(rng, int(rng.integers(80, 160))))):
            question = "\n".join(
                [*shown, *record, f"{'Which class?' if task == 'cls' else 'Write a diagnostic report.'} {' '.join(_WORDS)}"]
            )
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            files[f"{side}-{task}"].append({"id": number, "messages": turns, "images": names})
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def write_models(folder: Path) -> tuple[str, list[str]]:
    """The tiny model without schooling, and three adapters of rank 16 with factors as large as a trained one's."""
    from peft import LoraConfig, get_peft_model

    (folder / "model").mkdir()
    build(folder / "model", 0, 0, 0)
    adapters = []
    for number in range(3):
        torch.manual_seed(number)
        tuned = get_peft_model(
            load_base(str(folder / "model"), device="cpu"), LoraConfig(r=16, lora_alpha=32, target_modules=PLACES["language"])
        )
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0, 0.05)
        tuned.save_pretrained(str(folder / f"lora-{number}"))
        adapters.append(str(folder / f"lora-{number}"))
    return str(folder / "model"), adapters


@dataclass(frozen=True)
class Took:
    """Seconds of wall time, which other work on the machine makes longer, and of CPU (of a command: without what Ray starts apart)."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Took) -> Took:
        return Took(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s ({self.cpu_s:.1f} CPU s)"


class Clock:
    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def since(self) -> Took:
        return Took(time.perf_counter() - self._began[0], time.process_time() - self._began[1])


class Contest:
    def __init__(self, folder: Path, visits: int, images: Images) -> None:
        self.folder, self.runs = folder, 0
        write_release(folder / "release", visits, images)
        self.model, adapters = write_models(folder)
        self.dataset = open_dataset(folder / "release")
        common = {"model": self.model, "max_new_tokens": LENGTHS}
        few = {"name": "few-shot", "prompting": "few-shot", "k": 3, "benchmarks": [GENERATION]}
        tuned = [{"name": f"adapter {number}", "adapter": path} for number, path in enumerate(adapters)]
        self.variants = [Variant.model_validate(common | row) for row in ({"name": "zero-shot"}, few, *tuned)]

    def plan(self, variants: Sequence[Variant]) -> Plan:
        return make_plan(self.dataset, variants, BENCHMARKS, None, EvaluateSettings())

    def ask(self, variants: Sequence[Variant]) -> tuple[Took, dict[tuple[str, str], str]]:
        """Seconds of a whole run, and (variant, sample) -> answer."""
        self.runs += 1
        began = Clock()
        plan = self.plan(variants)
        named = {variant.name: variant for variant in plan.variants}
        groups = {group.key: tuple(named[name] for name in group.variants) for group in plan.groups}
        store = Store(str(self.folder / f"work-{self.runs}"))
        actor = Predictor(str(self.dataset.folder), groups, plan.fingerprints, store, run=str(self.runs))
        rows = [row for work in plan.work for row in actor(work.extra).to_pylist()]
        seconds = began.since()
        assert {row["status"] for row in rows} == {OK}, {row["reject_reason"] for row in rows}
        return seconds, {(row["variant"], row["sample_id"]): row["answer"] for row in rows}

    def script(self, variants: Sequence[Variant]) -> tuple[Took, dict[tuple[str, str], str]]:
        """The questions as our plan words them (a script would word them itself, outside what is measured)."""
        questions = self.plan(variants).questions
        began = Clock()
        answers = {}
        for variant in variants:
            files = {
                benchmark: [
                    Conversation(one.sample_id, one.messages, tuple(str(self.dataset.folder / name) for name in one.images))
                    for one in questions[variant.name, benchmark]
                ]
                for benchmark in variant.benchmarks
            }
            said = evaluate_script.run(self.model, variant.adapter, files, LENGTHS)
            answers |= {(variant.name, sample): text for sample, text in said.items()}
        return began.since(), answers


class Commands(Contest):
    """The same three ways as commands of their own."""

    def ask(self, variants: Sequence[Variant]) -> tuple[Took, dict[tuple[str, str], str]]:
        self.runs += 1
        workspace, listed = self.folder / f"work-{self.runs}", self.folder / f"variants-{self.runs}.yaml"
        listed.write_text(json.dumps([variant.model_dump(mode="json", exclude_defaults=True) for variant in variants]))
        took = _run(
            "jobs.evaluate", "--dataset", self.dataset.folder, "--workspace", workspace, "--variants", listed,
            "--benchmarks", ",".join(BENCHMARKS), "--set", "embeddings=[ngrams]",
        )  # fmt: skip
        with (workspace / "evaluate" / "report" / "predictions.csv").open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        assert {row["status"] for row in rows} == {OK}
        return took, {(row["variant"], row["sample_id"]): row["answer"] for row in rows}

    def script(self, variants: Sequence[Variant]) -> tuple[Took, dict[tuple[str, str], str]]:
        questions, took, answers = self.plan(variants).questions, Took(0, 0), {}
        for variant in variants:
            asked, said = self.folder / "asked.json", self.folder / "said.json"
            files = {
                benchmark: [
                    [
                        one.sample_id,
                        [[m.role, m.content] for m in one.messages],
                        [str(self.dataset.folder / n) for n in one.images],
                    ]
                    for one in questions[variant.name, benchmark]
                ]
                for benchmark in variant.benchmarks
            }
            asked.write_text(json.dumps({"model": self.model, "adapter": variant.adapter, "files": files, "lengths": LENGTHS}))
            took += _run("tests.benchmarks.evaluate_script", asked, said)
            answers |= {(variant.name, sample): text for sample, text in json.loads(said.read_text()).items()}
        return took, answers


def _run(module: str, *words: Any) -> Took:
    def used() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    wall, cpu = time.perf_counter(), used()
    done = subprocess.run([sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Took(time.perf_counter() - wall, used() - cpu)


def contest(found: Contest, rounds: int) -> list[tuple[str, bool]]:
    questions = sum(map(len, found.plan(found.variants).questions.values()))
    if not isinstance(found, Commands):  # imports and first calls
        found.ask(found.variants[:1])
        found.script(found.variants[:1])
    together, alone, script = [], [], []
    same = 1.0
    for number in range(rounds):
        seconds, ours = found.ask(found.variants)
        together.append(seconds)
        alone.append(sum((found.ask([variant])[0] for variant in found.variants), start=Took(0, 0)))
        seconds, theirs = found.script(found.variants)
        script.append(seconds)
        same = sum(ours[key] == text for key, text in theirs.items()) / len(theirs)
        print(f"  round {number + 1}: together {together[-1]}, alone {alone[-1]}, script {script[-1]}", flush=True)
    print(f"  {questions} questions; of ours and the script's answers {same:.0%} are equal to the letter")

    def ratios(some: Sequence[Took], others: Sequence[Took]) -> tuple[float, float]:
        pairs = list(zip(some, others, strict=True))
        return statistics.median(a.wall_s / b.wall_s for a, b in pairs), statistics.median(a.cpu_s / b.cpu_s for a, b in pairs)

    share, share_cpu = ratios(together, alone)
    gain, gain_cpu = ratios(script, together)
    return [
        (
            f"five variants together {share:.2f} (CPU {share_cpu:.2f}) of the sum of five runs alone, wanted <= {MOST_OF_ALONE}",
            share <= MOST_OF_ALONE,
        ),
        (
            f"five variants together {gain:.1f} (CPU {gain_cpu:.1f}) times as fast as five runs of the script, wanted >= {LEAST_GAIN:g}",
            gain >= LEAST_GAIN,
        ),
    ]


def metrics(folder: Path) -> tuple[str, bool]:
    """600 reports x 5 variants, and as many classes, with the whole report dictionary: intervals and tests are a part of it."""
    rng = np.random.default_rng(1)
    files: dict[str, list[Any]] = {"test-cls": [], "test-diagnostic": []}
    for number in range(600):
        for task, answer in (("cls", SIX_CLASSES[number % 6]), ("diagnostic", report_text(rng, 180))):
            turns = [{"role": "user", "content": f"Age: {number % 90}\n{task}?"}, {"role": "assistant", "content": answer}]
            checkup = f"{1000 + number // 2:04d}-{number % 2 + 1:03d}"
            files[f"test-{task}"].append({"id": number, "checkup_id": checkup, "language": "en", "messages": turns})
    folder.mkdir()
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    model = folder / "model"
    model.mkdir()
    variants = [Variant.model_validate({"name": f"v{number}", "model": str(model)}) for number in range(5)]
    settings = EvaluateSettings(embeddings=("ngrams",))
    plan = make_plan(open_dataset(folder), variants, BENCHMARKS, None, settings)
    empty = dict.fromkeys(PREDICTIONS.schema.names)
    predictions = []
    for (name, benchmark), samples in plan.questions.items():
        for one in samples:
            text = SIX_CLASSES[int(rng.integers(6))] if benchmark == CLASSIFICATION else report_text(rng, 180)
            told = {"variant": name, "sample_id": one.sample_id, "benchmark": benchmark, "images": [], "reference": one.reference}
            counts = {"prompt_tokens": 900, "completion_tokens": 200, "latency_s": 0.5, "cut": False, "status": OK}
            predictions.append(empty | told | counts | {"answer": text, "parsed": text})
    outcome = Outcome(pa.Table.from_pylist(predictions, schema=PREDICTIONS.schema), 0, len(predictions), {})
    began = time.perf_counter()
    evaluate_scores("benchmark", variants, plan, outcome, settings)
    seconds = time.perf_counter() - began
    return f"metrics of 600 reports x 5 variants {seconds:.1f} s, wanted <= {MOST_METRICS_S:g} s", seconds <= MOST_METRICS_S


def resumed(folder: Path, dataset: Path) -> tuple[str, bool]:
    """`jobs.evaluate` against a server that counts what it is asked, killed in the middle and run again. The server holds its answers back until
    the first run is gone, so that as many requests as may be are under way when it is killed."""
    at_once, asked, lock, is_gone = 4, Counter[str](), threading.Lock(), threading.Event()
    wanted = 2 * 2 * len(open_dataset(dataset).read("test-cls"))
    before = wanted // 3  # answered; where a partition ends (after half) a single request would be under way

    def answer(body: Body) -> Body:
        with lock:
            asked[hashlib.sha256(json.dumps([body["model"], body["messages"]]).encode()).hexdigest()] += 1
            held = asked.total() > before
        if held:
            is_gone.wait()
        return completion(body, "Caries")

    def total() -> int:
        with lock:
            return asked.total()

    with started(answer) as server:
        common = {"engine": "openai", "base_url": server.url, "batch_size": at_once, "max_pixels": 12544}
        rows = [{"name": f"served {number}", "model": f"m{number}", **common} for number in (1, 2)]
        (folder / "served.yaml").write_text(json.dumps(rows))
        command = [
            sys.executable, "-m", "jobs.evaluate", "--dataset", str(dataset), "--workspace", str(folder / "resumed"),
            "--benchmarks", ",".join(BENCHMARKS), "--variants", str(folder / "served.yaml"), "--num-cpus", "1", "--set", "num_actors=1",
        ]  # fmt: skip
        mark = f"RESUMED_BENCHMARK={os.getpid()}"
        # Ray's process titles would overwrite what /proc shows of the environment
        env = {**os.environ, **dict([mark.split("=")]), "SPT_NOENV": "1"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(command, start_new_session=True, env=env, **quiet)  # type: ignore[call-overload]
        deadline = time.monotonic() + 300
        while total() < before + at_once and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        while _carries(mark) and time.monotonic() < deadline:  # workers outlive their driver for a moment
            time.sleep(0.1)
        first = total()
        is_gone.set()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:  # a question without an answer, and so one that was not asked, is code 1
            print(done.stdout[-1500:], done.stderr[-1500:])
        # two visits with the same pictures under two names put the same words and pixels: they are two questions
        twice = total() - wanted
        good = done.returncode == 0 and first == before + at_once and 0 <= twice <= at_once
        return (
            f"killed after {first} of {wanted} questions, and run again: {twice} were asked twice, wanted <= {at_once} (in flight)",
            good,
        )


def _carries(mark: str) -> bool:
    """Whether a process has this in its environment."""
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in place.read_bytes():
                return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--computing", action="store_true", help="without the start of programs; stops after it")
    parser.add_argument("--images", choices=("few", "published"), default="few", help="of a visit")
    args = parser.parse_args()
    if args.computing:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kind = Contest if args.computing else Commands
        targets = contest(kind(folder, args.visits, args.images), args.rounds)
        if args.computing:
            print("".join(f"{text}\n" for text, _ in targets), end="")
            return 0
        targets.append(metrics(folder / "metrics"))
        targets.append(resumed(folder, folder / "release"))
    for text, held in targets:
        print(f"{'pass' if held else 'MISSED'}  {text}")
    return 0 if all(held for _, held in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
