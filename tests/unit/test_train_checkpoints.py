"""What is gone on from is whole: torn, damaged and half removed checkpoints are passed over, a full disk keeps the last good one."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.store import TEMPORARY, Store
from codelib.train.checkpoints import Checkpoints, Share, TrainProgress, Writer, join
from codelib.train.failures import checkpoint_failed

NAMES = [f"step-{step:08d}-aaaa" for step in (10, 20, 30)]


def write(checkpoints: Checkpoints, name: str, parts: int = 1) -> None:
    for rank in range(parts):
        share = Share({("weight", "w"): (2 * rank, torch.tensor([1.0, 2.0]))}, updates=3)
        files = {f"part-{rank}.safetensors": share.to_bytes()}
        if rank == 0:
            files["progress.json"] = TrainProgress(step=int(name.split("-")[1])).to_json()
        checkpoints.write(name, rank, files)
    checkpoints.seal(name, parts)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Store(str(tmp_path)))


def test_the_last_two_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for name in NAMES:
        write(checkpoints, name)
    assert checkpoints.names() == NAMES[1:]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == NAMES[1:]
    assert checkpoints.progress(str(checkpoints.latest())).step == 30


@pytest.mark.parametrize("harm", ["cut", "changed", "missing", "no complete.json"])
def test_a_torn_checkpoint_is_passed_over(checkpoints: Checkpoints, tmp_path: Path, harm: str) -> None:
    for name in NAMES[:2]:
        write(checkpoints, name)
    folder = tmp_path / "checkpoints" / NAMES[1]
    victim = folder / "part-0.safetensors"
    content = victim.read_bytes()
    if harm == "cut":
        victim.write_bytes(content[:-1])
    elif harm == "changed":
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "missing":
        victim.unlink()
    else:
        (folder / "complete.json").unlink()
    said: list[str] = []
    assert checkpoints.latest(said.append) == NAMES[0]
    if harm == "no complete.json":
        checkpoints.sweep()
        assert not folder.exists()
    else:
        [line] = said
        assert NAMES[1] in line and "part-0.safetensors" in line


def test_it_is_complete_only_with_every_part(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codelib.train.checkpoints._PARTS_S", 0.1)
    checkpoints.write(NAMES[0], 0, {"part-0.safetensors": b"x"})
    with pytest.raises(TimeoutError, match="worker 1"):
        checkpoints.seal(NAMES[0], parts=2)
    assert checkpoints.names() == []
    write(checkpoints, NAMES[1], parts=2)
    assert torch.equal(checkpoints.whole(NAMES[1]).of("weight", "w", torch.Size([2, 2])), torch.tensor([[1.0, 2.0], [1.0, 2.0]]))


@given(numel=st.integers(1, 40), world=st.integers(1, 6))
def test_shares_of_any_number_of_workers_join_to_the_whole(numel: int, world: int) -> None:
    whole = torch.arange(numel, dtype=torch.float32)
    size = -(-numel // world)
    padded = torch.cat([whole, torch.full((size * world - numel,), -1.0)])
    shares = [Share({("weight", "a:b"): (r * size, padded[r * size :][:size])}, updates=7).to_bytes() for r in range(world)]
    joined = join(shares[::-1])
    assert torch.equal(joined.of("weight", "a:b", torch.Size([numel])), whole)
    assert joined.updates == 7


def test_a_failed_write_stays_and_nothing_follows(tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer, later = Writer(), []
    writer.submit(full)
    error = writer.wait()
    assert isinstance(error, OSError)
    writer.submit(lambda: later.append(1))
    assert writer.wait() is error and writer.failure() is error and later == []
    assert "no space left on device" in str(checkpoint_failed(error, 40))
    assert "step 40 is kept" in str(checkpoint_failed(error, 40))


def test_progress_survives_json() -> None:
    progress = TrainProgress(step=3, best_step=2, best_loss=0.5)
    assert TrainProgress.of(json.dumps(json.loads(progress.to_json())).encode()) == progress


def test_damaged_ones_push_no_new_one_out(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for name in ("step-00000100-aa", "step-00000150-aa"):
        write(checkpoints, name)
        (tmp_path / "checkpoints" / name / "progress.json").write_text("{")
    checkpoints.forget_after(checkpoints.latest())
    write(checkpoints, "step-00000050-bb")
    assert checkpoints.latest() == "step-00000050-bb"


def test_half_a_file_of_a_killed_run_is_swept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    write(checkpoints, "step-00000050-aa")
    half = tmp_path / "checkpoints" / "step-00000100-aa" / f"{TEMPORARY}part-0.safetensors"
    half.parent.mkdir()
    half.write_bytes(b"0" * 100)
    checkpoints.sweep()
    assert not half.exists()
    assert checkpoints.latest() == "step-00000050-aa"
