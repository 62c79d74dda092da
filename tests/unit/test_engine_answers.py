"""The local engine says what stock transformers and peft say prompt by prompt: whatever shares a batch, a prefix, an image or a slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codelib.models import attention, decoder, tiny, transformers_engine
from codelib.models.engine import Decoding, Request, answer_all
from codelib.models.transformers_engine import TransformersEngine
from tests.unit.engine_cases import PIXELS, Stock, few_shot_requests, make_adapter, make_images, many_requests, question


class Room:
    def __init__(self, folder: Path) -> None:
        (folder / "tiny").mkdir()
        self.folder = folder
        self.model = str(folder / "tiny")
        tiny.build(folder / "tiny", seed=0, eye_steps=0, word_steps=0)
        self.images = make_images(folder / "images")
        self.language = [make_adapter(folder / f"a{seed}", self.model, seed, r=2 + 2 * seed) for seed in range(2)]
        self.vision = make_adapter(folder / "vision", self.model, 7, ("language", "vision", "merger"))
        self.stock = Stock(self.model)

    def engine(self, **options: object) -> TransformersEngine:
        return TransformersEngine(self.model, device="cpu", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Room(tmp_path_factory.mktemp("engine"))
    torch.set_num_threads(threads)


def test_answers_are_those_of_one_prompt_at_a_time(room: Room) -> None:
    requests = many_requests(room.images, [None, *room.language, room.vision])
    expected = [room.stock.text(one) for one in requests]
    assert len(set(expected)) > len(expected) // 2  # else equality would mean little
    for rows, tokens in ((1, None), (5, 150), (64, None)):
        engine = room.engine(batch_size=rows, tokens_per_forward=tokens)
        answers = answer_all(engine, requests)
        assert [answer.error for answer in answers] == [None] * len(requests)
        assert [answer.text for answer in answers] == expected, f"{rows} rows"
        again = answer_all(engine, requests[::-3])  # what the first stream left behind changes nothing
        assert [answer.text for answer in again] == expected[::-3]


def test_keys_that_are_read_once_for_many_rows_change_no_answer(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows after the same worked examples, under several adapters, come and go beside others."""
    monkeypatch.setattr(transformers_engine, "_FAMILY_ROWS", 2)
    monkeypatch.setattr(transformers_engine, "_FAMILY_TOKENS", 16)
    monkeypatch.setitem(decoder._SPAN_WORTH, "cpu", 0)
    together: list[int] = []
    one_token = attention._one_token

    def counted(query: torch.Tensor, *rest: Any) -> torch.Tensor:
        together.append(len(query) if rest[-1] else 0)
        return one_token(query, *rest)

    monkeypatch.setattr(attention, "_one_token", counted)
    requests = few_shot_requests(room.images, [None, *room.language]) + many_requests(room.images, [None], visits=2)
    requests = [replace(one, max_new_tokens=one.max_new_tokens + 3 * (place % 4)) for place, one in enumerate(requests)]
    expected = [room.stock.text(one) for one in requests]
    for rows in (6, 64):
        together.clear()
        assert [answer.text for answer in answer_all(room.engine(batch_size=rows), requests)] == expected, f"{rows} rows"
        assert max(together) >= 3
        assert 0 in together


def test_what_is_shared_is_computed_once(room: Room) -> None:
    requests = many_requests(room.images, [None, *room.language])
    engine = room.engine()
    answers = answer_all(engine, requests)
    used = {path for one in requests for path in one.prompt.images}
    assert engine.sight.opened == engine.sight.looked == len(used)
    assert engine.decoder.computed < 0.7 * sum(answer.prompt_tokens for answer in answers)
    answer_all(engine, [replace(one, adapter=room.vision) for one in requests[:6] if one.prompt.images])
    assert engine.sight.opened == len(used) < engine.sight.looked  # pixels again, features of its own tower


def test_the_same_question_is_asked_once(room: Room) -> None:
    one = many_requests(room.images, [None])[0]
    engine = room.engine()
    answers = answer_all(engine, [one, replace(one, prompt=replace(one.prompt, sample_id="other")), one])
    assert len({answer.text for answer in answers}) == 1
    assert engine.decoder.computed == answers[0].prompt_tokens


def test_choices_are_weighed_as_a_plain_forward_pass_does(room: Room) -> None:
    choices = ("Caries", "Periodontal disease", "none", "", "牙髓炎")
    requests = [replace(one, choices=choices) for one in many_requests(room.images, [None, *room.language, room.vision], 2)]
    plain = many_requests(room.images, [None], 3)
    answers = answer_all(room.engine(batch_size=4), [*requests, *plain])
    for request, answer in zip(requests, answers, strict=False):
        assert answer.log_likelihoods == pytest.approx([room.stock.log_likelihood(request, one) for one in choices], abs=2e-5)
        assert answer.text == room.stock.text(request)
    assert all(answer.log_likelihoods == () for answer in answers[len(requests) :])


def test_decoding_follows_transformers(room: Room) -> None:
    requests = [
        replace(one, decoding=Decoding(repetition_penalty=1.7)) for one in many_requests(room.images, [None, room.language[0]], 2)
    ]
    answers = answer_all(room.engine(), requests)
    assert [one.text for one in answers] == [room.stock.text(one, repetition_penalty=1.7) for one in requests]
    assert [one.text for one in answers] != [room.stock.text(one) for one in requests]


def test_what_is_drawn_depends_on_seed_and_sample_alone(room: Room) -> None:
    drawn = [replace(one, decoding=Decoding(temperature=1.5, top_p=0.9, seed=3)) for one in many_requests(room.images, [None], 3)]
    together = [one.text for one in answer_all(room.engine(), drawn)]
    assert together == [one.text for one in answer_all(room.engine(batch_size=1), drawn[::-1])][::-1]
    other = [replace(one, decoding=replace(one.decoding, seed=4)) for one in drawn]
    assert together != [one.text for one in answer_all(room.engine(), other)]
    narrow = [
        replace(one, decoding=Decoding(temperature=1.0, top_p=1e-6)) for one in drawn
    ]  # the nucleus holds one token: greedy
    assert [one.text for one in answer_all(room.engine(), narrow)] == [room.stock.text(one) for one in drawn]


def test_an_answer_says_how_long_it_is_and_whether_it_was_cut(room: Room) -> None:
    rng = np.random.default_rng(5)
    requests = [Request(question(rng, [], 8, str(n)), 3, None, PIXELS) for n in range(20)]
    for request, answer in zip(requests, answer_all(room.engine(), requests), strict=True):
        assert answer.prompt_tokens == room.stock.inputs(request)["input_ids"].shape[1]
        assert answer.cut == (
            answer.completion_tokens == 3 and room.stock.text(replace(request, max_new_tokens=4)) != answer.text
        )
        assert answer.latency_s > 0
