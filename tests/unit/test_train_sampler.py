"""The order of samples: a pure function, whole epochs, the same whatever the number of workers, within the limits of a micro-batch."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from codelib.train.packer import Limits, share_out
from codelib.train.sampler import Sampler, heaviest, in_order, load

COUNTS = st.integers(1, 60)
LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=40)
LIMITS = st.builds(
    Limits,
    samples=st.one_of(st.none(), st.integers(1, 6)),
    tokens=st.one_of(st.none(), st.integers(400, 1500)),
    packing=st.sampled_from(["packed", "padded"]),
)
TWO = Limits(2, None, "packed")


def sampler(num_samples: int, global_batch: int, seed: int) -> Sampler:
    return Sampler(tuple(range(5, 5 + num_samples)), global_batch, seed, TWO)


@given(COUNTS, st.integers(1, 16), st.integers(0, 9))
def test_an_epoch_shows_every_sample(num_samples: int, global_batch: int, seed: int) -> None:
    one = sampler(num_samples, global_batch, seed)
    for epoch in range(2):
        first = epoch * one.steps_per_epoch
        shown = [index for step in range(first, first + one.steps_per_epoch) for index in one.batch(step)]
        assert sorted(set(shown)) == list(range(num_samples))
        assert len(set(shown[:num_samples])) == num_samples  # nothing twice before everything once


@given(LENGTHS, st.integers(1, 24), st.integers(1, 5), LIMITS, st.integers(0, 30))
def test_workers_share_the_same_batch_within_the_limits(
    lengths: list[int], global_batch: int, world: int, limits: Limits, step: int
) -> None:
    one = Sampler(tuple(lengths), global_batch, 1, limits)
    shares = one.shares(step, world)
    assert len(shares) == world
    assert len({len(share) for share in shares}) == 1  # a backward under ZeRO waits for every rank
    assert sorted(chain(*chain(*shares))) == sorted(one.batch(step))
    for micro in chain(*shares):
        if len(micro) > 1:
            assert limits.allow(len(micro), limits.cost([lengths[index] for index in micro]))
    assert shares == one.shares(step, world)
    # an empty micro-batch stands only where there are too few samples for all
    empty = sum(not micro for micro in chain(*shares))
    assert empty < world
    assert not empty or global_batch < len(shares[0]) * world or limits.packing == "padded"


@given(LENGTHS, st.integers(1, 4), LIMITS)
def test_looking_at_everything_once(lengths: list[int], world: int, limits: Limits) -> None:
    mine = [in_order(lengths, rank, world, limits, at_once=8) for rank in range(world)]
    assert sorted(chain(*chain(*mine))) == list(range(len(lengths)))
    assert len({len(micros) for micros in mine}) == 1


@given(st.lists(st.integers(50, 400), min_size=16, max_size=40), st.integers(2, 4))
def test_ranks_get_as_many_tokens_as_the_others(lengths: list[int], world: int) -> None:
    shares = share_out(lengths, world, Limits(None, 800, "packed"))
    spent = [sum(lengths[place] for micro in share for place in micro) for share in shares]
    assert max(spent) - min(spent) <= max(lengths)  # no fairer than one sample


def test_a_step_needs_no_history() -> None:
    assert sampler(20, 4, 3).batch(17) == sampler(20, 4, 3).batch(17)
    assert sampler(20, 4, 3).batch(0) != sampler(20, 4, 4).batch(0)
    assert [sampler(20, 20, 3).batch(0), sampler(20, 20, 3).batch(1)][0] != sampler(20, 20, 3).batch(1)


def test_worked_examples() -> None:
    assert share_out([9, 1, 8, 2], 2, Limits(2, None, "packed")) == [[[0, 1]], [[2, 3]]]
    assert share_out([9, 1, 8, 2], 1, Limits(None, 10, "packed")) == [[[0, 1], [2, 3]]]
    # padded: like beside like
    assert share_out([9, 1, 8, 2], 2, Limits(2, None, "padded")) == [[[0, 2]], [[1, 3]]]
    assert share_out([7], 2, Limits(None, None, "packed")) == [[[0]], [[]]]
    # a single sample may always stand alone
    assert share_out([900, 3], 1, Limits(None, 500, "packed")) == [[[0], [1]]]


def test_the_load_counts_padding_and_waiting() -> None:
    lengths = (10, 10, 4, 4)
    found = load(Sampler(lengths, 4, 0, Limits(4, None, "padded")), range(1), world=1)
    assert (found.tokens, found.computed, found.micros) == (28, 40, 1)
    assert found.waste == 1 - 28 / 40
    found = load(Sampler(lengths, 4, 0, Limits(4, None, "packed")), range(1), world=2)
    assert (found.waste, found.idle) == (0, 0)


def test_the_heaviest_batches_are_those_of_tokens_and_of_each_weight() -> None:
    one = Sampler((50, 9, 8, 7), 1, 0, Limits(1, None, "packed"))
    assert sorted(heaviest(one, range(4), 1, [[0, 5, 9, 1], [3, 3, 2, 7]])) == [(0,), (2,), (3,)]
    assert heaviest(one, range(4), 1, [[9, 5, 1, 1]]) == [(0,)]
