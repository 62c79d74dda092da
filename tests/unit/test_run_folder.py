"""A run's folder: which run it is, told by what it was begun with."""

import json
from pathlib import Path

import pytest

from codelib.train.run_folder import RunFolder
from codelib.train.settings import TrainSettings


def test_a_setting_that_came_later_counts_as_its_default(tmp_path: Path) -> None:
    asked = {"settings": TrainSettings().fingerprint(), "data_sha256": "x"}
    begun = {name: value for name, value in asked["settings"].items() if name != "max_validation_samples"}
    (tmp_path / "settings.json").write_text(json.dumps({"settings": begun, "data_sha256": "x"}))
    folder = RunFolder(tmp_path)
    folder.check_identity(asked)
    folder.check_identity(asked, only=True)
    other = {"settings": asked["settings"] | {"max_validation_samples": 5}, "data_sha256": "x"}
    for only in (False, True):
        with pytest.raises(ValueError, match="max_validation_samples: 2000 -> 5"):
            folder.check_identity(other, only=only)
    with pytest.raises(ValueError, match="learning_rate"):
        folder.check_identity({"settings": asked["settings"] | {"learning_rate": 1.0}, "data_sha256": "x"})
