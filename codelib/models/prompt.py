"""The one place that says how a conversation becomes what a model sees.

                              ┌─ chat_messages   ──> chat template of a local Qwen2.5-VL (training and inference)
    Conversation ── pixels ───┤
                              └─ openai_messages ──> any OpenAI-compatible server, pixels as lossless PNG

Every engine and the training loop take their pixels from `open_pixels`: the image is brought to the model's patch grid once, here, so
that the model's own processor has nothing left to resize and a remote server receives exactly what a local model sees.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from codelib.models.conversation import IMAGE, Conversation

PATCH_PX = 14
MERGE = 2  # 2 x 2 patches become one visual token
GRID_PX = PATCH_PX * MERGE
_MAX_ASPECT = 200  # the model's own limit
_CONTROL = re.compile(r"<\|[a-z_]+\|>")


@dataclass(frozen=True)
class PixelPolicy:
    """How many pixels a model may see of one image. The default shows a released image (longer side 448 px) as it is.

    ``min_pixels`` is the smallest area that Qwen2.5-VL's released settings allow; no larger image is ever scaled up, beyond
    rounding each side to the patch grid.
    """

    min_pixels: int = 56 * 56
    max_pixels: int = 448 * 448

    def __post_init__(self) -> None:
        if not GRID_PX**2 <= self.min_pixels <= self.max_pixels:
            raise ValueError(
                f"min_pixels={self.min_pixels}, max_pixels={self.max_pixels}: needed {GRID_PX**2} <= min_pixels <= max_pixels"
            )


def smart_resize(width: int, height: int, policy: PixelPolicy) -> tuple[int, int]:
    """Width and height that the model sees: multiples of 28 within the policy, the aspect ratio kept as closely as possible.

    The rule is Qwen2.5-VL's (transformers, ``qwen2_vl.smart_resize``). 448 x 300 -> 448 x 308. Raises ValueError for an aspect ratio
    above 200.
    """
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ValueError(f"an image of {width} x {height} px: the longer side may be at most {_MAX_ASPECT} times the shorter")
    width_px, height_px = round(width / GRID_PX) * GRID_PX, round(height / GRID_PX) * GRID_PX
    if width_px * height_px > policy.max_pixels:
        scale = math.sqrt(width * height / policy.max_pixels)
        width_px = max(GRID_PX, math.floor(width / scale / GRID_PX) * GRID_PX)
        height_px = max(GRID_PX, math.floor(height / scale / GRID_PX) * GRID_PX)
    elif width_px * height_px < policy.min_pixels:
        scale = math.sqrt(policy.min_pixels / (width * height))
        width_px = math.ceil(width * scale / GRID_PX) * GRID_PX
        height_px = math.ceil(height * scale / GRID_PX) * GRID_PX
    return width_px, height_px


def visual_tokens(width: int, height: int, policy: PixelPolicy) -> int:
    """Tokens that an image of this size takes in the prompt: 448 x 336 px -> 192."""
    width_px, height_px = smart_resize(width, height, policy)
    return (width_px // GRID_PX) * (height_px // GRID_PX)


class ImageError(ValueError):
    """An image that cannot be shown to a model. The message names the file by its last part: released names hold codes only."""


def _open(path: str | Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise ImageError(f"{Path(path).name}: no such image") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise ImageError(f"{Path(path).name}: not a readable image") from None


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height from the header alone, as a viewer would show them. Raises ImageError."""
    with _open(path) as image:
        try:
            swapped = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 lie on their side
        except (OSError, SyntaxError, ValueError):  # a PNG is read to its end for this
            raise ImageError(f"{Path(path).name}: truncated or corrupt") from None
        return (image.height, image.width) if swapped else (image.width, image.height)


def open_pixels(path: str | Path, policy: PixelPolicy) -> Image.Image:
    """The RGB pixels that every model sees of this image, on the patch grid. Raises ImageError where it cannot be decoded in full."""
    with _open(path) as image:
        try:
            pixels = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, ValueError):  # Pillow raises all three for truncated or corrupt data
            raise ImageError(f"{Path(path).name}: truncated or corrupt") from None
    try:
        size = smart_resize(*pixels.size, policy)
    except ValueError as error:
        raise ImageError(f"{Path(path).name}: {error}") from None
    return pixels if pixels.size == size else pixels.resize(size, Image.Resampling.BICUBIC)


def no_control(text: str, place: str) -> None:
    """Raises ValueError, naming the place, for a text that a model would read as a control token."""
    if found := _CONTROL.search(text):
        raise ValueError(f"{place}: the text holds {found.group()}, which the model reads as a control token")


def _pieces(conversation: Conversation) -> list[tuple[str, list[str]]]:
    """(role, text split at its placeholders) for each message; checks that no text could be taken for a control token."""
    placeholders = 0
    for message in conversation.messages:
        no_control(message.content, conversation.sample_id)
        placeholders += message.content.count(IMAGE)
    if placeholders != len(conversation.images):
        raise ValueError(f"{conversation.sample_id}: {placeholders} {IMAGE} placeholders but {len(conversation.images)} images")
    return [(message.role, message.content.split(IMAGE)) for message in conversation.messages]


def chat_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """Messages for a Qwen2.5-VL chat template: each ``<image>`` is an image part, in order.

    ``"a <image> b"`` -> ``[{"type": "text", "text": "a "}, {"type": "image"}, {"type": "text", "text": " b"}]``
    """
    messages = []
    for role, texts in _pieces(conversation):
        parts: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            if index:
                parts.append({"type": "image"})
            if text:
                parts.append({"type": "text", "text": text})
        messages.append({"role": role, "content": parts})
    return messages


def data_url(pixels: Image.Image) -> str:
    """The pixels as a data URL, and nothing beside them. PNG, because a JPEG would be another image: the server must see what a local model
    sees. Without profile and notes: a server might apply the one, and the others are nobody's business."""
    bare = Image.frombytes("RGB", pixels.size, pixels.convert("RGB").tobytes())
    buffer = io.BytesIO()
    bare.save(buffer, format="PNG", compress_level=1)  # a quarter of the time for a tenth more bytes
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_url(path: str, policy: PixelPolicy) -> str:
    """An image as every model sees it, as a data URL. Raises ImageError."""
    return data_url(open_pixels(path, policy))


def openai_messages(
    conversation: Conversation, policy: PixelPolicy, url: Callable[[str, PixelPolicy], str] = image_url
) -> list[dict[str, Any]]:
    """The same messages for an OpenAI-compatible server. Raises ImageError for an image that cannot be opened.

    ``detail: high`` has OpenAI's models look at all pixels; left to itself the service decides, and with it what an image costs. ``url``:
    for who keeps what was made before.
    """
    images = iter(conversation.images)
    messages: list[dict[str, Any]] = []
    for role, texts in _pieces(conversation):
        if len(texts) == 1:
            messages.append({"role": role, "content": texts[0]})
            continue
        parts: list[dict[str, Any]] = []
        for index, text in enumerate(texts):
            if index:
                parts.append({"type": "image_url", "image_url": {"url": url(next(images), policy), "detail": "high"}})
            if text:
                parts.append({"type": "text", "text": text})
        messages.append({"role": role, "content": parts})
    return messages


def all_pixels(conversation: Conversation, policy: PixelPolicy) -> Sequence[Image.Image]:
    """The pixels of every image of a conversation, in order. Raises ImageError."""
    return [open_pixels(path, policy) for path in conversation.images]
