"""What a drill is drawn from, and what its journal keeps (tests/cluster/faults); no host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.faults.drill import Outcome, Struck
from tests.cluster.faults.journal import Journal, summary
from tests.cluster.faults.plan import CI_SEEDS, KINDS, draw
from tests.cluster.faults.victims import role
from tests.cluster.hosts import HOSTS


@given(st.integers(0, 10**9))
def test_a_number_is_a_drill(seed: int) -> None:
    drill = draw(seed)
    assert drill == draw(seed)
    assert str(drill).startswith(f"seed={seed} over a ")
    kinds = [kill.kind for kill in drill.kills]
    assert 1 <= len(kinds) == len(set(kinds)) <= 3
    assert [kill.at for kill in drill.kills] == sorted(kill.at for kill in drill.kills)
    for kill in drill.kills:
        assert 0 < kill.at < 1 and 0 <= kill.pick <= 1 and kill.host in HOSTS
        assert kill.returns or kill.host != HOSTS[0]  # the cluster's own machine comes back


def test_the_drills_of_ci_have_every_kind() -> None:
    drills = [draw(seed) for seed in CI_SEEDS]
    assert sorted(drill.over for drill in drills) == ["dataset", "dataset", "training", "training"]
    assert {kill.kind for drill in drills for kill in drill.kills} == set(KINDS)
    assert {kill.kind for drill in drills if drill.over == "training" for kill in drill.kills} == set(KINDS)
    assert any(kill.host == HOSTS[0] and kill.kind in ("raylet", "host") for drill in drills for kill in drill.kills)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("ray::Map(_Job.process)", "worker"),
        ("ray::MapWorker(MapBatches(_Actor)).submit", "worker"),
        ("ray::_call", "worker"),
        ("ray::RayTrainWorker.execute", "worker"),
        ("ray::RayTrainWorker", "worker"),
        ("ray::Board.take", "actor"),
        ("ray::TrainController.run", "actor"),
        ("ray::_StatsActor", "actor"),
        ("ray::IDLE", None),
        ("ray::DashboardAgent", None),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=y", None),
        ("python -m jobs.dataset --input z", None),
    ],
)
def test_a_process_is_known_by_what_ray_calls_it(title: str, expected: str | None) -> None:
    assert role(title) == expected


def outcome(seed: int, failure: str | None = None) -> Outcome:
    kills = [Struck("host", 0.5, "n2", "n2", 40, 20.0, 12.5), Struck("driver", 0.9, "n1", "driver", 70, 40.0)]
    return Outcome(seed, "dataset", 1, kills, [], 2, {"again": 3, "at_most": 5}, 60.0, 21.0, failure)


def test_a_series_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "drills.jsonl")
    assert journal.done() == set()
    journal.add(outcome(2))
    with journal.path.open("a") as file:
        file.write('{"seed": 4, "ov')  # killed while it wrote
    assert journal.done() == {2}
    journal.add(outcome(6))
    assert journal.done() == {2, 6}
    assert [line["kills"][0]["recovered_s"] for line in journal.lines()] == [12.5, 12.5]


def test_the_summary_counts_kills_and_names_what_failed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "drills.jsonl")
    journal.add(outcome(2))
    journal.add(outcome(4, "another ledger\nwords of the job"))
    said = summary(journal.lines())
    assert "dataset: 2 drills, 4 kills, 1 failures; the command was given 4 times" in said
    assert "seed=4 failed: another ledger" in said and "words" not in said
    assert "21 s (median of the drills), 21 s" in said
    assert "6 partitions done again, at most 10 could have been" in said
