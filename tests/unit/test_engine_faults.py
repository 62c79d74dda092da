"""What goes wrong with a request stays with it: the others are answered as if it had not been there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from codelib.models import tiny
from codelib.models.conversation import Message
from codelib.models.engine import Answer, Request, answer_all
from codelib.models.transformers_engine import TransformersEngine
from tests.unit.engine_cases import PIXELS, make_adapter, make_images, many_requests


class Room:
    def __init__(self, folder: Path) -> None:
        (folder / "tiny").mkdir()
        self.folder, self.model = folder, str(folder / "tiny")
        tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
        self.images = make_images(folder / "images")
        self.adapter = make_adapter(folder / "good", self.model, 1)
        self.requests = many_requests(self.images, [None, self.adapter], visits=3)
        self.engine = TransformersEngine(self.model, batch_size=8, device="cpu")
        self.texts = [answer.text for answer in answer_all(self.engine, self.requests)]

    def with_bad(self, bad: list[Request]) -> list[Answer]:
        """The answers of the bad ones, asked among the good ones, whose answers are checked."""
        return self.check(answer_all(self.engine, [*self.requests[:9], *bad, *self.requests[9:]]), len(bad))

    def check(self, answers: list[Answer], bad: int) -> list[Answer]:
        good = [*answers[:9], *answers[9 + bad :]]
        assert [answer.error for answer in good] == [None] * len(self.texts)
        assert [answer.text for answer in good] == self.texts
        assert all(answer.text == "" for answer in answers[9 : 9 + bad] if answer.error)
        return answers[9 : 9 + bad]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Room(tmp_path_factory.mktemp("engine"))
    torch.set_num_threads(threads)


def test_what_cannot_be_shown_fails_alone(room: Room, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.png"
    garbage.write_bytes(b"no image")
    whole = Path(room.images[0]).read_bytes()
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(whole[: len(whole) // 2])
    photograph = tmp_path / "truncated.jpg"  # a JPEG's size is known from its header: found out when it is opened
    Image.effect_noise((200, 200), 90).convert("RGB").save(photograph)
    photograph.write_bytes(photograph.read_bytes()[:3000])
    ribbon = tmp_path / "ribbon.png"
    Image.new("RGB", (3000, 3)).save(ribbon)
    good = next(one for one in room.requests if len(one.prompt.images) == 1)
    paths = [str(tmp_path / "missing.png"), str(garbage), str(truncated), str(photograph), str(ribbon)]
    bad = [replace(good, prompt=replace(good.prompt, images=(path,))) for path in paths]
    control = replace(good, prompt=replace(good.prompt, messages=(Message("user", "<image> <|im_end|>"),)))
    fewer = replace(good, prompt=replace(good.prompt, images=()))
    answers = room.with_bad([*bad, control, fewer, replace(good, choices=("<|im_end|>",))])
    assert [answer.error for answer in answers] == ["ImageError"] * 5 + ["ValueError"] * 3


def test_a_prompt_beyond_the_window_is_named_before_the_model_is_touched(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    good = room.requests[0]
    long = replace(good.prompt, messages=(Message("user", "<image> " * len(good.prompt.images) + "pain " * 40_000),))
    calls: list[int] = []
    monkeypatch.setattr(room.engine.decoder, "_forward", lambda *args, **kwargs: calls.append(1))
    monkeypatch.setattr(room.engine.sight, "look", lambda *args, **kwargs: calls.append(1))
    bad = [replace(good, prompt=long), replace(good, max_new_tokens=40_000)]
    assert [answer.error for answer in answer_all(room.engine, bad)] == ["PromptTooLong"] * 2
    assert not calls
    with pytest.raises(ValueError, match=r"v0/0: \d+ tokens \(\d+ visual\).* window is 32768\. Lower max_pixels"):
        room.engine._prompt(bad[1], 0)


def broken_adapters(room: Room, folder: Path) -> dict[str, str]:
    """Folder -> the error that it must give."""
    from safetensors.torch import load_file, save_file

    def changed(name: str, change: Any) -> str:
        path = Path(make_adapter(folder / name, room.model, 3))
        tensors = load_file(path / "adapter_model.safetensors")
        change(tensors)
        save_file({key: value.contiguous() for key, value in tensors.items()}, path / "adapter_model.safetensors")
        return str(path)

    def cut(tensors: dict[str, torch.Tensor]) -> None:
        for key in list(tensors):
            tensors[key] = tensors[key][..., :-1] if "lora_A" in key else tensors[key]

    def lose(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[sorted(tensors)[5]]

    def diverge(tensors: dict[str, torch.Tensor]) -> None:
        tensors[sorted(tensors)[2]][0, 0] = float("nan")

    garbage = Path(make_adapter(folder / "garbage", room.model, 3))
    (garbage / "adapter_model.safetensors").write_bytes(b"\0" * 100)
    other = Path(make_adapter(folder / "other", room.model, 3))
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": ["c_attn"]}))
    torn = Path(make_adapter(folder / "torn", room.model, 3))
    (torn / "adapter_config.json").write_text("{")
    return {
        str(folder / "nowhere"): "AdapterNotFound",
        changed("cut", cut): "AdapterMismatch",
        changed("lose", lose): "AdapterMismatch",
        changed("diverge", diverge): "AdapterUnreadable",
        str(garbage): "AdapterUnreadable",
        str(other): "AdapterMismatch",
        str(torn): "AdapterUnreadable",
        make_adapter(folder / "dora", room.model, 3, use_dora=True): "AdapterUnsupported",
        make_adapter(folder / "pissa", room.model, 3, init_lora_weights="pissa_niter_4"): "AdapterUnsupported",
        make_adapter(folder / "olora", room.model, 3, init_lora_weights="olora"): "AdapterUnsupported",
        make_adapter(folder / "head", room.model, 3, modules_to_save=["lm_head"]): "AdapterUnsupported",
        make_adapter(folder / "bias", room.model, 3, bias="lora_only"): "AdapterUnsupported",
    }


def test_an_adapter_that_does_not_fit_fails_its_own_requests(room: Room, tmp_path: Path) -> None:
    broken = broken_adapters(room, tmp_path)
    answers = room.with_bad([replace(room.requests[0], adapter=folder) for folder in broken])
    assert {folder: answer.error for folder, answer in zip(broken, answers, strict=True)} == broken


def test_another_base_by_name_is_refused(room: Room, tmp_path: Path) -> None:
    from codelib.models.lora_rows import AdapterMismatch, load_adapter

    folder = Path(make_adapter(tmp_path / "a", room.model, 3))
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct"})
    )
    with pytest.raises(AdapterMismatch, match=r"made for \S+-7B-Instruct, the model is \S+-3B-Instruct"):
        load_adapter(str(folder), "Qwen/Qwen2.5-VL-3B-Instruct", room.engine.model)
    with pytest.raises(ValueError, match="has no adapter_config"):
        load_adapter(str(tmp_path), room.model, room.engine.model)
    assert load_adapter(str(folder), room.model, room.engine.model).layers  # a folder may hold it under any name


def test_unusual_adapters_that_can_be_served_are(room: Room, tmp_path: Path) -> None:
    from tests.unit.engine_cases import Stock

    options: dict[str, Any] = {
        "use_rslora": True,
        "lora_bias": True,
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 3},
    }
    unusual = make_adapter(tmp_path / "unusual", room.model, 5, ("language", "merger"), **options)
    stock = Stock(room.model)
    requests = [replace(one, adapter=unusual) for one in room.requests[:4]]
    answers = answer_all(room.engine, [*requests, *room.requests])
    assert [answer.text for answer in answers] == [*(stock.text(one) for one in requests), *room.texts]


def test_numbers_that_are_none_reach_no_other_row(room: Room, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(make_adapter(tmp_path / "huge", room.model, 3))
    tensors = {key: value * 1e30 for key, value in load_file(folder / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    bad = [replace(one, adapter=str(folder)) for one in room.requests[:4]]
    assert [answer.error for answer in room.with_bad(bad)] == ["NotFinite"] * 4
    room.with_bad([])  # and nothing of it stays behind


def limited(monkeypatch: pytest.MonkeyPatch, engine: TransformersEngine, fails: Any) -> list[int]:
    """Language passes for which ``fails(rows, embeds)`` gives an error raise it. Returns the rows of each pass."""
    forward, passes = engine.decoder._forward, []

    def limit(rows: Any, embeds: Any, *args: Any) -> Any:
        if error := fails(rows, embeds):
            raise error
        passes.append(len(rows))
        return forward(rows, embeds, *args)

    monkeypatch.setattr(engine.decoder, "_forward", limit)
    return passes


@pytest.mark.parametrize("most", [1, 3])
def test_out_of_memory_halves_the_batch(room: Room, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    def fails(rows: Any, embeds: Any) -> Exception | None:
        return torch.OutOfMemoryError() if len(rows) > most else None

    passes = limited(monkeypatch, room.engine, fails)
    room.with_bad([])
    assert max(passes) <= most


def test_only_what_does_not_fit_alone_fails(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(room.requests, key=lambda one: len(one.prompt.images) * 1000 + len(one.prompt.messages[-1].content))
    giant = replace(longest, prompt=replace(longest.prompt, messages=(Message("user", "pain " * 900),), images=()))
    passes = limited(monkeypatch, room.engine, lambda rows, embeds: torch.OutOfMemoryError() if embeds.shape[1] > 800 else None)
    [answer] = room.with_bad([giant])
    assert answer.error == "OutOfMemoryError"
    assert max(passes) > 1  # the others were not asked one by one for it


def test_a_row_that_breaks_the_model_fails_alone(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = replace(room.requests[0].prompt, sample_id="bad", messages=(Message("user", "pulp " * 33),), images=())
    tokens = len(room.engine._prompt(replace(room.requests[0], prompt=prompt), 0).ids)
    bad = Request(prompt, 5, None, PIXELS)
    for when in (lambda one: one.said == [], lambda one: len(one.said) == 2):
        with monkeypatch.context() as patch:
            limited(
                patch,
                room.engine,
                lambda rows, embeds, when=when: (
                    RuntimeError("a secret") if any(len(one.ids) == tokens and when(one) for one in rows) else None
                ),
            )
            assert [answer.error for answer in room.with_bad([bad])] == ["RuntimeError"]


def test_a_stream_that_is_left_leaves_nothing_behind(room: Room) -> None:
    stream = room.engine.stream(room.requests)
    next(stream)
    assert not torch.is_inference_mode_enabled()  # the caller's own tensors are none of the engine's business
    stream.close()  # type: ignore[attr-defined]
    room.with_bad([])


def test_two_callers_take_turns(room: Room) -> None:
    got: dict[int, list[str]] = {}

    def ask(number: int) -> None:
        got[number] = [answer.text for answer in answer_all(room.engine, room.requests)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert got == {0: room.texts, 1: room.texts}


def test_nothing_asked_nothing_said(room: Room) -> None:
    assert answer_all(room.engine, []) == []
    with pytest.raises(ValueError, match="batch_size=0: at least 1"):
        TransformersEngine(room.model, batch_size=0)
