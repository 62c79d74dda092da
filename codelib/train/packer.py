"""How the samples of one optimiser step are shared out: over ranks, and into micro-batches that fit a GPU.

    lengths of a step's samples ── fewest micro-batches that keep the limits, as many on every rank ── evened out ──> shares[rank][micro]

Packed rows cost the sum of their samples' tokens, padded batches their longest sample times their number. Every rank has as many
micro-batches as the others, since a backward under ZeRO waits for all; where there are more ranks than samples, the rest get
an empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Packing = Literal["packed", "padded"]


@dataclass(frozen=True)
class Limits:
    """Of one micro-batch. ``tokens``: paid for, padding included; a single sample may always stand alone."""

    samples: int | None
    tokens: int | None
    packing: Packing

    def cost(self, lengths: Sequence[int]) -> int:
        """Tokens that a micro-batch of these lengths is computed on."""
        if not lengths:
            return 0
        return sum(lengths) if self.packing == "packed" else max(lengths) * len(lengths)

    def allow(self, samples: int, cost: int) -> bool:
        return (self.samples is None or samples <= self.samples) and (self.tokens is None or cost <= self.tokens)


def share_out(lengths: Sequence[int], world: int, limits: Limits) -> list[list[list[int]]]:
    """shares[rank][micro] = places in ``lengths``. Each place occurs once; empty micro-batches only where samples are fewer than ranks
    ask for. Lengths [9, 1, 8, 2] for two ranks -> [[[0, 1]], [[2, 3]]]"""
    assert lengths and world > 0
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    cut = _evened if limits.packing == "packed" else _stretches
    number = world * max(1, -(-_at_least(lengths, limits) // world))
    while (micros := cut(order, lengths, number, limits)) is None:
        number += world
    micros += [[] for _ in range(number - len(micros))]
    return _deal(micros, lengths, world, limits)


def _at_least(lengths: Sequence[int], limits: Limits) -> int:
    """Micro-batches that no distribution can do with fewer than."""
    by_samples = -(-len(lengths) // limits.samples) if limits.samples else 1
    by_tokens = -(-sum(lengths) // limits.tokens) if limits.tokens else 1
    return min(len(lengths), max(by_samples, by_tokens))


def _evened(order: Sequence[int], lengths: Sequence[int], number: int, limits: Limits) -> list[list[int]] | None:
    """``number`` micro-batches, the longest sample always to the one with the fewest tokens so far (LPT, Graham 1969: within a third of
    the best). None where that breaks a limit."""
    micros: list[list[int]] = [[] for _ in range(number)]
    spent = [0] * number
    for place in order:
        length = lengths[place]
        fitting = [
            (spent[one], len(micros[one]), one)
            for one in range(number)
            if not micros[one] or limits.allow(len(micros[one]) + 1, spent[one] + length)
        ]
        if not fitting:
            return None
        chosen = min(fitting)[2]
        micros[chosen].append(place)
        spent[chosen] += length
    return micros


def _stretches(order: Sequence[int], lengths: Sequence[int], number: int, limits: Limits) -> list[list[int]] | None:
    """At most ``number`` micro-batches of samples of like length: the order cut where the dearest becomes as cheap as it can be."""

    def cut(dearest: int) -> list[list[int]]:
        micros: list[list[int]] = [[]]
        for place in order:  # longest first: a micro-batch is as wide as its first sample
            grown = len(micros[-1]) + 1
            cost = lengths[micros[-1][0]] * grown if micros[-1] else 0
            if cost > dearest or (grown > 1 and not limits.allow(grown, cost)):
                micros.append([])
            micros[-1].append(place)
        return micros

    low, high = 1, max(lengths) * len(lengths)
    if len(cut(high)) > number:
        return None
    while low < high:  # the dearest micro-batch, by bisection
        middle = (low + high) // 2
        low, high = (low, middle) if len(cut(middle)) <= number else (middle + 1, high)
    return cut(high)


def _deal(micros: list[list[int]], lengths: Sequence[int], world: int, limits: Limits) -> list[list[list[int]]]:
    """Round by round the dearest ones, each round's dearest to the rank that has had the least: like beside like, where ranks wait."""
    micros = sorted(micros, key=lambda micro: (-limits.cost([lengths[p] for p in micro]), micro))
    shares: list[list[list[int]]] = [[] for _ in range(world)]
    spent = [0] * world
    for start in range(0, len(micros), world):
        ranks = sorted(range(world), key=lambda rank: (spent[rank], rank))
        for rank, micro in zip(ranks, micros[start : start + world], strict=True):
            shares[rank].append(sorted(micro))
            spent[rank] += limits.cost([lengths[p] for p in micro])
    return shares
