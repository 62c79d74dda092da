import pytest

from codelib.contracts import OK
from codelib.core.cli import InputError
from codelib.core.store import Store
from codelib.data.consent import Consent, hashes_of
from codelib.data.export import batch_names, list_batch, patient_number
from codelib.data.ingest import ingest
from codelib.data.sheets import Mapping
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)
HEADER = "患者,时间,姓名,主治医生,主诉,检查,诊断\n"


def make(root, rows, folders, batch="第一批"):
    sheet = root / batch / "牙科数据_电子病历_x"
    sheet.mkdir(parents=True)
    (sheet / "x牙科病历.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    for folder in folders:
        path = root / batch / folder
        path.mkdir(parents=True, exist_ok=True)
        if path.name in ("照片", "X片", "病历"):
            (path / "1.jpg").write_bytes(b"x")
    return Store(str(root))


def run(store, excluded=frozenset(), batch="第一批"):
    extra = {"batch": batch, "listing": list_batch(store, batch).fingerprint()}
    hashes = frozenset(one for line in excluded for one in hashes_of(KEYED, line))
    return ingest(store, Mapping(), Consent(hashes, KEYED), extra).to_pylist()


def reasons(rows):
    return sorted(r["reject_reason"] or OK for r in rows)


def test_record_and_folder_meet_on_patient_and_minute(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,张伟,王医,痛,36龋,深龋\n"], ["患者1-35-男/2022.3.5 9：30——复诊/照片"])
    (row,) = run(store)
    assert (row["status"], row["age"], row["gender"], row["checkup_time"]) == (OK, 35, "male", "2022-03-05 09:30")
    assert row["identifiers"] == [
        {"kind": "patient_id", "value": "患者0001"},
        {"kind": "name", "value": "张伟"},
        {"kind": "staff", "value": "王医"},
    ]
    assert [f["kind"] for f in row["files"]] == ["photograph"]


@pytest.mark.parametrize(("sheet_time", "folder_time"), [("2022-03-05", "2022-03-05 09.30"), ("2022-03-05 09:30", "2022-03-05")])
def test_a_date_alone_meets_the_one_visit_of_that_day(tmp_path, sheet_time, folder_time):
    store = make(tmp_path, [f"患者0001,{sheet_time},,,痛,x,深龋\n"], [f"患者0001-35-男/{folder_time}/照片"])
    (row,) = run(store)
    assert row["status"] == OK
    assert row["checkup_time"] == "2022-03-05 09:30"  # whichever knows the minute


def test_a_date_alone_meets_nobody_where_two_visits_are(tmp_path):
    folders = ["患者0001-35-男/2022-03-05 09.30/照片", "患者0001-35-男/2022-03-05 15.30/照片"]
    store = make(tmp_path, ["患者0001,2022-03-05,,,痛,x,深龋\n"], folders)
    assert reasons(run(store)) == ["ingest:folder_without_record"] * 2 + ["ingest:record_without_folder"]


def test_two_minutes_apart_do_not_meet(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.32/照片"])
    assert reasons(run(store)) == ["ingest:folder_without_record", "ingest:record_without_folder"]


def test_every_mismatch_has_its_reason(tmp_path):
    rows = [
        "患者0001,2022-03-05 09:30,,,痛,x,深龋\n",
        "患者0001,2022-03-05 09:30,,,,,深龋\n",  # emptier twin
        "患者0002,无效时间,,,痛,x,深龋\n",
        "患者0003,2022-03-05 09:30,,,痛,,\n",  # neither examination nor diagnosis
        "患者0004,2022-03-05 09:30,,,痛,x,深龋\n",  # no folder
        "患者0005,2022-03-05 09:30,,,痛,x,深龋\n",  # folder without a picture
        ",2022-03-05 09:30,,,痛,x,深龋\n",
    ]
    folders = [
        "患者0001-35-男/2022-03-05 09.30/照片",
        "患者0003-35-男/2022-03-05 09.30/照片",
        "患者0005-35-男/2022-03-05 09.30/病历",
        "患者0006-35-男",
        "患者0007-男/2022-03-05 09.30/照片",
        "患者0008-35-男/某天/照片",
    ]
    assert reasons(run(make(tmp_path, rows, folders))) == sorted(
        [
            OK,
            "ingest:duplicate_visit",
            "ingest:invalid_time",
            "ingest:incomplete_record",
            "ingest:record_without_folder",
            "ingest:incomplete_record",
            "ingest:missing_patient",
            "ingest:patient_without_visit",
            "ingest:folder_without_record",
            "ingest:invalid_time",
        ]
    )


def test_the_fuller_row_wins(tmp_path):
    rows = ["患者0001,2022-03-05 09:30,,,,,深龋\n", "患者0001,2022-03-05 09:30,,,很痛,x,深龋\n"]
    got = {r["status"]: r for r in run(make(tmp_path, rows, ["患者0001-35-男/2022-03-05 09.30/照片"]))}
    assert got[OK]["chief_complaint"] == "很痛"


def test_patients_without_consent_never_enter(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.30/照片"])
    assert run(store, excluded=frozenset({patient_number("0001")})) == []


def test_images_outside_the_known_folders_are_not_forgotten(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.30/照片"])
    for path in ("第一批/loose.jpg", "第一批/患者0001-35-男/loose.png", "第一批/患者0001-35-男/2022-03-05 09.30/loose.jpg"):
        (tmp_path / path).write_bytes(b"x")
    rows = run(store)
    assert sum(len(r["files"]) for r in rows) == 4
    assert reasons(rows) == ["ingest:files_outside_visit", "ingest:files_outside_visit", OK]


def test_bad_exports_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        batch_names(Store(str(tmp_path / "nothing")))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file"):
        batch_names(Store(str(tmp_path / "file")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no batch in it"):
        batch_names(Store(str(tmp_path / "empty")))
    make(tmp_path / "one", [], ["患者0001-35-男"])
    with pytest.raises(InputError, match="this is one batch"):
        batch_names(Store(str(tmp_path / "one" / "第一批")))
    (tmp_path / "two" / "b" / "患者0001-35-男").mkdir(parents=True)
    with pytest.raises(InputError, match="has no sheet"):
        list_batch(Store(str(tmp_path / "two")), "b")


def test_the_fingerprint_follows_every_change(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.30/照片"])
    before = list_batch(store, "第一批").fingerprint()
    assert list_batch(Store(str(tmp_path)), "第一批").fingerprint() == before
    (tmp_path / "第一批/患者0001-35-男/2022-03-05 09.30/照片/2.jpg").write_bytes(b"y")
    assert list_batch(Store(str(tmp_path)), "第一批").fingerprint() != before


def test_a_name_missing_in_one_row_stands_in_another(tmp_path):
    rows = [
        "患者0001,2022-03-05 09:30,,,嘱钱宁复诊,x,深龋\n",
        "患者1,2022-03-05 09:30,钱宁,,,,深龋\n",  # the twin that loses knows the name
    ]
    got = {r["status"]: r for r in run(make(tmp_path, rows, ["患者0001-35-男/2022-03-05 09.30/照片"]))}
    assert {"kind": "name", "value": "钱宁"} in got[OK]["identifiers"]


def test_screenshots_stay_screenshots_wherever_they_lie(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.30/照片"])
    moved = tmp_path / "第一批/患者0001-35-男/2022-03-05 09.30/照片/病历"
    moved.mkdir()
    (moved / "x.jpg").write_bytes(b"x")
    (row,) = run(store)
    assert sorted(f["kind"] for f in row["files"]) == ["photograph", "screenshot"]


def test_a_sheet_that_would_be_overlooked_is_named(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], [])
    (tmp_path / "第一批/牙科数据_电子病历_x/b牙科病历(1).csv").write_text(HEADER)
    with pytest.raises(InputError, match=r"b牙科病历\(1\).csv lies among the sheets"):
        list_batch(store, "第一批")


def test_two_sheets_with_the_same_row_do_not_clash(tmp_path):
    store = make(tmp_path, ["患者0009,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男"])
    other = tmp_path / "第一批/牙科数据_电子病历_x/y牙科病历.csv"
    other.write_text(HEADER + "患者0009,2022-03-05 09:31,,,痛,x,深龋\n患者0008,无,,,,,\n", encoding="utf-8")
    first = (tmp_path / "第一批/牙科数据_电子病历_x/x牙科病历.csv").read_text(encoding="utf-8")
    (tmp_path / "第一批/牙科数据_电子病历_x/z牙科病历.csv").write_text(first, encoding="utf-8")
    rows = run(store)
    assert len({r["visit_key"] for r in rows}) == len(rows) == 5


def test_an_export_that_changes_while_it_is_read_is_refused(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0001-35-男/2022-03-05 09.30/照片"])
    with pytest.raises(InputError, match="changed while it was read"):
        ingest(store, Mapping(), Consent(frozenset(), KEYED), {"batch": "第一批", "listing": "of another moment"})


def test_two_rows_and_one_folder_of_a_day_alone_are_not_guessed(tmp_path):
    rows = ["患者0001,2022-03-05 09:00,,,痛,x,深龋\n", "患者0001,2022-03-05 14:00,,,痛,x,深龋\n"]
    store = make(tmp_path, rows, ["患者0001-35-男/2022-03-05/照片"])
    assert reasons(run(store)) == ["ingest:folder_without_record", "ingest:record_without_folder", "ingest:record_without_folder"]


def test_images_of_a_patient_without_a_visit_are_listed(tmp_path):
    store = make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者0007/照片", "患者0008/照片/X片"])
    (tmp_path / "第一批/患者0008/2.jpg").write_bytes(b"x")
    rows = [r for r in run(store) if r["reject_reason"] == "ingest:patient_without_visit"]
    assert sorted(len(r["files"]) for r in rows) == [1, 2]


def test_a_full_width_patient_folder_is_the_same_patient(tmp_path):
    (row, _) = run(make(tmp_path, ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n"], ["患者０００９－３０－男/2022-03-05 09.30/照片"]))[
        ::-1
    ]
    assert row["patient"] == "患者0009"


def test_a_visit_alone_can_be_excluded(tmp_path):
    rows = ["患者0001,2022-03-05 09:30,,,痛,x,深龋\n", "患者0001,2022-04-05 09:30,,,痛,x,深龋\n"]
    store = make(tmp_path, rows, ["患者0001-35-男/2022-03-05 09.30/照片", "患者0001-35-男/2022-04-05 09.30/照片"])
    assert [r["checkup_time"] for r in run(store, excluded=frozenset({"1 2022-03-05 09:30"}))] == ["2022-04-05 09:30"]


def test_images_beside_the_batches_are_named(tmp_path):
    store = make(tmp_path, [], ["患者0001-35-男"])
    (tmp_path / "旧照片").mkdir()
    assert batch_names(store) == ["第一批"]  # an empty folder says nothing
    (tmp_path / "旧照片" / "1.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="1 entry lies beside the batches"):
        batch_names(Store(str(tmp_path)))


def test_more_staff_than_can_be_looked_for_stops_the_run_and_loses_none(tmp_path):
    people = [f"王{chr(0x4E00 + n)}" for n in range(520)]
    rows = [f"{n},2022-03-05 09:30,周岩,{person},疼,叩痛,深龋\n" for n, person in enumerate(people)]
    assert len(run(make(tmp_path / "500", rows[:499], []))[0]["identifiers"]) >= 499
    with pytest.raises(InputError, match=r"5[012]. different values in its staff columns \(主治医生\).*map a column") as error:
        run(make(tmp_path / "520", rows, []))
    assert not any(person in str(error.value) for person in people)
