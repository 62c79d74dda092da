"""The order of samples: a pure function, whole epochs, and the same whatever the number of workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from codelib.train.sampler import Sampler

COUNTS = st.integers(1, 60)


@given(COUNTS, st.integers(1, 16), st.integers(0, 9))
def test_an_epoch_shows_every_sample(num_samples: int, global_batch: int, seed: int) -> None:
    sampler = Sampler(num_samples, global_batch, seed)
    for epoch in range(2):
        first = epoch * sampler.steps_per_epoch
        shown = [index for step in range(first, first + sampler.steps_per_epoch) for index in sampler.batch(step)]
        assert sorted(set(shown)) == list(range(num_samples))
        assert len(set(shown[:num_samples])) == num_samples  # nothing twice before everything once


@given(COUNTS, st.sampled_from([(1, 8), (2, 4), (4, 2), (2, 2), (8, 1)]), st.integers(0, 30))
def test_workers_share_the_same_batch(num_samples: int, shape: tuple[int, int], step: int) -> None:
    world, batch_size = shape
    sampler = Sampler(num_samples, 8, seed=1)
    shares = [sampler.share(step, rank, world, batch_size) for rank in range(world)]
    assert all(len(micro) == batch_size for share in shares for micro in share)
    assert sorted(i for share in shares for micro in share for i in micro) == sorted(sampler.batch(step))


def test_a_step_needs_no_history() -> None:
    assert Sampler(20, 4, 3).batch(17) == Sampler(20, 4, 3).batch(17)
    assert Sampler(20, 4, 3).batch(0) != Sampler(20, 4, 4).batch(0)
    assert [Sampler(20, 20, 3).batch(0), Sampler(20, 20, 3).batch(1)][0] != Sampler(20, 20, 3).batch(1)
