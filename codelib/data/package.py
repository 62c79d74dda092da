"""A verified release on its way out: one zip, or a dataset repository of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from codelib.core.cli import JobFailed
from codelib.core.store import Store
from codelib.data.verify_files import SUMS, read_sums

ROOT = "dataset"  # the folder inside the archive: fixed, since an archive's bytes may not depend on what it is called
_BLOCK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time a zip can tell
_TOKEN = "HF_TOKEN"


def target(folder: Path, given: str) -> Path:
    """Where the archive will be. Raises ValueError where that cannot be."""
    path = Path(given)
    if path.suffix != ".zip":
        raise ValueError(f"--zip {given}: give a file that ends in .zip")
    if path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--zip {given}: lies inside the release, and would be a part of itself; give a place outside")
    if not path.parent.is_dir():
        raise ValueError(f"--zip {given}: its folder does not exist; create it first")
    return path


def pack(folder: Path, archive: Path) -> str:
    """Write the archive and its sum beside it; returns its sha256. Same content, same bytes, on any machine.

    Everything is stored and nothing deflated: pictures and Parquet are compressed already, and deflate's bytes differ between versions of
    zlib. Each file is held against SHA256SUMS while it is read. Raises JobFailed where one changed since it was verified.
    """
    sums = read_sums(folder)
    store = Store(str(archive.parent.resolve()))
    spool = archive.with_name(f".tmp-{archive.name}")
    try:
        with zipfile.ZipFile(spool, "w", zipfile.ZIP_STORED) as out:
            for path in [*sorted(sums), SUMS]:
                _add(out, folder, path, sums.get(path))
        sha256 = store.commit_stream(archive.name, _blocks(spool))
    finally:
        spool.unlink(missing_ok=True)
    store.commit(f"{archive.name}.sha256", f"{sha256}  {archive.name}\n".encode())
    return sha256


def _add(out: zipfile.ZipFile, folder: Path, path: str, expected: str | None) -> None:
    entry = zipfile.ZipInfo(f"{ROOT}/{path}", _EPOCH)
    entry.create_system, entry.external_attr = 3, 0o100644 << 16  # as on Unix, wherever it is made
    entry.file_size = (folder / path).stat().st_size  # from 2 GiB on the header needs another form
    found = hashlib.sha256()
    with out.open(entry, "w") as target:
        for block in _blocks(folder / path):
            found.update(block)
            target.write(block)
    if expected is not None and found.hexdigest() != expected:
        raise JobFailed(f"{folder}: a file changed since it was verified; verify it again")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            yield block


def token(repo_id: str) -> str:
    """The token of the environment. Raises ValueError where it or the repository's name cannot be used; nobody is asked."""
    if not re.fullmatch(r"[\w.\-]{1,96}/[\w.\-]{1,96}", repo_id):
        raise ValueError(f"--upload {repo_id}: a repository is owner/name")
    given = os.environ.get(_TOKEN, "").strip()
    if not given:
        raise ValueError(f"--upload {repo_id}: no token; put one that may write into {_TOKEN} (huggingface.co/settings/tokens)")
    return given


def upload(folder: Path, repo_id: str, token: str) -> str:
    """Create the repository, private, where it is not there, and put the files of SHA256SUMS into it in one commit; returns its address.

    Only what was verified travels. Raises JobFailed in one sentence where the server refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        adds = [CommitOperationAdd(path, str(folder / path)) for path in [*sorted(read_sums(folder)), SUMS]]
        made = api.create_commit(repo_id, adds, repo_type="dataset", commit_message="Upload a verified release")
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else "no"
        raise JobFailed(
            f"--upload {repo_id}: the server answered {code}; check the token's rights and the name, and run again"
        ) from None
    except OSError as error:
        raise JobFailed(f"--upload {repo_id}: {type(error).__name__} on the way; check the network and run again") from None
    return str(made.repo_url)
