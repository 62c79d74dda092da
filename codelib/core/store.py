"""Where tables and files lie: a path or an fsspec URI, with a commit that is never seen half done.

On a file system a commit is a temporary file in the same folder, fsync and rename; on an object store (codelib.core.objects) one whole-object
PUT. Opening a file for writing and failing half way would commit the half, so nothing here does that.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codelib.core.objects import is_object_store, open_uri

TEMPORARY = ".tmp-"
_BLOCK = 8 << 20
ROW_GROUP = 256  # rows; small enough that one row with pixels is read without the rest


@dataclass(frozen=True)
class Store:
    """A folder that holds files by relative name. Cheap to copy into a worker."""

    root: str
    mode: int = 0o755
    _fs: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (self.root, self.mode))

    def _open(self) -> tuple[Any, str]:
        if not self._fs:
            self._fs.append(open_uri(self.root))
        return self._fs[0]

    @property
    def is_local(self) -> bool:
        return "://" not in self.root or self.root.startswith("file://")

    def path(self, name: str = "") -> str:
        """The name as the file system knows it."""
        _, base = self._open()
        return f"{base.rstrip('/')}/{name}" if name else base

    def is_a_file(self) -> bool:
        """Whether a file stands where the folder should be. Raises StorageError where an object store does not let us in."""
        fs, base = self._open()
        if is_object_store(self.root):
            fs.reach(base)
            return bool(fs.isfile(base))
        return bool(self.is_local and os.path.exists(base) and not os.path.isdir(base))

    def exists(self, name: str) -> bool:
        return bool(self._open()[0].exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        return bytes(self._open()[0].cat_file(self.path(name)))

    def size_bytes(self, name: str) -> int:
        """Raises FileNotFoundError."""
        return int(self._open()[0].size(self.path(name)))

    def open(self, name: str) -> Any:
        """A committed file for reading, anywhere in it. Raises FileNotFoundError."""
        return self._open()[0].open(self.path(name), "rb")

    def commit(self, name: str, content: bytes) -> str:
        """Make ``name`` hold ``content``, wholly or not at all. Returns its sha256."""
        return self.commit_stream(name, (content,))

    def commit_stream(self, name: str, chunks: Iterable[bytes], mode: int | None = None) -> str:
        """The same for content that is too large to hold. mode: of the file, where the store is a file system (default: the store's)."""
        sha256 = hashlib.sha256()

        def counted() -> Iterator[bytes]:
            for chunk in chunks:
                sha256.update(chunk)
                yield chunk

        if self.is_local:
            with self._written(name, counted(), mode) as temporary:
                os.replace(temporary, self.path(name))
        else:
            with tempfile.NamedTemporaryFile() as spool:
                for chunk in counted():
                    spool.write(chunk)
                spool.flush()
                self._open()[0].put_file(spool.name, self.path(name))
        return sha256.hexdigest()

    @contextmanager
    def _written(self, name: str, chunks: Iterable[bytes], mode: int | None = None) -> Iterator[str]:
        """A whole temporary file beside ``name``, to be renamed in the block; gone after it where it was not."""
        folder, base = os.path.split(self.path(name))
        os.makedirs(folder, mode=self.mode, exist_ok=True)
        temporary = os.path.join(folder, f"{TEMPORARY}{base}-{uuid.uuid4().hex[:8]}")
        mode = (self.mode if mode is None else mode) & 0o666
        try:
            # made with its mode: nobody may open it in between
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                for chunk in chunks:
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            os.chmod(temporary, mode)
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def commit_together(self, files: Mapping[str, bytes], last: str, gone: Iterable[str] = ()) -> None:
        """Make these files hold what belongs together. ``last``, one of them, is away while the others change: whoever finds it finds them as
        they were committed with it. gone: of before, and no more. On a file system a full disk leaves all as they were."""
        others = [name for name in files if name != last]
        with ExitStack() as stack:
            if self.is_local:
                written = {name: stack.enter_context(self._written(name, (content,))) for name, content in files.items()}
            for name in (last, *gone):
                self.delete(name)
            for name in (*others, last):
                if self.is_local:
                    os.replace(written[name], self.path(name))
                else:
                    self.commit(name, files[name])

    def commit_json(self, name: str, value: Any, mode: int | None = None) -> str:
        content = json_bytes(value)
        return self.commit(name, content) if mode is None else self.commit_stream(name, (content,), mode)

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def delete(self, name: str) -> None:
        fs, _ = self._open()
        if fs.exists(self.path(name)):
            fs.rm(self.path(name), recursive=True)

    def names(self, folder: str) -> list[str]:
        """Names of all files below a folder, relative to the store, sorted; temporary leftovers are not among them."""
        fs, _ = self._open()
        base = self.path()
        if not fs.exists(self.path(folder)):
            return []
        found = (path[len(base) :].lstrip("/") for path in fs.find(self.path(folder)))
        return sorted(name for name in found if not os.path.basename(name).startswith(TEMPORARY))

    def listing(self) -> dict[str, dict[str, Any]]:
        """Every file with its ``size`` and ``mtime`` (None where the storage does not say). What a killed writer left is among them."""
        fs, base = self._open()
        found = fs.find(base, detail=True) if fs.exists(base) else {}
        return {
            path[len(base) :].lstrip("/"): {"size": about["size"], "mtime": about.get("mtime")}
            for path, about in sorted(found.items())
        }

    def top(self) -> list[str]:
        """Names that lie directly in the folder, of files and folders; none where it is not there."""
        fs, base = self._open()
        return sorted(os.path.basename(path.rstrip("/")) for path in fs.ls(base, detail=False)) if fs.exists(base) else []

    def download(self, name: str, path: str) -> None:
        """A committed file as a local one. Raises FileNotFoundError."""
        self._open()[0].get_file(self.path(name), path)

    def commit_file(self, name: str, path: str | os.PathLike[str]) -> str:
        """Make ``name`` hold what a local file holds."""
        with open(path, "rb") as file:
            return self.commit_stream(name, iter(lambda: file.read(_BLOCK), b""))

    def sweep(self, folder: str = "", below: bool = True) -> None:
        """Remove what a killed writer left behind in a folder, at any depth or (``below`` false) in it alone."""
        fs, _ = self._open()
        if self.is_local and fs.exists(self.path(folder)):
            for path in fs.find(self.path(folder), maxdepth=None if below else 1):
                if os.path.basename(path).startswith(TEMPORARY):
                    with suppress(OSError):
                        os.unlink(path)

    # tables

    def commit_table(self, name: str, table: pa.Table, row_group_rows: int = ROW_GROUP) -> None:
        self.commit(name, parquet_bytes(table, row_group_rows))

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        # in this thread: partitions are small, Ray brings the parallelism, and pyarrow's pool of readers can abort a process at its exit
        if columns is None:
            return pq.ParquetFile(io.BytesIO(self.read(name))).read(use_threads=False)
        with self._open()[0].open(self.path(name), "rb") as source:  # keys without the pixels beside them
            return pq.ParquetFile(source).read(columns=list(columns), use_threads=False)

    def read_metadata(self, name: str) -> dict[bytes, bytes]:
        """Key-value metadata of a committed table, without reading its rows."""
        with self._open()[0].open(self.path(name), "rb") as source:
            return dict(pq.read_schema(source).metadata or {})


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode()


def parquet_bytes(table: pa.Table, row_group_rows: int = ROW_GROUP) -> bytes:
    """The table as Parquet: same table, same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=row_group_rows)
    return sink.getvalue()


@dataclass(frozen=True)
class Workspace:
    """A workspace: the public room, and the locked one (mode 0700) that may lie at a URI of its own."""

    public: Store
    private: Store

    @staticmethod
    def at(folder: str, private: str | None = None) -> Workspace:
        """Raises ValueError where a file stands in the way."""
        public = Store(folder)
        locked = Store(private or f"{folder.rstrip('/')}/private", mode=0o700)
        for store in (public, locked):
            if store.is_a_file():
                raise ValueError(f"--workspace {store.root}: a file stands there; give a folder")
        if os.path.normpath(public.path()) == os.path.normpath(locked.path()):
            raise ValueError(f"--private-room {locked.root}: the same as the workspace; it needs a folder of its own")
        return Workspace(public, locked)

    def create(self) -> None:
        """Make the two rooms, and see that the private one is locked."""
        for store in (self.public, self.private):
            if store.is_local:
                os.makedirs(store.path(), mode=store.mode, exist_ok=True)
        if self.private.is_local:
            os.chmod(self.private.path(), 0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One job at a time in a workspace. The lock goes with the process, however it ends. On an object store it keeps out other jobs
        of this machine alone (docs/storage.md)."""
        busy = f"--workspace {self.public.root}: another job is working there; wait for it or use another workspace"
        with exclusive(lock_file(self.private), busy):
            yield


def lock_file(folder: Store) -> str:
    """Where the lock of a folder lies: in it, and for an object store, which has none, on this machine."""
    if folder.is_local:
        return folder.path("lock")
    name = hashlib.sha256(folder.root.rstrip("/").encode()).hexdigest()[:24]
    # Slurm's launcher gives each job a temporary folder of its own, below CODELIB_TMP
    return os.path.join(os.environ.get("CODELIB_TMP") or tempfile.gettempdir(), f"codelib-{os.geteuid()}-{name}.lock")


@contextmanager
def exclusive(path: str | os.PathLike[str], busy: str) -> Iterator[None]:
    """Hold a lock file on a local disk; it goes with the process, however that ends. Raises ValueError(busy) where another holds it."""
    with open(path, "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(busy) from None
        yield
