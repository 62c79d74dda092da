"""The feed of one worker: the same batches from a thread, from processes and after a kill; bad samples named; nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from codelib.core.store import Store
from codelib.models import tiny
from codelib.models.conversation import open_dataset
from codelib.models.encoding import IGNORED, Encoder
from codelib.models.loading import load_base
from codelib.train import backends
from codelib.train.batch import Batch, Step
from codelib.train.example_rows import Rows
from codelib.train.examples import EXAMPLES, Rule, Tokeniser, look_at_pixels, processor_of, stage_of, table_of, work_of
from codelib.train.failures import LoadError
from codelib.train.feed import Feed
from codelib.train.samples import read
from codelib.train.settings import TrainSettings
from tests.fixtures import make_release

SETTINGS = TrainSettings(tasks=("train-cls",), max_pixels=56 * 56, batch_size=2, global_batch=4, epochs=2)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("feed") / "release", visits=10)


def rows_of(release: Path, settings: TrainSettings = SETTINGS) -> Rows:
    encoder = Encoder(processor_of("tiny"), settings.pixels)
    conversations = read(open_dataset(release), settings.tasks)
    return Rows.of_table(table_of(conversations, encoder, Rule.of(settings), look_at_pixels, release))


def feed_of(release: Path, rows: Rows | None = None, **change: object) -> Feed:
    place = {name: change.pop(name) for name in ("rank", "world") if name in change}
    settings = TrainSettings(**{**SETTINGS.model_dump(), **change})
    rows = rows or rows_of(release, settings)
    ids = rows.sample_ids
    return Feed(rows, ids[:8], ids[8:], settings=settings, root=str(release), model="tiny", **place)  # type: ignore[arg-type]


def shown(steps: Generator[Step]) -> list[list[tuple[str, ...]]]:
    with closing(steps) as given:
        return [[batch.sample_ids for batch in step.batches] for step in given]


def same(one: Batch, other: Batch) -> bool:
    return one.sample_ids == other.sample_ids and all(
        torch.equal(value, other.inputs[name]) if isinstance(value, torch.Tensor) else value == other.inputs[name]
        for name, value in one.inputs.items()
    )


def test_every_sample_once_an_epoch_and_the_tail_after_a_resume(release: Path) -> None:
    feed = feed_of(release)
    whole = shown(feed.steps(0, 4))
    for epoch in (whole[:2], whole[2:]):
        assert sorted(name for step in epoch for batch in step for name in batch) == sorted(feed.rows.sample_ids[:8])
    assert shown(feed.steps(3, 4)) == whole[3:]


def test_two_workers_share_the_steps_of_one(release: Path) -> None:
    rows = rows_of(release)
    one = shown(feed_of(release, rows).steps(0, 4))
    two = [shown(feed_of(release, rows, rank=rank, world=2).steps(0, 4)) for rank in range(2)]
    for step in range(4):
        joined = sorted(name for share in two for batch in share[step] for name in batch)
        assert joined == sorted(name for batch in one[step] for name in batch)


def test_loader_processes_make_the_batches_of_the_thread_and_end_with_the_iterator(release: Path) -> None:
    rows = rows_of(release)
    with closing(feed_of(release, rows).steps(0, 4)) as given:
        expected = list(given)
    steps = feed_of(release, rows, loader_workers=2).steps(0, 4)
    found = [next(steps), next(steps)]
    children = _children()
    assert children
    steps.close()
    for step, other in zip(found, expected, strict=False):
        assert all(same(one, two) for one, two in zip(step.batches, other.batches, strict=True))
        assert step.wait_s >= 0
    deadline = time.monotonic() + 20
    while _children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _children() == []


def _children(parent: int | None = None) -> list[int]:
    """Loader processes below a process: children of its fork server. (`ps` would cut the commands at $COLUMNS.)"""
    servers = [child for child in psutil.Process(parent).children() if "forkserver" in " ".join(child.cmdline())]
    return [loader.pid for server in servers for loader in server.children()]


def test_loader_processes_do_not_outlive_a_killed_worker(release: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.unit.test_train_feed import feed_of\n"
        "if __name__ == '__main__':\n"
        "    steps = feed_of(Path(sys.argv[1]), loader_workers=1).steps(0, 4)\n    next(steps)\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    script = tmp_path / "worker.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script), str(release)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        loaders = _children(process.pid)
        assert loaders
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in loaders) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in loaders if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("loaders", [0, 1])
@pytest.mark.parametrize("change", ["gone", "cut", "other"])
def test_an_image_that_changed_names_its_sample(tmp_path: Path, loaders: int, change: str) -> None:
    folder = make_release(tmp_path / "r", visits=10)
    feed = feed_of(folder, loader_workers=loaders)
    image = folder / json.loads((folder / "train-cls.json").read_text())[3]["images"][0]
    if change == "gone":
        image.unlink()
    else:
        image.write_bytes(image.read_bytes()[:700] if change == "cut" else image.read_bytes() + b"more")
    with pytest.raises(LoadError, match=rf"train-cls/3: {image.name}"):
        shown(feed.steps(0, 4))


def test_a_worker_without_samples_takes_part_and_teaches_nothing(release: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    tiny.build(tmp_path / "tiny", seed=0, eye_steps=0, word_steps=0)
    rows = rows_of(release)
    shares = [next(feed_of(release, rows, rank=rank, world=3, global_batch=2).steps(0, 1)) for rank in range(3)]
    assert [[batch.empty for batch in share.batches] for share in shares].count([True]) == 1
    [idle] = [share.batches[0] for share in shares if share.batches[0].empty]
    assert (idle.num_answer_tokens, idle.num_tokens) == (0, 0)
    assert bool((idle.inputs["labels"] == IGNORED).all())
    model = load_base(str(tmp_path / "tiny"), device="cpu")
    loss = backends.answer_loss(model, idle.to("cpu"))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_validation_shows_everyone_once_in_as_many_batches_on_every_rank(release: Path) -> None:
    rows = rows_of(release)
    shares = [list(feed_of(release, rows, rank=rank, world=2).validation()) for rank in range(2)]
    assert sorted(name for share in shares for batch in share if not batch.empty for name in batch.sample_ids) == sorted(
        rows.sample_ids[8:]
    )
    assert len(shares[0]) == len(shares[1])


def test_the_longest_batch_of_all_steps_is_tried_first(release: Path) -> None:
    feed = feed_of(release)
    with closing(feed.steps(0, 4)) as steps:
        most = max(batch.num_tokens for step in steps for batch in step.batches)
    assert next(feed.longest(4)).num_tokens == most


def test_shards_hold_what_the_encoder_makes(release: Path, tmp_path: Path) -> None:
    """Row for row through a committed shard, several row groups of it."""
    settings = TrainSettings(tasks=("train",), max_pixels=56 * 56)
    conversations = read(open_dataset(release), ("train",)) * 2
    conversations = [type(one)(f"{one.sample_id}/{n}", one.messages, one.images) for n, one in enumerate(conversations)]
    processor = processor_of("tiny")
    stage = stage_of("tiny", processor, Rule.of(settings), release)
    [work] = work_of(conversations, release)
    assert isinstance(stage.fn, Tokeniser)
    table = stage.fn(json.loads(json.dumps(work.extra)))
    assert table.schema.equals(EXAMPLES.schema)
    from codelib.core.stage import Part

    store = Store(str(tmp_path))
    store.commit_table("stages/examples/k.parquet", table, stage.row_group_rows)
    rows = Rows.of_parts([Part("k", "examples", store.root, table.num_rows, {})]).only(
        [one.sample_id for one in conversations][::-1]
    )
    feed = Feed(rows, rows.sample_ids, (), settings=settings, root=str(release), model="tiny")
    encoder = Encoder(processor, settings.pixels)
    for one in conversations:
        [found] = feed.encode([one.sample_id])
        made = encoder.example(one)
        for name in ("input_ids", "labels", "token_types", "pixel_values", "image_grid_thw"):
            assert torch.equal(getattr(found, name), getattr(made, name)), name


def test_a_shards_key_follows_words_settings_and_images(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=4)

    def key(settings: TrainSettings = SETTINGS) -> str:
        conversations = read(open_dataset(folder), ("train-cls",))
        [work] = work_of(conversations, folder)
        return stage_of("tiny", processor_of("tiny"), Rule.of(settings), folder).key(work)

    before = key()
    assert before == key(SETTINGS.model_copy(update={"epochs": 7, "packing": "padded"}))
    assert before != key(SETTINGS.model_copy(update={"visual_budget": 100}))
    image = folder / json.loads((folder / "train-cls.json").read_text())[0]["images"][0]
    content = image.read_bytes()
    image.unlink()
    assert key() != before
    image.write_bytes(content)
    assert key() != before  # looked at again: it may be another one
