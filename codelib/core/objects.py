"""Object stores (s3://, gs://) behind fsspec's interface, through pyarrow's own clients: a dependency that is here anyway.

    open_uri("s3://bucket/workspace") ──> (file system, "bucket/workspace")

Credentials and endpoint come from where every tool of the cloud takes them: AWS_ACCESS_KEY_ID, AWS_PROFILE, a role of the machine or pod;
AWS_ENDPOINT_URL (MinIO, Ceph, OSS); GOOGLE_APPLICATION_CREDENTIALS or the machine's account. A file is one whole-object PUT: pyarrow commits
what was written when a stream is closed, and it is closed by an exception too, so the content is complete before a stream is opened.
Errors are said anew: pyarrow's own quote the key, and a clinic's keys hold numbers of patients.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper

P = ParamSpec("P")
R = TypeVar("R")

SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_TRIES, _CONNECT_S, _REQUEST_S, _GCS_S = 3, 5.0, 60.0, 20
_REFUSED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|AUTHENTICATION|UNRECOGNIZED_CLIENT|EXPIRED|PERMISSION_DENIED|OPT_IN"
    r"|UNAUTHENTICATED|credentials",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|UNAVAILABLE|DEADLINE|THROTTLING"
)
_CODE = re.compile(r"AWS Error ([A-Z_0-9]+)|Status\(([A-Z_]+)|(HTTP(?: status| response)? ?\w* ?\d{3})")


class StorageError(OSError):
    """An object store that does not do what it is asked. The message is a whole sentence that names no key: it may travel to a terminal."""


class StorageDown(StorageError):
    """It cannot be reached, or answers that it is busy: the same command may work later."""


def open_uri(uri: str) -> tuple[Any, str]:
    """File system and path of any path or fsspec URI. Raises ValueError where an s3:// or gs:// URI names no bucket."""
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme not in SCHEMES:
        found: tuple[Any, str] = fsspec.core.url_to_fs(uri)
        return found
    path = _plain(rest)
    if not path or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{uri}: give a bucket and a folder in it, without . and .., for example {scheme}://bucket/workspace")
    return file_system(SCHEMES[scheme], path.partition("/")[0]), path


def is_object_store(uri: str) -> bool:
    return uri.partition("://")[0] in SCHEMES and "://" in uri


def _plain(path: str) -> str:
    return re.sub("/+", "/", path).strip("/")


@functools.lru_cache(maxsize=16)
def file_system(scheme: str, bucket: str) -> Objects:
    """One a process: it holds the connections."""
    from pyarrow import fs

    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = (
            os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else _region(bucket))
        )
        client: Any = fs.S3FileSystem(
            endpoint_override=endpoint,
            region=region,
            connect_timeout=_CONNECT_S,
            request_timeout=_REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
            # Alibaba Cloud's OSS knows a bucket by its host name alone
            force_virtual_addressing=(urlsplit(endpoint or "").hostname or "").endswith(".aliyuncs.com"),
        )
        return Objects(client, endpoint=endpoint or "AWS")
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    kind, mark, host = emulator.rpartition("://")
    client = fs.GcsFileSystem(
        anonymous=bool(emulator),
        endpoint_override=host or None,
        scheme=(kind if mark else "http") if emulator else None,
        retry_time_limit=timedelta(seconds=_GCS_S),
    )
    return Objects(client, endpoint=emulator or "Google")


def _region(bucket: str) -> str | None:
    """Where AWS keeps the bucket; None, pyarrow's default, where it does not say."""
    from pyarrow import fs

    try:
        return str(fs.resolve_s3_region(bucket))
    except OSError:
        return None


def _said_anew(operation: Callable[P, R]) -> Callable[P, R]:
    """pyarrow's OSErrors as FileNotFoundError without a name, or StorageError."""

    @functools.wraps(operation)
    def safe(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return operation(*args, **kwargs)
        except StorageError:
            raise
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object") from None
        except OSError as error:
            if error.errno is not None:  # of a local disk
                raise
            store = args[0]
            assert isinstance(store, Objects)
            raise store.fault(str(error)) from None

    return safe


class Objects(ArrowFSWrapper):
    """What `Store` asks of a file system. Paths are bucket/key; names are taken as they are, whatever characters they hold."""

    cachable = False

    def __init__(self, client: Any, endpoint: str) -> None:
        super().__init__(client)
        self.endpoint = endpoint

    @classmethod
    def _strip_protocol(cls, path: str) -> str:  # the inherited one cuts a key at ? and #
        return path.strip("/") if "://" not in path else _plain(path.partition("://")[2])

    def unstrip_protocol(self, name: str) -> str:
        return f"{'s3' if self.fs.type_name == 's3' else 'gs'}://{self._strip_protocol(name)}"

    def fault(self, text: str) -> StorageError:
        """The sentence for what pyarrow said."""
        found = _CODE.search(text)
        code = next((group for group in found.groups() if group), "") if found else "an error"
        if "NO_SUCH_BUCKET" in text or "bucket does not exist" in text:
            return StorageError(f"the object store ({self.endpoint}) has no such bucket: make it, or mend its name in the URI")
        if _DOWN.search(text):
            return StorageDown(
                f"the object store ({self.endpoint}) is not reached or busy ({code}, tried {_TRIES} times): see that it is up and that "
                "AWS_ENDPOINT_URL, proxy and region are right; what is finished is kept, run the same command again"
            )
        if _REFUSED.search(text):
            return StorageError(
                f"the object store ({self.endpoint}) refuses these credentials ({code}): they need to list, read, write and delete in the "
                "bucket; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role, on every node (docs/storage.md)"
            )
        return StorageError(f"the object store ({self.endpoint}) answered with {code}; docs/storage.md says what it needs")

    @_said_anew
    def reach(self, path: str) -> None:
        """Raises StorageError where the bucket is not there or does not let us list: questions after one object only say "not found"."""
        from pyarrow.fs import FileSelector

        with suppress(FileNotFoundError):  # a folder that is not there yet
            self.fs.get_file_info(FileSelector(self._strip_protocol(path)))

    @_said_anew
    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> list[Any]:
        found: list[Any] = super().ls(path, detail, **kwargs)
        return found

    @_said_anew
    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().info(path, **kwargs)
        return found

    @_said_anew
    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any) -> Any:
        """One listing of 1000 keys a request, where the inherited one asks for each folder."""
        from pyarrow.fs import FileSelector, FileType

        base = self._strip_protocol(path)
        most = base.count("/") + (maxdepth or 10_000)
        [about] = self.fs.get_file_info([base])
        below = self.fs.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
        kinds = (FileType.File, FileType.Directory) if withdirs else (FileType.File,)
        wanted = [info for info in (about, *below) if info.type in kinds and info.path.count("/") <= most]
        found = {info.path: self._make_entry(info) for info in sorted(wanted, key=lambda info: info.path)}
        return found if detail else list(found)

    @_said_anew
    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        assert start is None and end is None, "Store reads whole objects, or opens them"
        with self.fs.open_input_stream(self._strip_protocol(path), compression=None) as stream:
            return bytes(stream.read())

    @_said_anew
    def get_file(self, rpath: str, lpath: str, **kwargs: Any) -> None:
        with self.fs.open_input_stream(self._strip_protocol(rpath), compression=None) as stream, open(lpath, "wb") as out:
            while block := stream.read(8 << 20):
                out.write(block)

    @_said_anew
    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        assert mode == "rb", "a stream for writing would commit half an object: put_file"
        return super()._open(self._strip_protocol(path), mode)

    @_said_anew
    def put_file(self, lpath: str, rpath: str, callback: Any = None, mode: str = "overwrite", **kwargs: Any) -> None:
        """Make the object of a local file's content, wholly or not at all."""
        import pyarrow as pa

        content = pa.memory_map(lpath).read_buffer() if os.path.getsize(lpath) else pa.py_buffer(b"")
        with self.fs.open_output_stream(self._strip_protocol(rpath), compression=None) as stream:
            stream.write(content)  # all of it in one call: nothing can come between, and a part that fails fails the close

    @_said_anew
    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        super().rm(path, recursive=recursive)
