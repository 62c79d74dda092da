"""The dataset card (README.md of the release, with the front matter that `datasets` reads) and the release's manifest."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codelib import __version__
from codelib.contracts import ANNOTATED, CONVERSATIONS, IMAGES, OK, SIX_CLASSES, SPLIT
from codelib.data.annotate_second import identity
from codelib.data.card_documents import FORBIDDEN, INTENDED, distributed
from codelib.data.card_settings import LICENCE, LICENCES, CardSettings
from codelib.data.ledger import Totals
from codelib.data.settings import DatasetSettings


def release_settings(settings: DatasetSettings) -> dict[str, Any]:
    """The settings that a reader of the release may know."""
    group = settings.fingerprint()
    known = {name: group[name] for name in ("seed", "images", "split", "sharegpt", "card")}
    return known | {
        "annotate": identity(settings.annotate),
        "dates": group["deidentify"]["dates"],
        "translation": settings.translate.engine,
    }


def manifest(settings: DatasetSettings, totals: Totals, samples: dict[str, dict[str, int]], content: str) -> dict[str, Any]:
    """What a reader can check the release against. samples: how many conversations, by split/task/language. content: digest of all other
    files' sums. Holds no path, host or time: same content, same bytes."""
    return {
        "code_version": __version__,
        "contracts": {c.name: c.version for c in (ANNOTATED, CONVERSATIONS, IMAGES, SPLIT)},
        "counts": {f"{kind}/{reason}": n for (kind, reason), n in sorted(totals.counts.items())},
        "conversations": samples,
        "num_images": totals.num_images,
        "content": content,
        "settings": release_settings(settings),
    }


def dataset_card(
    settings: DatasetSettings, totals: Totals, shards: Mapping[str, int], samples: Mapping[str, Mapping[str, int]]
) -> str:
    """README.md of the release. shards: path -> bytes. samples: by split/task/language, as in the manifest."""
    rejects = [(kind, reason, n) for (kind, reason), n in sorted(totals.counts.items()) if reason != OK]
    lines = [
        "---",
        "language:\n- en\n- zh",
        "task_categories:\n- image-text-to-text",
        "tags:\n- medical\n- dental",
        *_front(settings.card),
        *_configs(list(shards)),
        "---",
        f"# {settings.card.title}",
        "",
        f"{totals.of('visit', True)} checkups with {totals.num_images} images (photographs and radiographs, longer side at most "
        f"{settings.images.longest_px} px), each with its clinical record in English and Chinese.",
        "",
        "```python",
        "from datasets import load_dataset",
        'dataset = load_dataset("path/to/this/folder", "classification")',
        "```",
        "",
        "| file | what it holds |",
        "|---|---|",
        "| complete-dataset.csv | one row a checkup, no augmentation |",
        "| train.json, train-cls.json, train-diagnostic.json | training conversations (ShareGPT) |",
        "| test-cls.json, test-diagnostic.json | the two benchmarks |",
        "| Images/ | JPEG files without metadata, `<patient>-<checkup>-<number>.jpg` |",
        "| parquet/ | the conversations with embedded images |",
        "| ledger.csv | how many visits and images were released, and rejected for which reason |",
        "",
        f"Classification: one of {', '.join(SIX_CLASSES)}. Generation: a report of eight sections.",
        "",
        "| configuration | split | samples | bytes |",
        "|---|---|---|---|",
        *_sizes(shards, samples),
        "",
        "| feature | what it is |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, meaning in FEATURES.items()),
        "",
        "`complete-dataset.csv` has two splits: `split`, of the two benchmarks and of all files here, and `spectrum`, for all conditions at "
        "once, whose labels are `anomalies_en`. A visit may stand on different sides of the two: who trains on one does not test on the other.",
        "",
        "## How it was made",
        "",
        f"- Split by {settings.split.unit}; a test patient's other checkups are in neither split.",
        "- Tooth numbers are FDI. Ambiguous ones stand as they were written.",
        f"- Dates: {_DATES[settings.deidentify.dates]}. Age 90 stands for 90 and over.",
        f"- English: {translation(settings)}",
        "- Every step's settings, and the versions of code and tables, stand in manifest.json.",
        "- Diagnoses are read from the diagnosis field; suspected, negated and past ones do not count as present.",
        "",
        "## What was left out",
        "",
        "| | reason | count |",
        "|---|---|---|",
        *(f"| {kind} | {reason} | {n} |" for kind, reason, n in rejects),
        "",
        "## Limits",
        "",
        "Made by software; the labels of this release were not verified by dentists. Not for diagnosis. One clinic, one practice system. "
        "What software read from a record may be wrong, and a leak of what identifies a person can never be ruled out wholly.",
        "",
        "## Use",
        "",
        f"Intended: {INTENDED}",
        "",
        f"Forbidden: {FORBIDDEN}",
        "",
        *_people(settings.card),
        "## Check a copy",
        "",
        "`python -m jobs.release --verify path/to/this/folder` holds every file, table and image against SHA256SUMS and manifest.json.",
        "",
    ]
    return "\n".join(lines)


FEATURES = {
    "sample_id": "the checkup, the task, and the language and copy where they are not the first",
    "checkup_id": "`<patient>-<checkup>`",
    "language": "en or zh: of question, fields and answer",
    "names_label": "the chief complaint already names the class",
    "spectrum": "the checkup's side in the multi-label split: train, validation, test or excluded",
    "conditions": "its labels there, a list; never a part of a question",
    "messages": "list of `role`, `content`",
    "images": "list of pictures, one for each `<image>`",
}


def _front(card: CardSettings) -> list[str]:
    """The licence as the Hub reads it; its own list has no place for others but `other` and a name."""
    lines = [f"pretty_name: {json.dumps(card.title, ensure_ascii=False)}"]
    if card.spdx:
        return [*lines, f"license: {LICENCES[card.spdx][0]}"]
    name = re.sub(r"[^a-z0-9.]+", "-", (card.licence or LICENCE).lower()).strip("-") or "custom"
    link = [f"license_link: {json.dumps(card.licence_url)}"] if card.licence_url else []
    return [*lines, f"license: other\nlicense_name: {json.dumps(name)}", *link]


def _people(card: CardSettings) -> list[str]:
    """Whose it is, how to cite it, under which licence; and what is still to be said."""
    lines = ["## Licence", "", distributed(card), ""]
    if card.authors:
        lines += ["## Authors", "", *(f"- {author.full_name}" for author in card.authors), ""]
    if card.citation or card.doi:
        lines += ["## Citation", "", *filter(None, (card.citation, card.doi and f"https://doi.org/{card.doi}")), ""]
    for name, value in (("Contact", card.contact), ("Homepage", card.homepage)):
        lines += [f"{name}: {value}", ""] if value else []
    if card.open_points():
        lines += [
            f"**Still open, for the owner of the data to state: {', '.join(card.open_points())}.** They are settings of the build "
            "(`dataset.card` in its recipe).",
            "",
        ]
    return lines


_DATES = {
    "shift": "moved by one secret offset a patient, intervals kept",
    "keep": "as in the record",
    "year": "the year only",
}


def translation(settings: DatasetSettings) -> str:
    if settings.translate.engine == "openai":
        return f"machine translation by {settings.translate.model}, checked field by field."
    if settings.translate.engine == "glossary":
        return "**a term-by-term glossary stand-in, made offline. It is not a translation; what the glossary lacks is left in Chinese.**"
    return "none; the English columns repeat the Chinese."


def _sizes(shards: Mapping[str, int], samples: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    sizes: Counter[tuple[str, str]] = Counter()
    for path, size_bytes in shards.items():
        _, task, name = path.split("/")
        sizes[task, name.split("-")[0]] += size_bytes
    for (task, split), size_bytes in sorted(sizes.items()):
        num = sum(n["samples"] for group, n in samples.items() if group.startswith(f"{split}/{task}/"))
        yield f"| {task} | {split} | {num} | {size_bytes} |"


def _configs(shards: Sequence[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for path in sorted(shards):
        _, task, name = path.split("/")
        side = name.split("-")[0]
        if side not in found.setdefault(task, []):
            found[task].append(side)
    lines = ["configs:"] if found else []
    for task, sides in sorted(found.items()):
        lines.append(f"- config_name: {task}\n  data_files:")
        lines += [f'  - split: {side}\n    path: "parquet/{task}/{side}-*.parquet"' for side in sorted(sides, reverse=True)]
    return lines
