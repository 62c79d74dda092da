"""One drill: the job starts, is struck at its moments, and is looked at when it has ended.

What the drill does in between is what a cluster and its user do: a node's Ray that ended is started again (slurm/ray_node.sh), a host that is
to return is switched on, and after the loss of the driver or of the head the same command is given again. In every other case the job has to
go on by itself.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.faults.cluster import DRIVER, HEAD, TORCHS, RayHosts
from tests.cluster.faults.plan import Drill, Kill
from tests.cluster.faults.victims import strike, title
from tests.cluster.faults.work import Attempt
from tests.cluster.hosts import HOSTS, until

_LIMIT_S = 1500.0  # of a whole drill on a busy machine; the undisturbed job takes half a minute
_NOTICED_S = 120.0  # within it a driver has to notice that the raylet beside it is gone
_RETURNS_S = 5.0  # a host that returns is off for so long
_LOOK_S = 0.1
# what stays with a cluster after a job: Ray's agents and idle workers, and the two actors that all of Ray Data's jobs on it share
_RAYS = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::_StatsActor", "ray::_AutoscalingCoordinatorActor")


@dataclass
class Struck:
    """A kill that was made."""

    kind: str
    at: float
    host: str
    victim: str
    done: int  # pieces of work finished at that moment
    lost_s: float = 0.0  # on the clock of the drill
    recovered_s: float | None = None  # until what was under way then was finished; of training, the next checkpoint


@dataclass
class Outcome:
    seed: int
    over: str
    workers: int
    kills: list[Struck] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)  # no such process was there before the job ended
    commands: int = 1  # how often the user gave the command
    done_again: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    standstill_s: float = 0.0  # the longest time in which no piece of work was finished
    failure: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Broken(AssertionError):
    """A promise was not kept."""


class _Run:
    def __init__(self, drill: Drill, attempt: Attempt, cluster: RayHosts, log: Path, outcome: Outcome) -> None:
        self.drill, self.attempt, self.cluster, self.log, self.outcome = drill, attempt, cluster, log, outcome
        self.began_s = time.monotonic()
        self.done, self.changed_s = 0, self.began_s
        self.pending = list(drill.kills)
        self.costs: list[tuple[Struck, Callable[[], bool]]] = []  # of kills, with the question whether they are made good
        self.returning: list[tuple[float, str]] = []
        self.head_lost_s: float | None = None
        self.driver_killed = False
        self.driver = self._drive()

    def _drive(self) -> subprocess.Popen[bytes]:
        return self.cluster.drive(self.attempt.command(), self.log)

    def to_its_end(self) -> None:
        """Raises Broken where the job does not get there."""
        while True:
            now = time.monotonic()
            if now - self.began_s > _LIMIT_S:
                raise Broken(f"not finished within {_LIMIT_S:.0f} s, {self.done} of {self.attempt.total} pieces of work done")
            self._look(now)
            code = self.driver.poll()
            if code == 0:
                return self._look(time.monotonic())
            if code is not None:
                self._again(code)
            elif self.head_lost_s is not None and now - self.head_lost_s > _NOTICED_S:
                raise Broken(f"the driver still runs {_NOTICED_S:.0f} s after the Ray beside it was lost")
            self._care(now)
            if self.pending and self._is_due(self.pending[0], now):
                self._strike(self.pending[0])
            else:  # what is due and was not there is looked for at once: a worker has its name for moments
                time.sleep(_LOOK_S)

    def _look(self, now: float) -> None:
        done = self.attempt.done()
        self.outcome.standstill_s = max(self.outcome.standstill_s, round(now - self.changed_s, 1))
        if done > self.done:
            self.done, self.changed_s = done, now
        for one, is_made_good in list(self.costs):
            if is_made_good():
                one.recovered_s = round(now - self.began_s - one.lost_s, 1)
                self.costs.remove((one, is_made_good))

    def _is_due(self, kill: Kill, now: float) -> bool:
        """Between two finished pieces the share grows at the pace that the job had so far."""
        place = kill.at * self.attempt.total
        if self.done < 1 or self.head_lost_s is not None or self.driver.poll() is not None:
            return False
        pace_s = (self.changed_s - self.began_s) / self.done
        return self.done + min((now - self.changed_s) / max(pace_s, 1e-3), 0.999) >= place

    def _strike(self, kill: Kill) -> None:
        victim = strike(self.cluster, kill)
        if victim is None:
            return  # there is none now: a moment later, perhaps
        is_made_good = self.attempt.struck(kill)
        self.pending.remove(kill)
        lost_s = round(time.monotonic() - self.began_s, 1)
        self.outcome.kills.append(Struck(kill.kind, kill.at, kill.host, victim, self.done, lost_s))
        self.costs.append((self.outcome.kills[-1], is_made_good))
        print(
            f"    {lost_s:6.1f} s  {victim} on {kill.host} killed, {self.done} of {self.attempt.total} pieces of work done",
            flush=True,
        )
        if kill.kind == "driver":
            self.driver_killed = True
        elif kill.kind in ("raylet", "host") and kill.host == HEAD:
            self.head_lost_s = time.monotonic()
        if kill.kind == "host" and kill.returns:
            self.returning.append((time.monotonic() + _RETURNS_S, kill.host))

    def _care(self, now: float) -> None:
        if self.head_lost_s is None:
            self.cluster.mend()
        for when_s, host in list(self.returning):
            if now > when_s:
                self.returning.remove((when_s, host))
                self.cluster.power_on(host)
                if self.head_lost_s is None:
                    self.cluster.start(host)

    def _again(self, code: int) -> None:
        """The driver ended before the job did."""
        if self.head_lost_s is not None:
            if HEAD in self.cluster.off:  # the cluster's own machine comes back, whatever was drawn
                self.returning = [one for one in self.returning if one[1] != HEAD]
                self.cluster.power_on(HEAD)
            self.cluster.restart()
        elif not self.driver_killed:
            raise Broken(f"the job ended with exit code {code}, and had to go on by itself")
        self.head_lost_s, self.driver_killed = None, False
        self.outcome.commands += 1
        self.driver = self._drive()

    def end(self) -> None:
        """Whatever happened: no driver runs on."""
        for process in self.cluster.processes(DRIVER):
            process.kill()
        self.driver.wait(20)


def leftovers(cluster: RayHosts) -> list[str]:
    """What runs on the hosts beside Ray itself, and what lies in their /tmp beside its folder."""
    found = [f"driver: {title(one)}" for one in cluster.processes(DRIVER)]
    for host in HOSTS:
        if host in cluster.off:
            continue
        names = [title(one) for one in cluster.processes(host)]
        work = [
            name
            for name in names
            if (name.startswith("ray::") and not name.startswith(_RAYS)) or "codelib" in name or " jobs." in name
        ]
        found += [f"{host}: {name}" for name in work]
        found += [f"{host}: /tmp/{name}" for name in cluster.in_tmp(host) if name not in ("ray", *TORCHS)]
    return found


def conduct(drill: Drill, attempt: Attempt, cluster: RayHosts, log: Path) -> Outcome:
    """Make a drill. Never raises for what the drill finds: ``failure`` says it, and the job's own words are in ``log``."""
    print(f"{drill}", flush=True)
    cluster.whole()
    outcome = Outcome(drill.seed, drill.over, drill.workers)
    run = _Run(drill, attempt, cluster, log, outcome)
    try:
        run.to_its_end()
        outcome.missed = [str(kill) for kill in run.pending]
        outcome.done_again = attempt.check()
        until(lambda: not leftovers(cluster), 60, lambda: f"left behind: {leftovers(cluster)}")
    except AssertionError as error:
        outcome.failure = str(error) or repr(error)
    finally:
        run.end()
    outcome.seconds = round(time.monotonic() - run.began_s, 1)
    told = (outcome.failure or "as if nothing had happened").splitlines()[0]
    print(
        f"    {outcome.seconds:6.1f} s  {told}; {outcome.commands} times the command, {outcome.done_again}, "
        f"{outcome.standstill_s} s at the longest without a piece finished",
        flush=True,
    )
    return outcome
