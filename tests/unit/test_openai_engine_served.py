"""The local engine served over HTTP: the same prompt, the same pixels and the same answer, whichever way a model is asked."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from codelib.models import tiny
from codelib.models.conversation import IMAGE, Conversation, Message
from codelib.models.encoding import Encoder
from codelib.models.engine import Request, answer_all
from codelib.models.loading import load_processor
from codelib.models.openai_engine import OpenAIEngine
from codelib.models.prompt import PixelPolicy, data_url, image_url, open_pixels
from codelib.models.transformers_engine import TransformersEngine
from tests import chat_server
from tests.chat_server import Body, completion

SMALL = PixelPolicy(max_pixels=112 * 112)


def from_messages(messages: list[dict[str, Any]], folder: Path, name: str) -> Conversation:
    """The conversation that a chat completion's messages are: what any server has to make of them."""
    images: list[str] = []
    made = []
    for message in messages:
        content = message["content"]
        text = content if isinstance(content, str) else ""
        for part in content if isinstance(content, list) else ():
            if part["type"] == "text":
                text += part["text"]
                continue
            header, _, data = part["image_url"]["url"].partition(",")
            assert header == "data:image/png;base64"
            path = folder / f"{name}-{len(images)}.png"
            path.write_bytes(base64.b64decode(data))
            images.append(str(path))
            text += IMAGE
        made.append(Message(message["role"], text))
    return Conversation(name, tuple(made), tuple(images))


class Served:
    """A compatible server around the local engine; keeps what it was asked."""

    def __init__(self, engine: TransformersEngine, folder: Path) -> None:
        self.engine, self.folder, self.lock = engine, folder, threading.Lock()
        self.asked: list[Conversation] = []

    def __call__(self, body: Body) -> Body:
        with self.lock:  # one call at a time for a model
            prompt = from_messages(body["messages"], self.folder, f"s{len(self.asked)}")
            self.asked.append(prompt)
            # a policy of its own, as a server has: it must find nothing left to resize
            [answer] = answer_all(self.engine, [Request(prompt, body["max_tokens"], body["model"].partition("+")[2] or None)])
        assert answer.error is None, answer.error
        usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens, "total_tokens": 0}
        return completion(body, answer.text, "length" if answer.cut else "stop", usage)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny.build(folder, seed=0, eye_steps=0, word_steps=0)
    return folder


@pytest.fixture(scope="module")
def local(model: Path) -> TransformersEngine:
    return TransformersEngine(model, batch_size=1, dtype="float32", device="cpu")


@pytest.fixture
def served(local: TransformersEngine, tmp_path: Path) -> Iterator[tuple[Served, str]]:
    (tmp_path / "served").mkdir()
    server = Served(local, tmp_path / "served")
    with chat_server.started(server) as running:
        yield server, running.url


def picture(path: Path, seed: int, size: tuple[int, int] = (120, 90), **save: Any) -> str:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, **save)
    return str(path)


def prompts(folder: Path) -> dict[str, Conversation]:
    one, two, three = (picture(folder / f"{n}.jpg", n, size) for n, size in enumerate(((120, 90), (90, 130), (300, 224))))
    question = Message("user", f"image-1: {IMAGE}\nAge: 31\nWhich of the six classes?")
    turned = Image.Exif()
    turned[0x0112] = 6
    lying = picture(folder / "lying.jpg", 9, (112, 84), exif=turned)
    return {
        "single": Conversation("s/1", (question,), (one,)),
        "other image": Conversation("s/2", (question,), (two,)),
        "text alone": Conversation("s/3", (Message("user", "Pain for 3 days.\n\nWhich class?"),), ()),
        "several images": Conversation(
            "s/4", (Message("user", f"image-1: {IMAGE}\nimage-2: {IMAGE}\nimage-3: {IMAGE} \n Which?"),), (one, two, three)
        ),
        "side by side": Conversation("s/5", (Message("user", f"{IMAGE}{IMAGE}"),), (two, lying)),
        "few-shot": Conversation(
            "s/6",
            (
                Message("system", "You are a dentist."),
                Message("user", f"image-1: {IMAGE}\nWhich?"),
                Message("assistant", "Caries"),
                Message("user", f"image-1: {IMAGE}\nWhich?"),
                Message("assistant", "Pulpitis"),
                question,
            ),
            (one, two, three),
        ),
        "Chinese": Conversation(
            "s/7",
            (
                Message("system", "你是口腔科医生。"),
                Message("user", f"图像1：{IMAGE}\n主诉：左下后牙冷热刺激痛3天，“敏感”。\n请诊断。"),
            ),
            (three,),
        ),
        "spaces and an answer": Conversation(
            "s/8", (Message("user", f"  {IMAGE}\t\n  so? \n"), Message("assistant", "not to be sent")), (one,)
        ),
    }


def test_the_same_prompt_pixels_and_answer(
    model: Path, local: TransformersEngine, served: tuple[Served, str], tmp_path: Path
) -> None:
    server, url = served
    asked = [Request(prompt, 12, pixels=SMALL) for prompt in prompts(tmp_path).values()]
    here = answer_all(local, asked)
    there = answer_all(OpenAIEngine("tiny", base_url=url, concurrency=1), asked)
    assert [one.error for one in here + there] == [None] * 16
    assert [one.text for one in there] == [one.text for one in here]
    assert len({one.text for one in here}) > 4, "the answers hang on the prompts"
    assert [(o.prompt_tokens, o.completion_tokens, o.cut) for o in there] == [
        (o.prompt_tokens, o.completion_tokens, o.cut) for o in here
    ]
    processor = load_processor(str(model))
    for request, received in zip(asked, server.asked, strict=True):
        mine, theirs = (
            Encoder(processor, SMALL).question(request.question),
            Encoder(processor, PixelPolicy()).question(received),
        )
        assert mine.input_ids.tolist() == theirs.input_ids.tolist()
        for ours, other in zip(request.question.images, received.images, strict=True):
            assert open_pixels(ours, SMALL).tobytes() == open_pixels(other, PixelPolicy()).tobytes()


def test_many_at_once_get_each_their_own_answer(local: TransformersEngine, served: tuple[Served, str], tmp_path: Path) -> None:
    _, url = served
    asked = [Request(prompt, 6, pixels=SMALL) for prompt in prompts(tmp_path).values()] * 2
    with torch.inference_mode():
        here = answer_all(local, asked[:8])
    there = answer_all(OpenAIEngine("tiny", base_url=url, concurrency=8), asked)
    assert [one.text for one in there] == [one.text for one in here] * 2


def test_nothing_but_pixels_leaves_with_an_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "scan of somebody"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = picture(tmp_path / "a.jpg", 1, (112, 84), exif=exif, icc_profile=profile, comment=b"somebody", dpi=(300, 300))
    content = base64.b64decode(image_url(path, PixelPolicy()).partition(",")[2])
    assert b"somebody" not in content
    names = []
    at = 8
    while at < len(content):
        names.append(content[at + 4 : at + 8])
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    assert set(names) == {b"IHDR", b"IDAT", b"IEND"}


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    mode=st.sampled_from(["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"]),
    limit=st.sampled_from([112 * 112, 448 * 448]),
)
def test_a_server_finds_nothing_left_to_resize(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, mode: str, limit: int
) -> None:
    """Whatever an image is, what is sent is what a local model sees, and stays it."""
    if max(width, height) > 200 * min(width, height):
        return
    path = tmp_path_factory.mktemp("image") / "a.tif"
    values = np.random.default_rng(width * 701 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    (image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(path)
    policy = PixelPolicy(max_pixels=limit)
    seen = open_pixels(path, policy)
    sent = path.with_suffix(".png")
    sent.write_bytes(base64.b64decode(data_url(seen).partition(",")[2]))
    again = open_pixels(sent, PixelPolicy(max_pixels=12_845_056))  # as Qwen2.5-VL's released settings have it
    assert (again.size, again.tobytes()) == (seen.size, seen.tobytes())
    with Image.open(io.BytesIO(sent.read_bytes())) as plain:
        assert (plain.mode, plain.size, plain.tobytes()) == ("RGB", seen.size, seen.tobytes())
