"""A hand-made evaluation for the tests of the report: every key that a report may have, or none of the new ones; hostile texts included.

Figures are made up. They follow no run, and only as far as a test says do they follow from the predictions beside them.
"""

from __future__ import annotations

import random
from typing import Any

from codelib.contracts import SIX_CLASSES
from tests.report_scores import classification, generation, spectrum

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
QUESTION = (
    "image-1: <image>\nimage-2: <image>\nAge: {age}\nGender: female\nChief Complaint: pain on the lower left for {age} days\n"
    "Based on the images and the patient's information, name the dental condition."
)


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
                "classification": None if few else classification(draw, share, n),
                "generation_asked": n,
                "generation": generation(draw, share, n),
                "spectrum": None if few else spectrum(draw, share, n),
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
        for key, value in generation(draw, 0.3, n).items()
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
        "cost": {
            "num_answers": 3 * n * len(NAMES),
            "prompt_tokens": 2_730_000 * len(NAMES),
            "completion_tokens": 412_000 * len(NAMES),
            "seconds": 5321.0 * len(NAMES),
            "usd": 12.47,
        },
        "num_kept": 0,
        "num_made": n * 3 * len(NAMES),
    }


NEW_KEYS = {
    "report": ("paired", "ablations", "prompts", "partial", "cost"),
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
