"""A worker that dies while it writes leaves a file of its own; the job that goes on without it takes that away (found by a fault drill)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codelib.core import stage as stages
from codelib.core.stage import Stage, Work
from codelib.core.store import TEMPORARY, Store
from codelib.data import release
from codelib.data.release import FILES


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.startswith(TEMPORARY)]


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_stage_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    stage, store = Stage("published", 1, FILES, len, unit="files"), Store(str(tmp_path))

    def compute(stage: Stage, todo: list[tuple[str, Work]], store: Store, private: Store | None) -> dict[str, dict]:
        for key, _ in todo:
            meta = {stages._META: json.dumps({"rows": 0, "counts": {}}).encode()}
            store.commit_table(f"stages/published/{key}.parquet", FILES.schema.empty_table().replace_schema_metadata(meta))
        (tmp_path / "stages" / "published" / f"{TEMPORARY}of-a-worker-that-died").write_bytes(b"half")
        return {key: {"rows": 0, "counts": {}} for key, _ in todo}

    monkeypatch.setattr(stages, "_compute", compute)
    stages.run(stage, [Work(())], store, keep=keep)
    assert _left(tmp_path) == []


def test_nothing_half_written_stays_in_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "release" / "Images" / "Photographs"
    images.mkdir(parents=True)
    (images / f"{TEMPORARY}0001-001-01.jpg-5b1c").write_bytes(b"half a photograph")
    monkeypatch.setattr(release, "run", lambda *args: [])
    store = Store(str(tmp_path / "release"))
    stage = Stage("published", 1, FILES, len, unit="files")
    assert release.run_writing(stage, [], "Images", Store(str(tmp_path)), store, Store(str(tmp_path))) == {}
    assert _left(tmp_path) == []
