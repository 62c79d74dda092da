"""A hand-made evaluation for the tests of the report: every key that a report may have, or none of the new ones; hostile texts included.

Figures are made up. They follow no run, and only as far as a test says do they follow from the predictions beside them.
"""

from __future__ import annotations

import random
from typing import Any

from codelib.contracts import SIX_CLASSES

HOSTILE = "</script><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=\"document.title='owned'\"> \"'&<b>Caries"
NAMES = (
    *("Zero-shot Qwen 3B", "Zero-shot Qwen 7B", "Zero-shot GPT-4o", "SFT Qwen 3B", "SFT Qwen 7B", "SFT Qwen 7B, images shuffled"),
    *(
        "SFT Qwen 7B, Chinese",
        "SFT Qwen 7B, text only",
        "Few-shot Qwen 3B",
        "Few-shot Qwen 7B",
        "A model of <b>another & clinic</b> with a long name_100%",
    ),
)
SECTIONS = (
    *("Patient Record", "Examination", "Radiographs Examination", "Diagnosis", "Treatment Plan", "Management"),
    *("Medical Instructions", "Remarks"),
)
QUESTION = (
    "image-1: <image>\nimage-2: <image>\nAge: {age}\nGender: female\nChief Complaint: pain on the lower left for {age} days\n"
    "Based on the images and the patient's information, name the dental condition."
)


def _near(draw: random.Random, share: float, width: float = 0.04) -> list[float]:
    return [max(0.0, share - width - draw.random() / 100), min(1.0, share + width + draw.random() / 100)]


def _classification(draw: random.Random, share: float, n: int) -> dict[str, Any]:
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
        "accuracy_ci": _near(draw, accuracy),
        **shares,
        **macro,
        "f1_ci": _near(draw, shares["f1"]),
        "macro_f1_ci": _near(draw, macro["macro_f1"]),
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
                "accuracy_ci": _near(draw, accuracy + more, 0.08),
            }
            for by, name, more in groups
        ],
        "constrained": None,
        "num_patients": n * 4 // 5,
        "effective_patients": n * 0.7,
    }


def _generation(draw: random.Random, share: float, n: int) -> dict[str, Any]:
    bleu, meteor, cosine = share * 0.3, share * 0.55, 0.4 + share * 0.4
    text = {
        "n": n,
        "corpus_bleu": 100 * bleu,
        "bleu": bleu,
        "bleu_ci": _near(draw, bleu, 0.02),
        "meteor": meteor,
        "meteor_ci": _near(draw, meteor, 0.02),
        "cosine": cosine,
        "cosine_ci": _near(draw, cosine, 0.01),
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
            {"model": "gemma-2b", "mean": cosine - 0.02, "ci": None},
            {"model": "llama-3.2-1b", "mean": cosine + 0.02, "ci": _near(draw, cosine)},
        ],
        "sections": {"coverage": share, "coverage_ci": _near(draw, share), "each": each},
        "length_ratio": 0.4 + share,
        "length_ratio_ci": [0.35 + share, 0.47 + share],
        "clinical": clinical | errors,
        "by_language": {"en": {**text, "num_unparsed": 1}, "zh": {**text, "num_unparsed": 1}},
    }


def _spectrum(draw: random.Random, share: float, n: int) -> dict[str, Any]:
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
        "micro_f1_ci": _near(draw, share - 0.05),
        "macro_f1": max(0.0, share - 0.2),
        "conditions": frequent,
        "rare": {"below": 10, "num_conditions": 98, "support": 311, "precision": 0.2, "recall": 0.1, "f1": 0.13},
    }


def full_report(n: int = 600) -> dict[str, Any]:
    """Eleven variants, every key of the report filled."""
    draw = random.Random(7)
    shares = dict(zip(NAMES, (0.49, 0.53, 0.56, 0.75, 0.79, 0.31, 0.74, 0.45, 0.4, 0.5, 0.17), strict=True))
    variants = []
    for name, share in shares.items():
        few, broken = name.startswith("Few"), name == NAMES[-1]
        tuned = name.startswith("SFT")
        variants.append(
            {
                "name": name,
                "engine": "openai" if "GPT" in name else "transformers",
                "model": "gpt-4o" if "GPT" in name else f"Qwen/Qwen2.5-VL-{'3B' if '3B' in name else '7B'}-Instruct",
                "adapter": "train/paper-7b/adapter" if tuned else None,
                "prompting": "few-shot" if few else "zero-shot",
                "images": "shuffled" if "shuffled" in name else "as_is",
                "language": "zh" if "Chinese" in name else None,
                "modalities": "text" if "text only" in name else "both",
                "decoding": {"temperature": 0.0, "top_p": 1.0, "seed": 0, "repetition_penalty": 1.05 if broken else 1.0},
                "toy": False,
                "fingerprint": {"model": "sha256:" + "0123456789abcdef" * 4}
                | ({"adapter": "sha256:" + "fedcba9876543210" * 4} if tuned else {}),
                "status": "partial" if broken else "complete",
                "num_asked": 3 * n,
                "num_answered": 3 * n - (12 if broken else 0),
                "num_excluded": 0,
                "failures": {"evaluate:TimeoutError": 9, "evaluate:empty_answer": 3} if broken else {},
                "classification_asked": 0 if few else n,
                "classification": None if few else _classification(draw, share, n),
                "generation_asked": n,
                "generation": _generation(draw, share, n),
                "spectrum": None if few else _spectrum(draw, share, n),
                "canary": {
                    "status": "refused" if broken else ("passed" if tuned else "not_needed"),
                    "why": "all 8 answers equal the base's" if broken else "",
                    "num_items": 8,
                    "num_equal_to_base": 8 if broken else 0,
                    "largest_difference": 0.0 if broken else 2.5,
                },
                "cost": {
                    "num_answers": 3 * n,
                    "prompt_tokens": 2_730_000,
                    "completion_tokens": 412_000,
                    "seconds": 5321.0 * (2 if few else 1),
                    "usd": 12.47 if "GPT" in name else None,
                },
                "diagnosis": [
                    {
                        "code": "chance",
                        "benchmark": "classification",
                        "text": f"{name} is no better than chance at classification (17.0 % against 16.7 %): check the labels and the images.",
                    },
                    {
                        "code": "cut",
                        "benchmark": "generation",
                        "text": f"{name}: 412 of 600 reports were cut at the limit; raise max_new_tokens.",
                    },
                ]
                if broken
                else [],
            }
        )
        if tuned:
            scores = variants[-1]["classification"]
            likely = {
                key: scores[key] for key in ("accuracy", "accuracy_ci", "precision", "recall", "f1", "macro_f1", "n", "confusion")
            }
            scores["constrained"] = likely | {"accuracy": scores["accuracy"] + 0.01}
    baselines = [("chance (uniform)", 1 / 6), ("majority (always Caries)", 0.205), ("always first (Caries)", 0.205)]
    text_baseline = {
        key: value
        for key, value in _generation(draw, 0.3, n).items()
        if key.partition("_")[0] in ("n", "bleu", "meteor", "cosine", "corpus")
    }
    pairs = [
        {
            "benchmark": benchmark,
            "metric": metric,
            "a": a,
            "b": b,
            "n": n,
            "difference": (d := shares[a] - shares[b]),
            "difference_ci": [d - 0.05, d + 0.05],
            "test": "mcnemar" if benchmark == "classification" else "paired_bootstrap",
            "p": min(1.0, 0.2 / (1 + 900 * d * d)),
            "p_holm": min(1.0, 4 / (1 + 90000 * d**4)),
            "significant": abs(d) > 0.1,
        }
        for benchmark, metric in (
            ("classification", "accuracy"),
            ("generation", "bleu"),
            ("generation", "meteor"),
            ("generation", "cosine"),
        )
        for i, a in enumerate(NAMES)
        for b in NAMES[i + 1 :]
    ]
    ablations = [
        {
            "what": "modalities",
            "benchmark": "classification",
            "metric": "accuracy",
            "rows": [
                {"label": "both", "variant": NAMES[4], "value": 0.79, "ci": [0.75, 0.83], "n": n},
                {"label": "images only", "variant": "SFT Qwen 7B, images only", "value": 0.61, "ci": [0.57, 0.66], "n": n},
                {"label": "text only", "variant": NAMES[7], "value": 0.45, "ci": [0.4, 0.5], "n": n},
            ],
        },
        {
            "what": "language",
            "benchmark": "generation",
            "metric": "meteor",
            "rows": [
                {"label": "English", "variant": NAMES[4], "value": 0.43, "ci": [0.41, 0.45], "n": n},
                {"label": "Chinese", "variant": NAMES[6], "value": 0.4, "ci": None, "n": n},
            ],
        },
        {
            "what": "images",
            "benchmark": "classification",
            "metric": "macro_f1",
            "rows": [
                {"label": "as is", "variant": NAMES[4], "value": 0.76, "ci": [0.72, 0.8], "n": n},
                {"label": "shuffled", "variant": NAMES[5], "value": 0.29, "ci": [0.25, 0.34], "n": n},
            ],
        },
    ]
    size = {"num_samples": n, "num_patients": n * 4 // 5, "effective_patients": round(n * 0.7, 1)}
    paper = (("Zero-shot Qwen 3B", 0.4897, 0.5935, 0.4897, 0.4993), ("SFT Qwen 7B", 0.7892, 0.8506, 0.7892, 0.7939))
    return {
        "dataset": "release",
        "classes": list(SIX_CLASSES),
        "benchmarks": {"classification": size, "generation": size, "spectrum": size},
        "variants": variants,
        "baselines": {
            "classification": [
                {"name": name, **dict.fromkeys(("accuracy", "precision", "recall", "f1"), x), "n": n} for name, x in baselines
            ],
            "generation": [{"name": "another patient's report", **text_baseline}],
        },
        "controls": [{"shuffled": NAMES[5], "as_is": NAMES[4], "n": n, "change": -0.48, "change_ci": [-0.53, -0.43]}],
        "paired": pairs,
        "ablations": ablations,
        "prompts": [
            {
                "benchmark": "classification",
                "variants": list(NAMES[:6]),
                "text": f"system: You are a dentist.\nuser: {QUESTION.format(age=34)}",
            },
            {"benchmark": "generation", "variants": [NAMES[8]], "text": f"user: {HOSTILE}"},
        ],
        "partial": True,
        "paper_table_3": [dict(zip(("name", "accuracy", "precision", "recall", "f1"), row, strict=True)) for row in paper],
        "notes": ["Intervals are 95 %, from a bootstrap over patients.", "The paper's figures stand for reference."],
        "settings": {"seed": 0, "embedding": ["gemma-2b", "llama-3.2-1b"], "num_actors": None, "page_mb": 25},
        "versions": {"codelib": "0.7.0", "torch": "2.13.0", "peft": "0.21.2"},
        "num_kept": 0,
        "num_made": n * 3 * len(NAMES),
    }


NEW_KEYS = {
    "report": ("paired", "ablations", "prompts", "partial"),
    "variant": ("language", "modalities", "decoding", "canary", "diagnosis", "cost", "spectrum"),
    "classification": ("macro_precision", "macro_recall", "macro_f1", "macro_f1_ci", "constrained"),
    "generation": ("embeddings", "sections", "length_ratio", "length_ratio_ci", "clinical", "by_language"),
}


def old_report(n: int = 600) -> dict[str, Any]:
    """The same without any key that came after the first report."""
    report = full_report(n)
    for key in NEW_KEYS["report"]:
        del report[key]
    del report["benchmarks"]["spectrum"]
    for variant in report["variants"]:
        for key in NEW_KEYS["variant"]:
            del variant[key]
        for benchmark in ("classification", "generation"):
            for key in NEW_KEYS[benchmark] if variant[benchmark] else ():
                del variant[benchmark][key]
        for group in (variant["classification"] or {}).get("subgroups", ()):
            del group["by"]
    return report
