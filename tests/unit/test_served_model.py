"""Answers of a model that a launcher serves are known by the model, and those of a server by its address."""

import pytest

from codelib.evaluate.variants import Variant, fingerprint


def test_a_served_model_is_the_same_at_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    beside, named = (Variant(name="a", model="m", engine="openai", base_url=url) for url in (None, "http://there/v1"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://10.0.0.1:8000/v1")
    monkeypatch.delenv("CODELIB_SERVED", raising=False)
    at_one = fingerprint(beside)
    monkeypatch.setenv("CODELIB_SERVED", "vllm:/models/m")
    served, elsewhere = fingerprint(beside), fingerprint(named)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://10.0.0.2:8000/v1")
    assert fingerprint(beside) == served != at_one
    assert fingerprint(named) == elsewhere != served
