"""Starting a private Ray: what other drivers leave and take away, and a machine that is too busy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from codelib.core import cluster
from codelib.core.cli import JobFailed


def test_folders_of_drivers_that_are_gone_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, alive, other = (
        tmp_path / name for name in ("codelib-ray-999999999-a", f"codelib-ray-{os.getpid()}-b", "codelib-ray-x-c")
    )
    for folder in (dead, alive, other):
        folder.mkdir()
    cluster._sweep()
    assert sorted(tmp_path.iterdir()) == sorted([alive, other])


def test_a_folder_that_its_driver_removes_at_the_same_time_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.glob, "glob", lambda pattern: [str(tmp_path / "codelib-ray-999999999-gone")])
    cluster._sweep()


def test_a_ray_that_does_not_start_in_time_is_one_sentence() -> None:
    with pytest.raises(JobFailed, match="busy"), cluster._in_time():
        raise Exception(
            "The current node timed out during startup. This could happen because some of the raylet failed to startup"
        )
    with pytest.raises(ZeroDivisionError), cluster._in_time():
        raise ZeroDivisionError
