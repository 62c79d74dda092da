"""Finding what a kill is meant for among the processes that carry a cluster's mark, and killing it without a warning (SIGKILL, or the plug).

worker   does the job's work: a task of Ray Data, or a worker of the training group, with its process
actor    what directs it: Ray Train's controller, the board of a run, Ray Data's statistics and autoscaling actors
raylet   Ray's own process of a node     host   the machine     driver   the process that the user started
"""

from __future__ import annotations

import re
from contextlib import suppress

import psutil

from tests.cluster.faults.cluster import DRIVER, RayHosts
from tests.cluster.faults.plan import Kill
from tests.cluster.hosts import HOSTS

# Ray's titles: ray::Map(_Job.process) and ray::_call are tasks, ray::Board and ray::Board.take are an actor
_TASK = re.compile(r"ray::(\w+\(.*\)(\.\w+)?|_?[a-z]\w*)$")
_ACTOR = re.compile(r"ray::(_?[A-Z]\w*)(\.\w+)?$")
_RAYS = ("IDLE", "DashboardAgent", "RuntimeEnvAgent")


def role(title: str) -> str | None:
    """worker or actor, of a process that calls itself so; None for all others."""
    if _TASK.match(title):
        return "worker"
    found = _ACTOR.match(title)
    if found is None or found[1] in _RAYS:
        return None
    return "worker" if found[1] == "RayTrainWorker" else "actor"


def title(process: psutil.Process) -> str:
    """What the process calls itself; empty where it has ended meanwhile."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def candidates(cluster: RayHosts, kill: Kill) -> list[psutil.Process]:
    """Those that the kill may hit now, in an order that does not depend on process ids alone."""
    if kill.kind == "driver":
        return cluster.processes(DRIVER)[:1]
    if kill.kind == "raylet":
        return [one for one in cluster.processes(kill.host) if title(one).split(" ")[0].endswith("/raylet/raylet")]
    for hosts in ([kill.host], [host for host in HOSTS if host != kill.host]):
        found = [(title(one), one) for host in hosts if host not in cluster.off for one in cluster.processes(host)]
        fitting = [(told, one.create_time(), one.pid, one) for told, one in found if role(told) == kill.kind]
        if fitting:
            return [one for *_, one in sorted(fitting, key=lambda each: each[:3])]
    return []


def strike(cluster: RayHosts, kill: Kill) -> str | None:
    """Kill it; what was killed. None where there is no such process now."""
    if kill.kind == "host":
        if kill.host in cluster.off:
            return None
        cluster.power_off(kill.host)
        return kill.host
    found = candidates(cluster, kill)
    if not found:
        return None
    victim = found[int(kill.pick * len(found))]
    told = title(victim).split(" ")
    with suppress(psutil.NoSuchProcess):
        victim.kill()
        return "raylet" if kill.kind == "raylet" else "driver" if kill.kind == "driver" else told[0]
    return None
