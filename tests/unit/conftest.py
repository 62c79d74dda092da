"""One server that translates, for all unit tests that ask one: a process of its own (tests/llm_server.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import llm_server


@pytest.fixture(scope="session")
def llm_process() -> Iterator[llm_server.Running]:
    with llm_server.started() as running:
        yield running


@pytest.fixture
def server(llm_process: llm_server.Running, monkeypatch: pytest.MonkeyPatch) -> llm_server.Running:
    """Well-behaved and without a memory of the last test."""
    for name in ("TEST_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, llm_server.KEY)
    llm_process.control()
    return llm_process
