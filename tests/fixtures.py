"""A small release in COde's layout (formats B), drawn on the spot, for tests that train or ask a model.

make_release(folder, visits=12) ──> train*.json, test*.json, Images/…   two visits a patient; the answer is the colour of a disc
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"Red": (200, 30, 30), "Blue": (30, 40, 200)}
QUESTION = "Which colour has the disc? One of: Red, Blue."


def draw_disc(colour: str, rng: np.random.Generator, size: tuple[int, int] = (112, 84)) -> Image.Image:
    image = Image.new("RGB", size, (230, 225, 210))
    x, y = int(rng.integers(20, size[0] - 40)), int(rng.integers(10, size[1] - 40))
    ImageDraw.Draw(image).ellipse((x, y, x + 30, y + 30), fill=COLOURS[colour])
    return image


def sample(number: int, names: list[str], answer: str, question: str = QUESTION) -> dict[str, Any]:
    lines = [f"image-{place}: <image>" for place in range(1, len(names) + 1)]
    return {
        "id": number,
        "messages": [
            {"role": "user", "content": "\n".join([*lines, f"Age: {20 + number}", question])},
            {"role": "assistant", "content": answer},
        ],
        "images": names,
    }


def make_release(folder: Path, visits: int = 12, seed: int = 0) -> Path:
    """Two visits for each patient, one or two photographs each; a third as many test visits of other patients."""
    rng = np.random.default_rng(seed)
    photographs = folder / "Images" / "Photographs"
    photographs.mkdir(parents=True)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for visit in range(visits + visits // 3):
        split = "train" if visit < visits else "test"
        answer = list(COLOURS)[int(rng.integers(2))]
        names = []
        for place in range(1, 2 + visit % 2):
            name = f"Images/Photographs/{1000 + visit // 2:04d}-{visit % 2 + 1:03d}-{place:02d}.jpg"
            draw_disc(answer, rng).save(folder / name, quality=95)
            names.append(name)
        rows[split].append(sample(len(rows[split]), names, answer))
    reports = [
        {
            **row,
            "messages": [
                row["messages"][0],
                {"role": "assistant", "content": f"A {row['messages'][1]['content'].lower()} disc."},
            ],
        }
        for row in rows["train"]
    ]
    for name, value in {
        "train-cls": rows["train"],
        "train-diagnostic": reports,
        "train": [{**row, "id": number} for number, row in enumerate([*rows["train"], *reports])],
        "test-cls": rows["test"],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder
