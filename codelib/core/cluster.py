"""Joining a Ray cluster, or starting one here that touches nobody else's.

`ray job submit` and a launcher set RAY_ADDRESS: then the job joins that cluster. Otherwise a private one starts on this machine, in a
temporary folder of its own that is removed at the end.
"""

from __future__ import annotations

import glob
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PREFIX = "codelib-ray-"  # then the driver's process id


def _sweep() -> None:
    """Remove the temporary folders of drivers that were killed; Ray's own processes end with their driver."""
    if not os.path.isdir("/proc/self"):  # no way to tell here who is alive
        return
    for folder in glob.glob(os.path.join(tempfile.gettempdir(), f"{_PREFIX}[0-9]*-*")):
        pid = int(os.path.basename(folder).split("-")[2])
        if os.stat(folder).st_uid == os.geteuid() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[str]:
    """A folder of this driver's disk for the length of a ``with`` block. What a killed driver left goes when the next one starts a Ray."""
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connect(num_cpus: int | None = None) -> Iterator[None]:
    """Ray for the length of a ``with`` block. num_cpus bounds a cluster started here; with RAY_ADDRESS set it raises ValueError."""
    # set before Ray is imported: a driver that starts its own cluster needs no dashboard metrics and no usage report
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this driver; its C++ side writes to stderr
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    import ray

    if num_cpus is not None and num_cpus < 1:
        raise ValueError(f"--num-cpus {num_cpus}: at least 1")
    if ray.is_initialized():  # a test's cluster, or the caller's
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    temp_folder = None
    terminate = signal.getsignal(signal.SIGTERM)
    if address:
        if num_cpus is not None:
            raise ValueError(f"--num-cpus {num_cpus}: the cluster is running already (RAY_ADDRESS is set); leave the option out")
        with _quiet():
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    else:
        # not below the workspace: a socket's path may have 107 characters at most
        _sweep()
        temp_folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
        with _quiet():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
                _temp_dir=f"{temp_folder}/ray",  # Ray opens its own folder to all; the one above stays ours
            )
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in its place, which ends a job without a word
    quiet_ray_data()
    try:
        yield
    finally:
        ray.shutdown()
        if temp_folder:
            shutil.rmtree(temp_folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray's C++ side writes to stderr while it starts; show it where starting fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def quiet_ray_data() -> None:
    """Our own progress speaks; Ray Data's bars and plans do not."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
