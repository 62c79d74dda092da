"""How long the metrics of an evaluation take: 600 reports, five variants, all but the embedding models (n-grams stand in).

    python -m tests.benchmarks.metrics [--reports 600] [--variants 5] [--chinese]

Reports are drawn from a dozen sentences with teeth and conditions of all kinds; a variant's answer keeps half of its reference. The target of
issue 7 is 60 s on two cores. Seconds are of wall time and of CPU; on a machine that does other work only the second says something.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random
from typing import Any

from codelib.dental.condition_lists import conditions
from codelib.dental.teeth_fdi import FDI
from codelib.evaluate.clinical import clinical
from codelib.evaluate.findings import findings
from codelib.evaluate.sections import coverage, section_names
from codelib.evaluate.similarity import bleu_rows, corpus_bleu, meteor, wordnet
from codelib.evaluate.written import written

ENGLISH = (
    "{tooth} shows {condition}, probing pain (+), percussion (-), no mobility, cold test with a brief response.",
    "The gingiva around {tooth} is slightly red and swollen; no {condition} was found.",
    "A radiolucency is visible in the crown of {tooth}, close to the pulp chamber, while the periapical region is normal.",
    "{tooth} {condition}.",
    "It is recommended to remove the decayed tissue of {tooth} under local anesthesia and to restore it with composite resin.",
    "The patient was informed of the procedure, its risks and its costs, and agreed to the treatment of {tooth}.",
    "Avoid hard food on this side for one week and return if spontaneous pain occurs.",
    "The occlusion was adjusted, and oral hygiene instruction was given after the cleaning of all teeth.",
    "Oral hygiene is fair, with soft deposits and calculus on the lingual surfaces of the lower anterior teeth.",
)
CHINESE = (
    "{tooth}见{condition}，探痛(+)，叩痛(-)，无松动，冷测一过性敏感。",
    "{tooth}牙龈稍红肿，未见{condition}。",
    "{tooth}冠部低密度影，近髓，根尖周未见明显异常。",
    "{tooth}{condition}。",
    "建议{tooth}局麻下去净腐质，树脂充填修复。",
    "告知患者治疗过程、风险及费用，患者同意治疗{tooth}。",
    "一周内勿用患侧咀嚼硬物，如出现自发痛及时复诊。",
    "调整咬合，行口腔卫生宣教，全口洁治。",
)
NAMES = ("病历", "检查", "X线检查", "诊断", "治疗方案", "处置", "医嘱", "备注")


def report(draw: Random, chinese: bool) -> list[str]:
    """Eight sections, two or three sentences each."""
    teeth, names = sorted(FDI), [condition.zh if chinese else condition.en.lower() for condition in conditions()]
    pool, titles, colon = (CHINESE, NAMES, "：") if chinese else (ENGLISH, section_names(), ": ")
    lines = []
    for title in titles:
        said = [
            draw.choice(pool).format(tooth=draw.choice(teeth), condition=draw.choice(names))
            for _ in range(draw.choice((1, 2, 2, 3)))
        ]
        lines.append(f"{title}{colon}{' '.join(said)}")
    return lines


def answer(draw: Random, reference: list[str], chinese: bool) -> str:
    """About half of the reference, the other half of another report."""
    other = report(draw, chinese)
    return "\n".join(draw.choice((mine, theirs)) for mine, theirs in zip(reference, other, strict=True))


def timed(what: str, work: Callable[[], Any]) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {what:<44}{wall:>8.1f} s wall{cpu:>8.1f} s CPU")
    return cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=600)
    parser.add_argument("--variants", type=int, default=5)
    parser.add_argument("--chinese", action="store_true")
    args = parser.parse_args()
    draw = Random(0)
    parts = [report(draw, args.chinese) for _ in range(args.reports)]
    references = ["\n".join(lines) for lines in parts]
    variants = [[answer(draw, lines, args.chinese) for lines in parts] for _ in range(args.variants)]
    patients = [str(n // 2) for n in range(args.reports)]
    words = sum(len(text.split()) for text in references) / args.reports
    print(
        f"{args.reports} reports × {args.variants} variants, {words:.0f} words each; WordNet {'found' if wordnet() else 'MISSING'}"
    )
    whole = timed("all, variant by variant", lambda: [written(references, said, patients, ["ngrams"], 0) for said in variants])
    findings.cache_clear()
    first = variants[0]
    print("parts of it, one variant (what the others left in memory is used):")
    timed("sentence and corpus BLEU", lambda: corpus_bleu(bleu_rows(references, first)))
    timed("METEOR", lambda: [meteor(a, b) for a, b in zip(references, first, strict=True)])
    timed("sections", lambda: coverage(references, first))
    timed("clinical checks", lambda: clinical(references, first))
    print(f"{whole:.1f} s of CPU; the target is 60 s on two cores")


if __name__ == "__main__":
    main()
