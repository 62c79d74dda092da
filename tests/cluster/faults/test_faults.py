"""Four drills of the endless series (python -m tests.cluster.faults), chosen so that every kind of kill is among them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.faults.__main__ import Ground, ground
from tests.cluster.faults.plan import CI_SEEDS, draw
from tests.cluster.hosts import why_not

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    if reason := why_not():
        pytest.skip(reason)
    with ground(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.mark.parametrize("seed", CI_SEEDS)
def test_a_job_that_loses_something_ends_as_if_nothing_had_happened(place: Ground, seed: int) -> None:
    outcome = place.conduct(draw(seed))
    assert outcome.failure is None, f"python -m tests.cluster.faults --drills 1 --seed {seed}\n{outcome.failure}"
    assert outcome.missed == []
