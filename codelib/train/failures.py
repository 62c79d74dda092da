"""What ends a run for good: trying the same again would end the same way, so a person is told what to change."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from codelib.train.batch import Batch

_SHOWN = 8


class TrainingFailed(RuntimeError):
    """The message is a whole sentence for a person. ``alone``: the other ranks do not know and wait in vain."""

    alone = False


class LossNotFinite(TrainingFailed):
    """Training went astray; nothing after this step would be worth keeping."""


class OutOfMemory(TrainingFailed):
    alone = True


class CheckpointFailed(TrainingFailed):
    pass


class LoadError(TrainingFailed):
    """A sample that could be read when its shard was made, and cannot be now. Names the sample."""

    alone = True


def named(batches: Sequence[Batch]) -> str:
    """Sample ids and lengths: train/3 (812 tokens), train/8 (790 tokens)"""
    samples = [pair for batch in batches for pair in zip(batch.sample_ids, batch.lengths, strict=True)]
    shown = ", ".join(f"{sample_id} ({length:,} tokens)" for sample_id, length in samples[:_SHOWN])
    return shown + (f" and {len(samples) - _SHOWN} more" if len(samples) > _SHOWN else "")


def _is_out_of_memory(error: BaseException) -> bool:
    # on a CPU torch raises a plain RuntimeError
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def memory_for(batch: Batch | str, where: str) -> Iterator[None]:
    """Out of memory within the block becomes OutOfMemory, which names the batch (or is told its names) and the ways out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        names = batch if isinstance(batch, str) else named([batch])
        raise OutOfMemory(
            f"out of memory {where}, on the batch {names}; lower batch_size or tokens_per_batch (the global batch and what is learned "
            "stay), or set activation_checkpointing=true, strategy=zero3, offload, or a lower max_pixels or cut_off; then run the command again"
        ) from error


def checkpoint_failed(error: BaseException, kept: int) -> CheckpointFailed:
    """Says why a checkpoint could not be written, and to which step the last good one goes back."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "no space left on device" if full else f"{type(error).__name__}: {error}"
    left = f"the checkpoint of step {kept} is kept" if kept else "none was written before"
    way = "free some space" if full else "mend that"
    return CheckpointFailed(
        f"a checkpoint could not be written ({why}); {left}: {way} and run the same command again, it continues"
    )
