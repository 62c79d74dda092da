"""Joining a Ray cluster, or starting one here that touches nobody else's.

`ray job submit` and a launcher set RAY_ADDRESS: then the job joins that cluster, or says in a sentence why it cannot. Otherwise a private
one starts on this machine, in a temporary folder of its own that is removed at the end.
"""

from __future__ import annotations

import glob
import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from codelib.core.cli import JobFailed

_PREFIX = "codelib-ray-"  # then the driver's process id
_PATIENCE_S = 10.0  # for a head that is about to open its port


def _sweep() -> None:
    """Remove the temporary folders of drivers that were killed; Ray's own processes end with their driver."""
    if not os.path.isdir("/proc/self"):  # no way to tell here who is alive
        return
    for folder in glob.glob(os.path.join(tempfile.gettempdir(), f"{_PREFIX}[0-9]*-*")):
        pid = int(os.path.basename(folder).split("-")[2])
        with suppress(FileNotFoundError):  # its driver ended in this moment
            if os.stat(folder).st_uid == os.geteuid() and not os.path.exists(f"/proc/{pid}"):
                shutil.rmtree(folder, ignore_errors=True)


def may_grow() -> bool:
    """Whether what the cluster lacks now may come with the work: one that was there before may have an autoscaler, but for one that a launcher
    made of a fixed allocation (CODELIB_CLUSTER_FIXED, slurm/ray_cluster.sh)."""
    return bool(os.environ.get("RAY_ADDRESS")) and not os.environ.get("CODELIB_CLUSTER_FIXED")


@contextmanager
def scratch() -> Iterator[str]:
    """A folder of this driver's disk for the length of a ``with`` block. What a killed driver left goes when the next one starts a Ray."""
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def connect(num_cpus: int | None = None, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
    """Ray for the length of a ``with`` block. num_cpus bounds a cluster started here; with RAY_ADDRESS set it raises ValueError, as an
    address or a token that cannot work does. Raises JobFailed where no head answers at RAY_ADDRESS.
    meanwhile: imports of which the driver has need later, done in a thread while it would wait."""
    # set before Ray is imported: a driver that starts its own cluster needs no dashboard metrics and no usage report
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this driver; its C++ side writes to stderr
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    address = os.environ.get("RAY_ADDRESS")
    if address == "local":  # Ray's word for one of its own: as without an address
        address = None
    if address:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # or a refused token is tried twenty times, for half a minute
    import ray
    from ray._private import auto_init_hook

    # a thread of Ray Data that outlives its job would join the cluster again, or start a Ray of its own. RAY_ENABLE_AUTO_CONNECT says so too,
    # but is read when Ray is imported, which others may have done
    auto_init_hook.enable_auto_connect = False
    if num_cpus is not None and num_cpus < 1:
        raise ValueError(f"--num-cpus {num_cpus}: at least 1")
    if ray.is_initialized():  # a test's cluster, or the caller's
        yield
        return
    threading.Thread(target=_imports, args=(meanwhile,), daemon=True).start()
    temp_folder = None
    terminate = signal.getsignal(signal.SIGTERM)
    if address:
        if num_cpus is not None:
            raise ValueError(f"--num-cpus {num_cpus}: the cluster is running already (RAY_ADDRESS is set); leave the option out")
        _join(address)
    else:
        # not below the workspace: a socket's path may have 107 characters at most
        _sweep()
        temp_folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
        with _in_time(), _quiet(), _alone():
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
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its threads that are cut off: the last words are the job's
        ray.shutdown()
        if temp_folder:
            shutil.rmtree(temp_folder, ignore_errors=True)


def _join(address: str) -> None:
    """Connect this driver. Ray itself tries a wrong address for minutes, and answers both mistakes with its own calls."""
    import ray

    if address != "auto":
        _check_reached(address)
    refused: Exception | None = None
    with _quiet():
        try:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            refused = error
        except RuntimeError as error:
            if "Version mismatch" not in str(error):
                raise
            refused = error
    if isinstance(refused, RuntimeError) and "Version mismatch" in str(refused):
        said = " ".join(str(refused).split())
        raise ValueError(
            f"RAY_ADDRESS={address}: {said}; install the cluster's Ray and Python here, or `ray job submit`"
        ) from refused
    if refused is None:
        return
    if "AuthenticationError" in f"{refused!r} {refused.__cause__!r}":  # Ray wraps one in the text of another
        raise ValueError(
            f"RAY_ADDRESS={address}: the cluster asks for its token, and this machine sent none or another; export RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN_PATH=FILE, the file that the head was started with (else ~/.ray/auth_token)"
        ) from refused
    raise JobFailed(f"RAY_ADDRESS={address}: {str(refused).splitlines()[0]}; is the head up? (ray status)") from refused


def _check_reached(address: str) -> None:
    """Raises ValueError for what is no address of a head, JobFailed where nothing listens there."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(
            f"RAY_ADDRESS={address}: give the head's HOST:PORT (6379 unless it was started with another); the dashboard's http://HOST:8265 is "
            "for `ray job submit --address`"
        )
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
            return
        except (OSError, UnicodeError) as error:  # a name that cannot be one, as `a..b`, is the latter
            unknown = isinstance(error, UnicodeError) or (isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN)
            if time.monotonic() > until or unknown:
                why = getattr(error, "strerror", None) or error
                raise JobFailed(
                    f"RAY_ADDRESS={address}: no Ray head answers there ({why}); is it up, and does this machine reach it?"
                ) from error
        time.sleep(0.5)


@contextmanager
def _in_time() -> Iterator[None]:
    """Ray 2.60 gives its parts 30 s to start, which nothing changes, and raises a bare Exception."""
    try:
        yield
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        raise JobFailed(
            "Ray did not start within the 30 s that it gives itself: this machine is busy with other work; run the same command again when "
            "it is less so"
        ) from None


def _imports(meanwhile: Callable[[], None] | None) -> None:
    with suppress(ImportError):  # said by whoever needs it
        import ray.data  # noqa: F401

        if meanwhile:
            meanwhile()


@contextmanager
def _alone() -> Iterator[None]:
    """Start a Ray for one driver without what nobody would ask: Ray 2.60 starts the dashboard's server although it is told not to, an
    autoscaler of one machine, and a reader of logs that are sent to nobody; each is a Python of its own, and the driver waits for some.
    There is no option for it; a Ray that names these things otherwise starts them as it always did."""
    from ray._private.node import Node

    def without_dashboard(node: Any, **options: Any) -> None:
        node._webui_url = ""

    def nothing(node: Any) -> None:
        pass

    others = {"start_api_server": without_dashboard, "start_monitor": nothing, "start_log_monitor": nothing}
    kept = {name: getattr(Node, name) for name in others if hasattr(Node, name)}
    try:
        for name in kept:
            setattr(Node, name, others[name])
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


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
