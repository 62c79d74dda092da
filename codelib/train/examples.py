"""Token-ready shards: what a run trains on, made once, in parallel, before a GPU is taken.

    train*.json ── partitions of conversations ── tokens (Ray Data through core.stage: ledger, content keys) ──> examples, 20 rows a group
                    every image decoded once: broken ones are found here, with their sample's id

A row holds ids, answers and sizes; pixels stay in the release, whose files an image's row names by path, size and hash. Copied into the shards
they would lie there once for each conversation of a visit, and epochs would read 20 times what they need: measured on a local disk, one
sample of 6 images takes 0.86 ms out of row groups of 20 with JPEG bytes, 0.27 ms by reference, and some 20 ms to decode and cut into patches.

Shards lie in the run's folder and leave with it: no patient's text outlives the run that was trained on it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from codelib.contracts import OK, Contract, rejected
from codelib.core.near import Near
from codelib.core.stage import Part, Stage, Work, run
from codelib.core.store import Store
from codelib.models.conversation import Conversation, Message
from codelib.models.encoding import Encoder, UnmarkedAnswer
from codelib.models.loading import load_processor
from codelib.models.prompt import ImageError, PixelPolicy, image_size, open_pixels, visual_tokens
from codelib.models.tiny_tokenizer import build_processor
from codelib.train.budget import Budget, fitted
from codelib.train.settings import TrainSettings

TINY = "tiny"
ROW_GROUP_ROWS = 20  # a sampler reads single rows
PARTITION = 400  # conversations: a few seconds of decoding
_THREADS = 16  # that ask the file system for sizes and times

EXAMPLES = Contract(
    "examples",
    1,
    ("sample_id",),
    pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            ("checkup_id", pa.string()),
            ("patient", pa.string()),  # code
            ("input_ids", pa.list_(pa.int32())),  # null where rejected
            ("answer_starts", pa.list_(pa.int32())),  # [start, end) of each answer in input_ids
            ("answer_ends", pa.list_(pa.int32())),
            ("images", pa.list_(pa.string())),  # paths inside the release, of the images that the sample keeps
            ("image_sha256", pa.list_(pa.string())),  # of the files; empty where only headers were read
            ("image_bytes", pa.list_(pa.int64())),
            ("image_tokens", pa.list_(pa.int32())),  # visual tokens of each
            ("images_dropped", pa.int32()),
            ("visual_tokens", pa.int32()),
            ("text_tokens", pa.int32()),
            ("answer_tokens", pa.int32()),
            ("detail", pa.string()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("reject_reason", pa.string()),
        ]
    ),
)


@dataclass(frozen=True)
class Look:
    """What is known of an image file after looking at it."""

    width_px: int
    height_px: int
    size_bytes: int
    sha256: str = ""


def look_at_header(path: str) -> Look:
    """Raises ImageError."""
    width, height = image_size(path)
    return Look(width, height, os.path.getsize(path))


def look_at_pixels(path: str) -> Look:
    """Decodes the whole image. Raises ImageError."""
    width, height = image_size(path)
    open_pixels(path, PixelPolicy())
    content = Path(path).read_bytes()
    return Look(width, height, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Rule:
    """What makes an example of a conversation, beside the conversation and the model's tokenizer."""

    pixels: PixelPolicy
    budget: Budget

    @classmethod
    def of(cls, settings: TrainSettings) -> Rule:
        budget = Budget(settings.cut_off, settings.visual_budget, settings.over_budget, settings.seed)
        return cls(settings.pixels, budget)


def row_of(conversation: Conversation, encoder: Encoder, rule: Rule, look: Callable[[str], Look], root: Path) -> dict[str, Any]:
    """One row of EXAMPLES, released or rejected with its reason."""
    row: dict[str, Any] = {
        "sample_id": conversation.sample_id,
        "checkup_id": conversation.checkup,
        "patient": conversation.patient,
        "images_dropped": 0,
        "detail": "",
        "status": OK,
    }
    if conversation.messages[-1].role != "assistant" or not conversation.answer.strip():
        return row | rejected("train:no_answer")
    try:
        looks = [look(path) for path in conversation.images]
        visual = [visual_tokens(one.width_px, one.height_px, rule.pixels) for one in looks]
    except ValueError as error:  # ImageError; or a shape that the model refuses
        return row | rejected("train:image") | {"detail": str(error)}
    try:
        tokens, kept, over = fitted(conversation, visual, encoder, rule.budget)
    except UnmarkedAnswer as error:
        return row | rejected("train:unmarked_answer") | {"detail": str(error)}
    except ValueError:  # its text is not repeated
        return row | rejected("train:control_token")
    row |= {
        "visual_tokens": sum(tokens.visual_tokens),
        "text_tokens": len(tokens.input_ids) - sum(tokens.visual_tokens),
        "answer_tokens": tokens.num_answer_tokens,
    }
    if over is not None:
        return row | rejected(over[0]) | {"detail": over[1]}
    return row | {
        "input_ids": list(tokens.input_ids),
        "answer_starts": [start for start, _ in tokens.answers],
        "answer_ends": [end for _, end in tokens.answers],
        "images": [name_in(root, conversation.images[place]) for place in kept],
        "image_sha256": [looks[place].sha256 for place in kept],
        "image_bytes": [looks[place].size_bytes for place in kept],
        "image_tokens": list(tokens.visual_tokens),
        "images_dropped": len(visual) - len(kept),
    }


def once(look: Callable[[str], Look]) -> Callable[[str], Look]:
    """The same look for which a file that stands in several conversations is opened once; so is one that cannot be."""

    @cache
    def tried(path: str) -> Look | ImageError:
        try:
            return look(path)
        except ImageError as error:
            return error

    def looked(path: str) -> Look:
        found = tried(path)
        if isinstance(found, ImageError):
            raise found
        return found

    return looked


def name_in(root: Path, path: str) -> str:
    """Path of an image inside the release; a row of other data may name one elsewhere."""
    inside = f"{root}{os.sep}"
    return path[len(inside) :] if path.startswith(inside) else os.path.abspath(path)


def table_of(
    conversations: Sequence[Conversation], encoder: Encoder, rule: Rule, look: Callable[[str], Look], root: Path
) -> pa.Table:
    """EXAMPLES of these conversations."""
    looked = once(look)
    return pa.Table.from_pylist([row_of(one, encoder, rule, looked, root) for one in conversations], schema=EXAMPLES.schema)


def processor_of(model: str) -> Any:
    return build_processor() if model == TINY else load_processor(model)


@cache
def _processor(model: str) -> Any:
    """Once in each of Ray's processes."""
    return processor_of(model)


@dataclass(frozen=True)
class Tokeniser:
    """The stage's function."""

    model: str
    rule: Rule
    root: str
    near: tuple[Near, ...] = ()  # copies that model and images lie in

    def __call__(self, extra: dict[str, Any]) -> pa.Table:
        with ExitStack() as held:
            for copy in self.near:
                held.enter_context(copy.held())
            return self._table(extra)

    def _table(self, extra: dict[str, Any]) -> pa.Table:
        conversations = [
            Conversation(
                sample_id,
                tuple(Message(*message) for message in messages),
                tuple(str(Path(self.root) / name) for name in images),
                checkup_id,
            )
            for sample_id, messages, images, checkup_id in extra["rows"]
        ]
        encoder = Encoder(_processor(self.model), self.rule.pixels)
        return table_of(conversations, encoder, self.rule, look_at_pixels, Path(self.root))


def stage_of(model: str, processor: Any, rule: Rule, root: Path, near: tuple[Near, ...] = ()) -> Stage:
    tokenizer = processor.tokenizer
    words = hashlib.sha256(f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.chat_template}".encode()).hexdigest()
    return Stage(
        "examples",
        1,
        EXAMPLES,
        Tokeniser(model, rule, str(root.resolve()), near),
        settings={"tokenizer": words, **asdict(rule)},
        unit="samples",
        row_group_rows=ROW_GROUP_ROWS,
    )


def work_of(conversations: Sequence[Conversation], root: Path) -> Iterator[Work]:
    """Partitions of conversations. Their key follows their words, and the sizes and times of their images' files: one that was put in
    its place after a first attempt is looked at again."""
    paths = list(dict.fromkeys(path for one in conversations for path in one.images))
    with ThreadPoolExecutor(_THREADS) as pool:
        files = dict(zip(paths, pool.map(_file, paths), strict=True))
    for start in range(0, len(conversations), PARTITION):
        some = conversations[start : start + PARTITION]
        rows = [
            [
                one.sample_id,
                [[message.role, message.content] for message in one.messages],
                [name_in(root, path) for path in one.images],
                one.checkup_id,
            ]
            for one in some
        ]
        yield Work(extra={"rows": rows, "files": [files[path] for one in some for path in one.images]})


def _file(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def make_examples(
    conversations: Sequence[Conversation],
    root: Path,
    model: str,
    processor: Any,
    rule: Rule,
    store: Store,
    near: tuple[Near, ...] = (),
) -> list[Part]:
    """The shards of these conversations, made on the connected cluster where they are not there yet."""
    return run(stage_of(model, processor, rule, root, near), list(work_of(conversations, root)), store)
