"""RAY_ADDRESS that cannot work is answered before Ray is asked, which tries for minutes."""

from __future__ import annotations

import socket

import pytest

from codelib.core import cluster
from codelib.core.cli import JobFailed
from codelib.core.cluster import connect


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address of this machine that nobody listens at."""
    monkeypatch.setattr(cluster, "_PATIENCE_S", 0.0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_an_address_where_nobody_listens(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nobody)
    with pytest.raises(JobFailed, match=f"RAY_ADDRESS={nobody}: no Ray head answers there"), connect():
        pass


def test_a_host_that_nobody_knows(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "no.such.host.invalid:6379")
    with pytest.raises(JobFailed, match="no Ray head answers there"), connect():
        pass


def test_another_ray_or_python_than_the_clusters(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import check_version_info

    def init(**options: object) -> None:
        check_version_info({"ray_version": "2.9.0", "python_version": "3.10.1"}, "this process")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ValueError, match=r"RAY_ADDRESS=auto: Version mismatch: .* Ray: 2\.9\.0 .*; install the cluster's Ray"):
        cluster._join("auto")


def test_a_name_that_no_host_can_have(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head..clinic:6379")
    with pytest.raises(JobFailed, match="no Ray head answers there"), connect():
        pass


def test_a_name_service_that_is_late_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head's name in Kubernetes is known a moment after the head."""
    answers: list[Exception | socket.socket] = [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        socket.socket(),
    ]

    def connection(*args: object, **options: object) -> socket.socket:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(cluster.socket, "create_connection", connection)
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    cluster._check_reached("head:6379")
    assert answers == []


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001", "127.0.0.1", "head:", ":6379", "head:²", "head:65536"]
)
def test_what_is_no_address_of_a_head(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's address is what `ray job submit` wants in RAY_ADDRESS, so it is easily left there."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match="give the head's HOST:PORT"), connect():
        pass
