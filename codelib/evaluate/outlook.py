"""What a run would do, for a person who has not started it: which models are loaded, what they share, how much is asked.

    Plan + ledger of answers  ->  outlook(...)  ->  lines of `jobs.evaluate --dry-run`

Token counts are guesses: text by its characters, images by the size of some of them. They say whether this takes minutes or days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from codelib.core.store import Store
from codelib.evaluate.plan import Group, Plan
from codelib.evaluate.variants import MISSING, UNCACHED, Variant
from codelib.models.prompt import PixelPolicy
from codelib.models.remote_prices import OVERHEAD_TOKENS, image_tokens, tokens_of

_LOOKED_AT = 200  # images whose size is read: thousands would take longer than the answer is worth


def known_answers(plan: Plan, store: Store) -> frozenset[str]:
    """Keys of the plan's answers that are there from before."""
    return plan.keys & {Path(name).stem for name in store.names("answers")}


def outlook(plan: Plan, shown: Sequence[Variant], folder: Path, known: frozenset[str]) -> Iterator[str]:
    """shown: the variants as their file names them (no path of this machine). folder: where images lie."""
    by_name = {variant.name: variant for variant in plan.variants if variant.name in plan.controls}  # of servers: without paths
    by_name |= {variant.name: variant for variant in shown}
    for number, group in enumerate(plan.groups, start=1):
        work = [one.extra for one in plan.work if one.extra["group"] == group.key]
        if not work:
            continue
        members = [by_name[name] for name in group.variants]
        yield f"  engine {number}: {_engine(members[0])}{_shared(members)}"
        for variant in members:
            yield from _variant_lines(variant, plan)
        yield from _amount(group, work, plan, folder, known)


def _engine(variant: Variant) -> str:
    if variant.engine == "transformers":
        return f"{variant.model} on this cluster"
    where = "its own server" if variant.base_url else "OpenAI's server"
    return f"{variant.model} of {'Azure' if variant.azure_deployment else where}"


def _shared(members: Sequence[Variant]) -> str:
    if len(members) == 1:
        return ""
    adapters = sorted({variant.adapter for variant in members if variant.adapter})
    bare = any(variant.adapter is None for variant in members)
    held = [*(["the bare model"] if bare else []), *([f"{len(adapters)} adapter{'s' * (len(adapters) > 1)}"] if adapters else [])]
    return f", once for {len(members)} variants ({' and '.join(held)})"


def _variant_lines(variant: Variant, plan: Plan) -> Iterator[str]:
    prints = plan.fingerprints[variant.name]
    missing = [part for part, value in prints.items() if value == MISSING or value.endswith(f"@{MISSING}")]
    note = f"   {' and '.join(missing)} NOT FOUND" if missing else ""
    note += "   for the canary alone" if variant.name in plan.controls else ""
    note += "   model NOT DOWNLOADED" if prints["model"].endswith(f"@{UNCACHED}") else ""
    for (name, benchmark), samples in plan.questions.items():
        if name == variant.name:
            yield f"    {variant.name:<36} {benchmark:<16} {len(samples):>6} questions{note}"


def _amount(group: Group, work: Sequence[dict[str, Any]], plan: Plan, folder: Path, known: frozenset[str]) -> Iterator[str]:
    """Questions that are put once, images that are prepared once, tokens of what is not answered yet."""
    variants = {variant.name: variant for variant in plan.variants}
    rows = sum(len(part["rows"]) for part in work)
    asks = [(ask, part["questions"][ask["question"]]) for part in work for ask in part["asks"]]
    todo = [(ask, question) for ask, question in asks if ask["key"] not in known]
    images = {image for _, question in asks for image in question["images"]}
    shows = sum(len(question["images"]) for _, question in asks)
    different = f" ({len(asks)} different)" if len(asks) < rows else ""
    shown = (
        f" of {len(images)} images, shown {shows} times" if shows > len(images) else f" of {len(images)} images" if images else ""
    )
    yield f"    together {rows} questions{different}{shown}; {len(asks) - len(todo)} answers kept from before"
    if not todo:
        return
    sizes = _sizes(folder, frozenset(images))
    text, visual, answers = 0.0, 0.0, 0
    words: dict[int, float] = {}
    for ask, question in todo:
        variant = variants[ask["variant"]]
        if id(question) not in words:
            words[id(question)] = sum(tokens_of(content) + OVERHEAD_TOKENS for _, content in question["messages"])
        text += words[id(question)]
        visual += len(question["images"]) * _mean_tokens(
            variant.model if variant.engine == "openai" else "", sizes, variant.pixels()
        )
        answers += variant.answer_length(ask["benchmark"])
    yield f"    to ask: {_about(text + visual)} prompt tokens ({_about(visual)} of them images), at most {_about(answers)} in answers"


@cache
def _sizes(folder: Path, images: frozenset[str]) -> tuple[tuple[int, int], ...]:
    """Width and height of some images, drawn by name."""
    found = []
    for name in sorted(images, key=lambda name: sha256(name.encode()).digest())[:_LOOKED_AT]:
        try:
            with Image.open(folder / name) as image:
                found.append(image.size)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            continue  # counted elsewhere: an image that is not there, or that no engine can open
    return tuple(found)


@cache
def _mean_tokens(model: str, sizes: tuple[tuple[int, int], ...], pixels: PixelPolicy) -> float:
    counts = []
    for size in sizes:
        try:
            counts.append(image_tokens(model, size, pixels))
        except ValueError:  # an impossible shape: rejected when it is asked
            continue
    return sum(counts) / len(counts) if counts else 0.0


def _about(count: float) -> str:
    """12,345,678 -> 12.3 million; three digits say all that a guess knows."""
    if count >= 1e6:
        return f"{count / 1e6:.3g} million"
    return f"{round(count, -2):,.0f}" if count >= 1000 else f"{count:.0f}"
