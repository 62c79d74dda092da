"""One local Ray for the Ray tests that work in this process; tests of processes (signals, kills, CPUs) start their own."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import pytest

from codelib.synthetic.export import generate
from tests import here, llm_server, seeing_server
from tests.jobs import run


def pytest_collection_modifyitems(items):
    for item in items:
        if f"{os.sep}ray{os.sep}" in str(item.path):
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="package")  # the tests of other folders need its memory and processors
def cluster(tmp_path_factory):
    import ray

    here.traces = tmp_path_factory.mktemp("traces")
    # what workers find in their environment is fixed when their Ray starts
    with mock.patch.dict(os.environ, CODELIB_TRACE=str(here.traces), TEST_KEY=llm_server.KEY):
        started = _connected()
    try:
        yield ray
    finally:
        here.traces = None
        started.__exit__(None, None, None)


def _connected(tries: int = 5) -> AbstractContextManager[None]:
    """Ray's raylet ends where its agent takes more than 15 s to start, which is fixed in its code and too few on a machine that does much
    else. Here all tests would fail with it."""
    import ray

    from codelib.core.cluster import connect

    started = connect(num_cpus=2)
    try:
        started.__enter__()
    except Exception:
        ray.shutdown()
        if tries == 1:
            raise
        return _connected(tries - 1)
    return started


Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Shared:
    """shared(name, make): a folder that the first test to ask for it makes with ``make(folder)``, for all test processes to read."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    root.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / name).exists():
                (root / f"{name}.part").mkdir()
                make(root / f"{name}.part")
                (root / f"{name}.part").rename(root / name)
        return root / name

    return made


@pytest.fixture
def clinic_of_60(shared, tmp_path) -> Path:
    """A synthetic export of two batches, to change."""
    made = shared("clinic-of-60", lambda folder: generate(folder / "clinic", visits=60, seed=9))
    return Path(shutil.copytree(made / "clinic", tmp_path / "clinic"))


@pytest.fixture(scope="session")
def real_workspace(shared) -> Path:
    """The workspace of `jobs.dataset` on the real export, to read; what the job said lies beside it in said.txt."""
    from tests.conftest import REAL_DATA

    if not (REAL_DATA / "clinic-export").is_dir():
        pytest.skip(f"no real data here ({REAL_DATA}; set CODELIB_REAL_DATA)")

    def make(folder: Path) -> None:
        before = {p: p.stat().st_mtime_ns for p in (REAL_DATA / "clinic-export").rglob("*")}
        said = run("dataset", "--input", REAL_DATA / "clinic-export", "--workspace", folder / "work")
        (folder / "said.txt").write_text(said, encoding="utf-8")
        assert {p: p.stat().st_mtime_ns for p in (REAL_DATA / "clinic-export").rglob("*")} == before

    return shared("real", make) / "work"


# for the tests of jobs.evaluate: a server that answers by what it sees, and a release for it


@pytest.fixture
def server() -> Iterator[seeing_server.FakeServer]:
    with seeing_server.started() as fake:
        yield fake


@pytest.fixture
def dataset(tmp_path) -> Path:
    return seeing_server.make_dataset(tmp_path / "release")
