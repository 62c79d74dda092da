"""The tiny model's processor: Qwen2.5-VL's own tokenizer cut after 4,096 ranks, its chat template, its image settings.

qwen2_5_vl/first4096.tiktoken ── merges ──> Qwen2Tokenizer + the real special tokens ──> processor, as for the real model
"""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from codelib.models.loading import make_processor

_FOLDER = Path(__file__).parent / "qwen2_5_vl"


def read_ranks() -> dict[bytes, int]:
    """Token bytes and their ranks: the lower, the earlier merged."""
    lines = (_FOLDER / "first4096.tiktoken").read_text(encoding="ascii").splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte, the spelling that byte-level vocabularies are written in."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def _parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that merge into this one: its bytes merged as far as lower ranks go."""
    pieces = [token[i : i + 1] for i in range(len(token))]
    while len(pieces) > 2:
        joined = [(ranks.get(a + b, len(ranks)), i) for i, (a, b) in enumerate(pairwise(pieces))]
        rank, place = min(joined)
        assert rank < ranks[token], f"rank {ranks[token]} is not reached by lower ranks"
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return pieces[0], pieces[1]


def special_tokens() -> list[str]:
    """In Qwen2.5-VL's order, <|endoftext|> first."""
    tokens: dict[str, int] = json.loads((_FOLDER / "special_tokens.json").read_text(encoding="utf-8"))["special_tokens"]
    return sorted(tokens, key=lambda token: tokens[token])


def build_tokenizer(ranks: dict[bytes, int] | None = None) -> Any:
    """A Qwen2Tokenizer over these ranks (default: the shipped 4,096), special tokens directly behind them."""
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer

    ranks = ranks or read_ranks()
    letters = _byte_letters()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    by_rank = sorted(ranks, key=lambda token: ranks[token])
    merges: Any = [tuple(map(spelled, _parts(token, ranks))) for token in by_rank if len(token) > 1]
    vocabulary = {spelled(token): ranks[token] for token in by_rank}
    special = special_tokens()
    # in the vocabulary as well, so that loading the saved files again cannot renumber them
    vocabulary |= {token: len(by_rank) + index for index, token in enumerate(special)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=32768
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.chat_template = (_FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer


def build_processor() -> Any:
    from transformers import Qwen2VLImageProcessorPil

    settings = json.loads((_FOLDER / "preprocessor_config.json").read_text(encoding="utf-8"))
    image_processor = Qwen2VLImageProcessorPil(
        **{k: v for k, v in settings.items() if k not in ("image_processor_type", "processor_class")}
    )
    tokenizer = build_tokenizer()
    return make_processor(image_processor, tokenizer, tokenizer.chat_template)
