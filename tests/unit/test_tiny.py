"""The tiny model: the real tokenizer cut short, real files, one seed one model."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from codelib.models import tiny
from codelib.models.conversation import open_dataset
from codelib.models.engine import Request, answer_all
from codelib.models.loading import load_base, load_processor
from codelib.models.tiny_drawings import ODDITIES, draw
from codelib.models.tiny_tokenizer import _FOLDER, build_tokenizer, special_tokens
from codelib.models.transformers_engine import TransformersEngine
from tests.fixtures import make_release

CHECK = json.loads((_FOLDER / "special_tokens.json").read_text(encoding="utf-8"))["check"]


@pytest.fixture(scope="module")
def unschooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    tiny.build(folder, seed=3, eye_steps=0, word_steps=0)
    return folder


def test_special_tokens_stand_behind_the_ranks_in_the_real_order() -> None:
    tokenizer = build_tokenizer()
    assert [tokenizer.convert_tokens_to_ids(token) for token in special_tokens()] == list(range(4096, 4110))
    assert len(tokenizer) == 4110


def test_cut_tokenizer_reads_the_check_text_back() -> None:
    tokenizer = build_tokenizer()
    ids = tokenizer(CHECK["text"])["input_ids"]
    assert tokenizer.decode(ids) == CHECK["text"]
    special = [number - 4096 + 151643 for number in ids if number >= 4096]
    assert special == [number for number in CHECK["ids"] if number >= 151643]


def test_the_full_ranks_give_the_real_ids(real_data: Path) -> None:
    """Built over all ranks by the same code, the tokenizer is Qwen2.5-VL's own; and a cut one never needs fewer tokens."""
    lines = (real_data / "qwen2_5_vl" / "qwen.tiktoken").read_text(encoding="ascii").splitlines()
    assert lines[:4096] == (_FOLDER / "first4096.tiktoken").read_text(encoding="ascii").splitlines()
    full = build_tokenizer({base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)})
    assert full(CHECK["text"])["input_ids"] == CHECK["ids"]
    cut = build_tokenizer()
    for text in ("Caries of the upper right first molar.", "牙龈红肿，探诊出血。 Age: 35\n\n", "naïve  whitespace\t\r\n 12345"):
        assert len(cut(text)["input_ids"]) >= len(full(text)["input_ids"])
        assert cut.decode(cut(text)["input_ids"]) == text


def test_saved_files_load_as_those_of_a_real_model(unschooled: Path) -> None:
    processor, model = load_processor(str(unschooled)), load_base(str(unschooled), device="cpu")
    assert type(model).__name__ == json.loads((unschooled / "config.json").read_text())["architectures"][0]
    assert processor.tokenizer(CHECK["text"])["input_ids"] == build_tokenizer()(CHECK["text"])["input_ids"]
    assert processor.image_processor.size["longest_edge"] == 12845056  # the released settings, not the class's default


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_one_seed_one_model(tmp_path: Path, unschooled: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tiny.build(tmp_path / name, seed=5, eye_steps=2, word_steps=2)
        digests.append(_digest(tmp_path / name))
    assert digests[0] == digests[1] != _digest(unschooled)


def test_built_once_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, seed: int) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        tiny.ensure_tiny(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())
    built = []

    def quick(folder: Path, seed: int) -> None:
        built.append(seed)
        (folder / "tiny.json").write_text(json.dumps({"seed": seed, "recipe_version": tiny.RECIPE_VERSION}))

    monkeypatch.setattr(tiny, "build", quick)
    assert tiny.ensure_tiny(tmp_path / "tiny") == tiny.ensure_tiny(tmp_path / "tiny") == tmp_path / "tiny"
    assert built == [0]
    with pytest.raises(ValueError, match="another model"):
        tiny.ensure_tiny(tmp_path / "tiny", seed=1)


def test_drawings_depend_on_seed_and_oddity() -> None:
    for oddity in ODDITIES:
        first, again = draw(np.random.default_rng(1), oddity), draw(np.random.default_rng(1), oddity)
        assert first.tobytes() == again.tobytes()
        assert first.width == 112
    assert draw(np.random.default_rng(1), "band").tobytes() != draw(np.random.default_rng(1), "plain").tobytes()


def test_a_bad_prompt_does_not_sink_the_others(tmp_path: Path, unschooled: Path) -> None:
    folder = make_release(tmp_path / "release", visits=6)
    prompts = [one.prompt for one in open_dataset(folder).read("train-cls")]
    Path(prompts[1].images[0]).unlink()
    Path(prompts[3].images[0]).write_bytes(b"broken")
    answers = answer_all(TransformersEngine(unschooled, batch_size=2, device="cpu"), [Request(one, 3) for one in prompts])
    assert [answer.error for answer in answers] == [None, "ImageError", None, "ImageError", None, None]
    assert all(answer.prompt_tokens > 30 and 1 <= answer.completion_tokens <= 3 for answer in answers if answer.error is None)


def test_batches_answer_as_single_prompts(tmp_path: Path, unschooled: Path) -> None:
    """Left padding and sorting by length change no answer and no order."""
    prompts = [one.prompt for one in open_dataset(make_release(tmp_path / "release", visits=6)).read("train-cls")]
    together = answer_all(TransformersEngine(unschooled, batch_size=4, device="cpu"), [Request(one, 4) for one in prompts])
    alone = answer_all(TransformersEngine(unschooled, batch_size=1, device="cpu"), [Request(one, 4) for one in prompts])
    assert [a.text for a in together] == [a.text for a in alone]
    assert [a.prompt_tokens for a in together] == [a.prompt_tokens for a in alone]


@pytest.mark.parametrize(
    ("name", "message"),
    [("./nowhere", "no such folder"), ("nobody/no-such-model", "hf download"), ("word", "no such folder")],
)
def test_a_missing_model_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_processor(name)
    with pytest.raises(ValueError, match=message):
        load_base(name)
