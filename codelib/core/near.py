"""Near copies: a folder of an object store on the node's own disk, for code that opens many small files or maps large ones.

    near = Near.of("s3://bucket/workspace/release")        on the driver: what there is, and where its copy will lie, on every node alike
    near.ensure()                                     on any node: download what is missing, once a node, checked by SHA256SUMS

    CODELIB_CACHE/<name>/         the copy. A file has its name only when its content was checked, so a killed download goes on
    CODELIB_CACHE/<name>.lock     held while one process downloads; the others of the node wait
    CODELIB_CACHE/<name>.use      held (shared) by whoever reads it; a copy that nobody holds goes at the job's end, or when another is made

The copy holds what the release holds, so the cache is a locked folder, and a copy does not outlive its job by more than a kill.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codelib.core.objects import StorageError
from codelib.core.store import TEMPORARY, Store

SUMS = "SHA256SUMS"
_THREADS = 16  # hides the latency of many small objects
_PATIENCE_S = 5.0
_COMPLETE = "complete"  # written last, beside the copy
_HELD: dict[str, Any] = {}  # of this process: open lock files


def cache_folder() -> str:
    """Where copies lie: $CODELIB_CACHE, else a folder of this user's in the temporary one."""
    return os.environ.get("CODELIB_CACHE") or os.path.join(tempfile.gettempdir(), f"codelib-near-{os.geteuid()}")


@dataclass(frozen=True)
class Near:
    """A copy to be: of ``uri``, without the folders ``skip``, in ``folder``."""

    uri: str
    folder: str
    skip: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where its files lie, on every node alike."""
        return Path(self.folder, self.uri.rpartition("/")[2])

    @staticmethod
    def of(uri: str, skip: Sequence[str] = ()) -> Near:
        """Raises ValueError where there is nothing, StorageError where the store does not let us look."""
        found = _listing(Store(uri), skip)
        if not found:
            raise ValueError(f"{uri}: nothing there; give the folder of a dataset, model or adapter")
        if any("private" in name.split("/")[:-1] for name in found):
            raise ValueError(
                f"{uri}: there is a workspace, and its private room is copied nowhere; give the folder in it that is meant"
            )
        told = repr((uri.rstrip("/"), sorted((name, about["size"], str(about["mtime"])) for name, about in found.items())))
        return Near(uri.rstrip("/"), os.path.join(cache_folder(), hashlib.sha256(told.encode()).hexdigest()[:24]), tuple(skip))

    def ensure(self) -> Path:
        """The copy, complete and held by this process until it ends or `let_go`."""
        self._hold()
        if not os.path.exists(os.path.join(self.folder, _COMPLETE)):
            with open(f"{self.folder}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process that downloads, however it ends
                if not os.path.exists(os.path.join(self.folder, _COMPLETE)):
                    remove_unused(but=self.folder)
                    self._download()
        return self.path

    @contextmanager
    def held(self) -> Iterator[Path]:
        """For a task in a process that lives on."""
        mine = self.folder not in _HELD
        try:
            yield self.ensure()
        finally:
            if mine:
                self.let_go()

    def let_go(self) -> None:
        if self.folder in _HELD:
            _HELD.pop(self.folder).close()

    def remove(self) -> None:
        """Remove the copy of this node, where no other process holds it; workers of a job that ended take a moment to go."""
        self.let_go()
        until = time.monotonic() + _PATIENCE_S
        while not _remove(self.folder) and time.monotonic() < until:
            time.sleep(0.1)

    def _hold(self) -> None:
        root = os.path.dirname(self.folder)
        os.makedirs(root, mode=0o700, exist_ok=True)
        if os.stat(root).st_uid != os.geteuid() or os.stat(root).st_mode & 0o077:
            raise ValueError(
                f"{root}: must be this user's own and closed to others (mode 0700); set CODELIB_CACHE to such a folder"
            )
        while self.folder not in _HELD:
            handle = open(f"{self.folder}.use", "a")  # noqa: SIM115
            fcntl.flock(handle, fcntl.LOCK_SH)
            # somebody may have removed the copy, and this file with it, in between
            if os.path.exists(f"{self.folder}.use") and os.path.samestat(
                os.fstat(handle.fileno()), os.stat(f"{self.folder}.use")
            ):
                _HELD[self.folder] = handle
            else:
                handle.close()

    def _download(self) -> None:
        store = Store(self.uri)
        found = _listing(store, self.skip)
        if any(part in (".", "..") for name in found for part in name.split("/")):  # would be written beside the copy
            raise ValueError(f"{self.uri}: keys in it hold a folder named . or ..; that is no dataset or model of ours")
        sums = _sums(store) if SUMS in found else {}
        wanted = {name for name in sums if not _is_skipped(name, self.skip)}
        if lacking := len(wanted - found.keys()):
            raise ValueError(f"{self.uri}: {lacking} files that its {SUMS} names are not there; copy the folder again")
        need, free = sum(about["size"] for about in found.values()), _free(os.path.dirname(self.folder))
        have = (
            sum(path.stat().st_size for path in Path(self.folder).rglob("*") if path.is_file())
            if os.path.isdir(self.folder)
            else 0
        )
        if need - have > free:
            raise ValueError(
                f"{self.uri}: its copy takes {need / 2**30:.1f} GiB, and {os.path.dirname(self.folder)} has {free / 2**30:.1f} GiB free; "
                "set CODELIB_CACHE to a folder on a larger disk of the node"
            )
        with ThreadPoolExecutor(_THREADS) as pool:
            jobs = [pool.submit(self._fetch, store, name, about, sums.get(name)) for name, about in found.items()]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        Path(os.path.join(self.folder, _COMPLETE)).touch()

    def _fetch(self, store: Store, name: str, about: dict[str, Any], sha256: str | None) -> None:
        target = os.path.join(self.path, name)
        if os.path.exists(target) and os.path.getsize(target) == about["size"]:
            return  # a file that stands under its name was checked
        os.makedirs(os.path.dirname(target), exist_ok=True)
        half = os.path.join(os.path.dirname(target), f"{TEMPORARY}{os.path.basename(target)}")
        store.download(name, half)
        with open(half, "rb") as file:
            came = hashlib.file_digest(file, "sha256").hexdigest()
        if os.path.getsize(half) != about["size"] or (sha256 is not None and came != sha256):
            os.unlink(half)
            # without its name: it may be a hospital's
            if sha256 is None:
                raise ValueError(f"{self.uri}: a file changed while it was copied to this machine; run the same command again")
            raise ValueError(f"{self.uri}: a file is not what its {SUMS} says; copy the folder again, or build the release anew")
        if about["mtime"] is not None:  # the same on every node and at every download: partitions are known by it
            seconds = about["mtime"].timestamp()
            os.utime(half, (seconds, seconds))
        os.replace(half, target)


def _listing(store: Store, skip: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {name: about for name, about in store.listing().items() if not _is_skipped(name, skip)}


def _is_skipped(name: str, skip: Sequence[str]) -> bool:
    return any(name.startswith(f"{folder}/") for folder in skip)


def _sums(store: Store) -> dict[str, str]:
    lines = store.read(SUMS).decode("utf-8").splitlines()
    return {line[66:]: line[:64] for line in lines if len(line) > 66}


def _free(folder: str) -> int:
    return shutil.disk_usage(folder).free


def remove_unused(but: str = "") -> None:
    """What jobs that were killed have left on this machine."""
    with suppress(FileNotFoundError):
        for name in os.listdir(cache_folder()):
            folder = os.path.join(cache_folder(), name.removesuffix(".use"))
            if name.endswith(".use") and folder != but:
                _remove(folder)


def _remove(folder: str) -> bool:
    """False where somebody reads it."""
    with suppress(FileNotFoundError), open(f"{folder}.use", "r+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, _COMPLETE))  # first: what is half removed must not look complete
        shutil.rmtree(folder, ignore_errors=True)
        for end in (".lock", ".use"):
            with suppress(FileNotFoundError):
                os.unlink(f"{folder}{end}")
    return True


def remove_everywhere(copies: Sequence[Near]) -> None:
    """At a job's end, from its driver: the copies of all nodes of the connected cluster, and of this one."""
    remove_elsewhere(copies)
    _remove_all(copies)


def remove_elsewhere(copies: Sequence[Near]) -> None:
    """Those of the connected cluster's nodes, once its workers have ended; what this process holds stays."""
    if not copies or "ray" not in sys.modules:
        return
    import ray

    if not ray.is_initialized():
        return
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with suppress(ray.exceptions.RayError):
        here = ray.get_runtime_context().get_node_id()
        task: Any = ray.remote(num_cpus=0, max_retries=0)(_remove_all)
        sent = [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(list(copies))
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] != here
        ]
        ray.wait(sent, num_returns=len(sent), timeout=60) if sent else None


def _remove_all(copies: Sequence[Near]) -> None:
    for copy in copies:
        with suppress(OSError, StorageError):
            copy.remove()
