"""Consent and ownership: what must fail closed before a run begins."""

import pytest

from codelib.core.store import Store, Workspace
from codelib.data import consent, start
from codelib.data.settings import DatasetSettings


def excluded(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "withdrawn.txt"
    path.write_bytes(text.encode(encoding))
    return consent.read_list(DatasetSettings(exclude=str(path))).out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_ids_as_people_write_them(tmp_path, encoding):
    text = "# withdrawn\n患者0002\n0003\n患者0004号\n\n患者0005 2022年3月5日 9：30\n"
    assert excluded(tmp_path, text, encoding) == {"2", "3", "4", "5 2022-03-05 09:30"}


@pytest.mark.parametrize("line", ["0004 王一", "患者0002,患者0003", "患者0002、患者0003", "0002 someday"])
def test_a_line_that_could_mean_something_else_is_refused(tmp_path, line):
    with pytest.raises(ValueError, match="line 2 is neither a patient id nor"):
        excluded(tmp_path, f"患者0001\n{line}\n")


def workspace(tmp_path, private="private"):
    made = Workspace.at(str(tmp_path / "work"), str(tmp_path / private))
    made.create()
    return made


def test_another_private_room_is_noticed(tmp_path):
    first = workspace(tmp_path)
    start.take(first, Store(str(tmp_path / "work" / "release")))
    start.check_owner(workspace(tmp_path), DatasetSettings(), reconfigure=False)
    with pytest.raises(ValueError, match="--private-room"):
        start.check_owner(workspace(tmp_path, "elsewhere"), DatasetSettings(), reconfigure=False)


def test_only_a_finished_run_owns_the_workspace(tmp_path):
    made = workspace(tmp_path)
    start.take(made, Store(str(tmp_path / "work" / "release")))
    start.check_owner(made, DatasetSettings(seed=1), reconfigure=False)
    start.sign(made, DatasetSettings(seed=1))
    with pytest.raises(ValueError, match="seed: 1 -> 2"):
        start.check_owner(made, DatasetSettings(seed=2), reconfigure=False)
    start.check_owner(made, DatasetSettings(seed=2), reconfigure=True)


def test_what_a_killed_run_left_is_removed(tmp_path):
    made, release = workspace(tmp_path), tmp_path / "work" / "release"
    (release / "Images").mkdir(parents=True)
    (release / "Images" / ".tmp-0001-001-01.jpg-abc").write_bytes(b"half")
    (tmp_path / "private" / ".tmp-ledger.csv-abc").write_bytes(b"half")
    start.take(made, Store(str(release)))
    assert not list(tmp_path.rglob(".tmp-*"))


def test_what_no_stage_depends_on_needs_no_reconfigure(tmp_path):
    made = workspace(tmp_path)
    start.take(made, Store(str(tmp_path / "work" / "release")))
    start.sign(made, DatasetSettings())
    second = {"timeout_s": 5, "max_retries": 1, "strings_a_request": 3, "key_env": "OTHER"}
    patient = {"k_anonymity": {"date": "year", "levels": [2]}, "annotate": {"second_pass": second}}
    start.check_owner(made, DatasetSettings.model_validate(patient), reconfigure=False)
    with pytest.raises(ValueError, match="second_pass"):
        start.check_owner(
            made, DatasetSettings.model_validate({"annotate": {"second_pass": {"engine": "openai"}}}), reconfigure=False
        )
