"""Made-up scores of one variant for report_cases.py, with every key that they may have."""

from __future__ import annotations

import random
from typing import Any

from codelib.contracts import SIX_CLASSES

SECTIONS = (
    *("Patient Record", "Examination", "Radiographs Examination", "Diagnosis", "Treatment Plan", "Management"),
    *("Medical Instructions", "Remarks"),
)


def near(draw: random.Random, share: float, width: float = 0.04) -> list[float]:
    return [max(0.0, share - width - draw.random() / 100), min(1.0, share + width + draw.random() / 100)]


def classification(draw: random.Random, share: float, n: int) -> dict[str, Any]:
    right = [round(n / 6 * min(1, share * (0.85 + 0.3 * draw.random()))) for _ in SIX_CLASSES]
    confusion = []
    for i, count in enumerate(right):
        rest, line = n // 6 - count, [0] * 7
        line[i] = count
        for _ in range(max(0, rest)):
            line[draw.choice([j for j in range(7) if j != i])] += 1
        confusion.append(line)
    accuracy = sum(right) / n
    groups = [
        ("complaint", "complaint names the label", 0.2),
        ("complaint", "complaint does not name it", -0.05),
        ("age band", "below 18", 0.02),
        ("age band", "18 to 39", 0.0),
        ("age band", "40 to 64", -0.03),
        ("age band", "65 and above", -0.08),
        ("gender", "female", 0.01),
        ("gender", "male", -0.01),
        ("number of images", "1 to 3", -0.04),
        ("number of images", "4 to 6", 0.01),
        ("number of images", "7 and more", 0.03),
        ("radiograph", "with a radiograph", 0.03),
        ("radiograph", "without", -0.02),
        ("language", "asked in English", 0.01),
        ("language", "asked in Chinese", -0.02),
    ]
    shares = {name: min(0.99, accuracy + (0.05 if name.endswith("precision") else 0.0)) for name in ("precision", "recall", "f1")}
    macro = {f"macro_{name}": max(0.0, value - 0.03) for name, value in shares.items()}
    return {
        "n": n,
        "num_unparsed": sum(line[6] for line in confusion),
        "accuracy": accuracy,
        "accuracy_ci": near(draw, accuracy),
        **shares,
        **macro,
        "f1_ci": near(draw, shares["f1"]),
        "macro_f1_ci": near(draw, macro["macro_f1"]),
        "per_class": [
            {"name": name, "precision": accuracy, "recall": right[i] / (n / 6), "f1": accuracy, "support": n // 6}
            for i, name in enumerate(SIX_CLASSES)
        ],
        "confusion": confusion,
        "subgroups": [
            {
                "by": by,
                "name": name,
                "n": n // 3,
                "accuracy": max(0.0, min(1, accuracy + more)),
                "accuracy_ci": near(draw, accuracy + more, 0.08),
            }
            for by, name, more in groups
        ],
        "constrained": None,
        "num_patients": n * 4 // 5,
        "effective_patients": n * 0.7,
    }


def generation(draw: random.Random, share: float, n: int) -> dict[str, Any]:
    bleu, meteor, cosine = share * 0.3, share * 0.55, 0.4 + share * 0.4
    text = {
        "n": n,
        "corpus_bleu": 100 * bleu,
        "bleu": bleu,
        "bleu_ci": near(draw, bleu, 0.02),
        "meteor": meteor,
        "meteor_ci": near(draw, meteor, 0.02),
        "cosine": cosine,
        "cosine_ci": near(draw, cosine, 0.01),
        "bleu_signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
        "meteor_method": "NLTK, WordNet 3.0 synonyms",
        "cosine_method": "mean of 2 embedding models",
    }
    clinical = {
        f"{what}_{how}": share - 0.1 + 0.1 * draw.random()
        for what in ("tooth", "diagnosis")
        for how in ("precision", "recall", "f1")
    }
    errors = {"num_side_errors": 7, "num_negation_errors": 12, "side_error_share": 7 / n, "negation_error_share": 12 / n, "n": n}
    each = {name.lower().replace(" ", "_"): max(0.0, 1 - (1 - share) * draw.random()) for name in SECTIONS}
    return {
        **text,
        "num_unparsed": 2,
        "embeddings": [
            {"model": "gemma-2b", "mean": cosine - 0.02, "ci": None, "n": n},
            {"model": "llama-3.2-1b", "mean": cosine + 0.02, "ci": near(draw, cosine), "n": n},
        ],
        "sections": {"coverage": share, "coverage_ci": near(draw, share), "each": each, "each_n": dict.fromkeys(each, n)},
        "length_ratio": 0.4 + share,
        "length_ratio_ci": [0.35 + share, 0.47 + share],
        "clinical": clinical | errors,
        "spectrum": spectrum(draw, share, n),
        "by_language": {"en": {**text, "num_unparsed": 1}, "zh": {**text, "num_unparsed": 1}},
    }


def spectrum(draw: random.Random, share: float, n: int) -> dict[str, Any]:
    frequent = [
        {
            "name": f"{first} {second}",
            "support": 200 // (k + 1) + 10,
            "precision": share,
            "recall": share * draw.random(),
            "f1": share * draw.random(),
        }
        for k, (first, second) in enumerate(
            (a, b) for a in ("chronic", "acute", "deep", "old") for b in ("caries", "pulpitis", "gingivitis", "wear")
        )
    ]
    return {
        "n": n,
        "num_unparsed": 4,
        "micro_precision": share,
        "micro_recall": share - 0.1,
        "micro_f1": share - 0.05,
        "micro_f1_ci": near(draw, share - 0.05),
        "macro_f1": max(0.0, share - 0.2),
        "conditions": frequent,
        "rare": {"below": 10, "num_conditions": 98, "support": 311, "precision": 0.2, "recall": 0.1, "f1": 0.13},
    }
