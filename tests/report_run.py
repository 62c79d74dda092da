"""Predictions and pictures beside the hand-made report of report_cases.py: what its error browser shows."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa

from codelib.contracts import OK, PREDICTIONS, SIX_CLASSES, rejected
from codelib.evaluate.benchmarks import Sample
from codelib.evaluate.plan import Plan
from codelib.evaluate.run import Outcome
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Message
from tests.pictures import jpeg, photograph
from tests.report_cases import HOSTILE, NAMES, QUESTION
from tests.report_scores import SECTIONS


def variants() -> tuple[Variant, ...]:
    return tuple(
        Variant(
            name=name,
            model="tiny",
            images="shuffled" if "shuffled" in name else "as_is",
            benchmarks=("generation",) if name.startswith("Few") else ("classification", "generation"),
        )
        for name in NAMES
    )


def report_text(draw: random.Random, tooth: int, label: str, chinese: bool) -> str:
    if chinese:
        return f"检查：{tooth}远中邻面龋坏，探（+），冷（+），叩（-）。\n诊断：{tooth}深龋\n处置：{tooth}去腐，垫底，树脂充填。"
    texts = {
        "Examination": f"{tooth} occlusal surface caries reaching the middle layer of dentine, probing (+), cold test (+), percussion (-).",
        "Radiographs Examination": f"{tooth} radiolucency close to the pulp, no periapical abnormality.",
        "Diagnosis": f"{tooth} {label.lower()}",
        "Treatment Plan": f"{tooth} composite filling; review in {draw.choice((3, 6, 12))} months.",
        "Management": f"{tooth} caries removal, base, composite filling, shade A{draw.randint(1, 4)}, occlusal adjustment.",
    }
    return "\n".join(f"{name}: {texts.get(name, 'Not recorded.')}" for name in SECTIONS)


def run_of(folder: Path, num: int, images_each: int = 2) -> tuple[Plan, Outcome]:
    """num visits on two benchmarks with every variant's answer; picture files under ``folder``. Visit 3's answers are hostile, the last
    variant fails on every tenth visit, and the tuned model leaves a section out."""
    draw = random.Random(3)
    shown = variants()
    classify, write, rows = [], [], []
    for i in range(num):
        images = tuple(f"Images/{i:04d}-001-{k:02d}.jpg" for k in range(1, images_each + 1))
        for k, name in enumerate(images):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(jpeg(photograph(i * images_each + k)))
        label, tooth, chinese = SIX_CLASSES[i % 6], 11 + i % 8 + 10 * (i % 4), i % 5 == 4
        question = QUESTION.format(age=20 + i % 60)
        reference = report_text(draw, tooth, label, chinese)
        common = {"images": images, "checkup_id": f"{i:04d}-001", "language": "zh" if chinese else "en"}
        classify.append(
            Sample(f"test-cls/{i}", "classification", f"{i:04d}", (Message("user", question),), reference=label, **common)
        )
        write.append(
            Sample(f"test-diagnostic/{i}", "generation", f"{i:04d}", (Message("user", question),), reference=reference, **common)
        )
        for place, variant in enumerate(shown):
            for sample in (classify[-1], write[-1]):
                if sample.benchmark not in variant.benchmarks:
                    continue
                wrote = _answer(draw, sample, place, i, label, tooth, chinese)
                row = {
                    "variant": variant.name,
                    "sample_id": sample.sample_id,
                    "benchmark": sample.benchmark,
                    "images": list(sample.images),
                }
                if variant.images == "shuffled":
                    row["images"] = [name.replace(f"{i:04d}", f"{(i + 1) % num:04d}") for name in images]
                parsed = wrote if sample.benchmark == "generation" else next((c for c in SIX_CLASSES if c in wrote), None)
                row |= {"reference": sample.reference, "answer": wrote, "parsed": parsed, "status": OK, "reject_reason": None}
                if place == len(shown) - 1 and i % 10 == 9:
                    row |= {"answer": None, "parsed": None} | rejected("evaluate:TimeoutError")
                rows.append(row)
    tests = {"classification": tuple(classify), "generation": tuple(write)}
    table = pa.Table.from_pylist(rows, schema=PREDICTIONS.schema)
    return Plan([], shown, tests, {}, {name: {} for name in NAMES}, frozenset()), Outcome(table, 0, len(rows), {})


def _answer(draw: random.Random, sample: Sample, place: int, i: int, label: str, tooth: int, chinese: bool) -> str:
    if i == 3 and place == 0:
        return HOSTILE
    if sample.benchmark == "generation":
        text = report_text(draw, tooth if draw.random() < 0.5 else 48, label, chinese)
        return "\n".join(line for line in text.split("\n") if not (place == 4 and line.startswith("Diagnosis")))
    pick = draw.random()
    return label if pick < 0.4 + place / 20 else (draw.choice(SIX_CLASSES) if pick < 0.95 else "I cannot tell.")
