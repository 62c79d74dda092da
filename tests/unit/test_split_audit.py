"""What is planted on two sides fails the audit; what is not a leak does not."""

import json

import pytest

from codelib.contracts import SIX_CLASSES
from codelib.core.cli import JobFailed
from codelib.core.store import Workspace
from codelib.data import split_audit
from codelib.data.split import SplitSettings
from tests.unit.split_cases import Drawn, visit

OLD = "0500-001"


def clinic(**changes):
    """60 visits of 60 patients, two more of patient 0501, and the changes of some (v0501_002={...})."""
    rows = [visit(500 + p, 1, SIX_CLASSES[p % 6], 4) for p in range(60)]
    rows += [visit(501, 2, "Caries"), visit(501, 3)]
    wanted = {name[1:].replace("_", "-"): change for name, change in changes.items()}
    return [row | wanted.get(row["checkup_id"], {}) for row in rows]


def planted(case: Drawn, one: str, other: str, sides=("test", "train")) -> dict:
    """The audit after two checkups were put on these sides, as by an old decision."""
    return case.audit(**{f"v{one.replace('-', '_')}": sides[0], f"v{other.replace('-', '_')}": sides[1]})


SIDES = [("test", "train"), ("test", "validation"), ("validation", "train")]


@pytest.mark.parametrize("sides", SIDES)
def test_a_planted_patient(sides):
    case = Drawn(clinic())
    assert case.audit()["passed"]
    found = planted(case, "0501-002", "0501-003", sides)
    assert not found["passed"]
    assert found["six_class"]["fails"]["patients"] == found["spectrum"]["fails"]["patients"] == {"count": 1, "codes": [["0501"]]}


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("columns", [("contents",), ("looks",), ("contents", "looks")])
def test_a_planted_picture(columns, sides):
    rows = clinic()
    twin = next(r for r in rows if r["checkup_id"] == "0510-001")
    for name in columns:
        twin[name] = [rows[0][name][0], *twin[name][1:]]
    found = planted(Drawn(rows), OLD, "0510-001", sides)
    leak = found["six_class"]["fails"]["pictures"]
    assert leak == {"count": 1, "codes": [[OLD, sides[0], "0510-001", sides[1]]]}
    assert Drawn(rows).audit()["passed"]  # the draw itself keeps them together


@pytest.mark.parametrize("sides", SIDES)
def test_a_planted_near_duplicate(sides):
    case = Drawn(clinic(), near=[("v0510-001", f"v{OLD}")])
    found = planted(case, OLD, "0510-001", sides)
    assert found["six_class"]["fails"]["near_pictures"]["codes"] == [[OLD, sides[0], "0510-001", sides[1]]]
    assert case.audit()["passed"]


@pytest.mark.parametrize("sides", SIDES)
def test_a_planted_report(sides):
    rows = clinic(v0510_001={"report": 77}, v0500_001={"report": 77})
    found = planted(Drawn(rows), OLD, "0510-001", sides)
    assert found["six_class"]["fails"]["reports"]["codes"] == [[OLD, sides[0], "0510-001", sides[1]]]
    rows = clinic(v0510_001={"report": 78}, v0500_001={"report": 77})
    case = Drawn(rows, copies=[(77, 78)])
    assert planted(case, OLD, "0510-001", sides)["six_class"]["fails"]["reports"]["count"] == 1
    assert case.audit()["passed"]


def test_short_and_shared_reports_are_no_leaks():
    short = clinic(v0510_001={"report": 77, "report_chars": 12}, v0500_001={"report": 77, "report_chars": 12})
    assert planted(Drawn(short), OLD, "0510-001")["passed"]
    assert not planted(Drawn(short, SplitSettings(audit={"report_min_chars": 12})), OLD, "0510-001")["passed"]
    shared = clinic(**{f"v05{n:02d}_001": {"report": 77} for n in range(11)})
    assert planted(Drawn(shared), OLD, "0510-001")["passed"]
    assert planted(Drawn(shared), OLD, "0510-001")["kept_together"]["stereotyped_reports"] == 1
    assert not planted(Drawn(shared, SplitSettings(audit={"report_max_patients": 11})), OLD, "0510-001")["passed"]
    # nearly equal ones count too: a phrase with the tooth's number in it has many wordings
    worded = clinic(**{f"v05{n:02d}_001": {"report": 70 + n} for n in range(12)})
    star = [(70, 70 + n) for n in range(1, 12)]
    assert planted(Drawn(worded, copies=star), OLD, "0510-001")["passed"]
    assert not planted(Drawn(worded, SplitSettings(audit={"report_max_patients": 12}), copies=star), OLD, "0510-001")["passed"]


def test_one_patients_own_follow_ups_are_no_stereotype():
    """Twenty like reports of one patient are those of one patient: a copy of them in another's record is a leak."""
    rows = clinic(v0500_001={"report": 70})
    rows += [visit(700, n, "Caries", report=70 + n) for n in range(1, 21)]
    case = Drawn(rows, copies=[(70, 70 + n) for n in range(1, 21)])
    assert case.links.stereotypes.size == 0
    assert not planted(case, OLD, "0700-001")["passed"]


def test_an_excluded_visit_stands_on_no_side():
    rows = clinic(v0510_001={"report": 77}, v0500_001={"report": 77})
    assert planted(Drawn(rows), OLD, "0510-001", ("excluded", "train"))["passed"]
    assert Drawn(clinic()).audit(v0501_001="test", v0501_002="excluded", v0501_003="excluded")["passed"]


def test_by_checkup_the_patient_is_reported_and_the_picture_fails():
    case = Drawn(clinic(), SplitSettings(unit="checkup"), near=[("v0501-002", "v0501-003")])
    found = case.audit(v0501_001="test", v0501_002="train", v0501_003="train")
    assert found["passed"]
    assert found["six_class"]["reported"]["patients"]["codes"] == [["0501"]]
    found = planted(case, "0501-002", "0501-003")
    assert list(found["six_class"]["fails"]) == ["near_pictures"]


def test_a_leak_is_one_sentence_and_no_release(tmp_path):
    workspace = Workspace.at(str(tmp_path))
    workspace.create()
    rows = clinic(v0510_001={"report": 77}, v0500_001={"report": 77})
    case = Drawn(rows, near=[("v0520-001", "v0530-001")])
    split_audit.write(case.audit(), workspace)
    assert json.loads((tmp_path / "split-audit.json").read_text())["passed"]
    found = case.audit(
        v0500_001="test", v0510_001="train", v0520_001="test", v0530_001="validation", v0501_002="test", v0501_003="train"
    )
    with pytest.raises(JobFailed) as failed:
        split_audit.write(found, workspace)
    said = str(failed.value)
    for words in (
        "the split leaks, so nothing new is released",
        "six_class: 1 patients on two sides (0501)",
        "1 near-duplicate pictures across sides (0520-001 in test, 0530-001 in validation)",
        "1 checkups whose report was copied across sides (0500-001 in test, 0510-001 in train)",
        "queue/image-answers.csv",
        "split.audit.report_min_chars",
        "--reconfigure",
        "split-audit.json",
    ):
        assert words in said
    assert not json.loads((tmp_path / "split-audit.json").read_text())["passed"]


def test_counts_add_up_and_rare_conditions_are_not_named():
    rows = clinic(v0500_001={"conditions": ["Caries", "something a model said"]})
    found = Drawn(rows).audit()
    assert sum(found["six_class"]["visits"].values()) == sum(found["spectrum"]["visits"].values()) == len(rows)
    assert sum(sum(c.values()) for c in found["six_class"]["classes"].values()) == len(rows) - 1
    assert {c["condition"] for c in found["spectrum"]["conditions"]} == set(SIX_CLASSES)
    assert found["spectrum"]["rare_conditions"]["number"] == 1
    assert "something a model said" not in json.dumps(found)
    assert sum(sum(c.values()) for c in found["six_class"]["eligible_by_images"].values()) == found["six_class"]["eligible"]
