from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.core.store import Store
from codelib.data.vault import Keyed, Secret, assign, read_codes, write_codes

KEYED = Keyed(b"k" * 32)
visits = st.lists(
    st.tuples(
        st.uuids().map(str), st.sampled_from([f"patient-{i}" for i in range(30)]), st.sampled_from(["2021", "2022", "2023"])
    ),
    unique_by=lambda v: v[0],
    max_size=60,
)


@settings(deadline=None)
@given(visits)
def test_codes_are_unique_and_one_for_a_patient(found):
    codes = assign(found, [], KEYED)
    assert len({c.checkup_id for c in codes}) == len(found)
    assert len({c.patient_id for c in codes}) == len({v[1] for v in found})
    assert all(len(c.patient_id) >= 4 for c in codes)


@settings(deadline=None)
@given(visits, st.integers(0, 60))
def test_a_grown_export_changes_no_code(found, cut):
    before = assign(found[:cut], [], KEYED)
    after = assign(found, before, KEYED)
    assert after[: len(before)] == before
    assert {c.visit_key for c in after} == {v[0] for v in found}


def test_codes_do_not_depend_on_order():
    found = [(f"v{i}", f"p{i % 7}", str(2000 + i)) for i in range(40)]
    assert sorted(assign(found, [], KEYED), key=str) == sorted(assign(found[::-1], [], KEYED), key=str)


def test_codes_grow_beyond_four_digits_without_a_clash():
    codes = assign([(f"v{i}", f"p{i}", "2020") for i in range(6000)], [], KEYED)
    assert len({c.patient_id for c in codes}) == 6000
    assert {len(c.patient_id) for c in codes} == {5}


def test_another_key_gives_other_codes_and_offsets():
    other = Keyed(b"x" * 32)
    found = [(f"v{i}", f"p{i}", "2020") for i in range(20)]
    assert [c.patient_id for c in assign(found, [], KEYED)] != [c.patient_id for c in assign(found, [], other)]
    assert [KEYED.shift_days(f"p{i}") for i in range(20)] != [other.shift_days(f"p{i}") for i in range(20)]


def test_offsets_are_a_month_to_a_year_both_ways():
    days = [KEYED.shift_days(f"p{i}") for i in range(2000)]
    assert all(30 <= abs(d) <= 365 for d in days)
    assert 800 < sum(d > 0 for d in days) < 1200


def test_the_key_is_made_once_and_kept(tmp_path):
    store = Store(str(tmp_path))
    Secret(store).create()
    key = store.read("key")
    Secret(store).create()
    assert store.read("key") == key
    assert "key" not in repr(Secret(store).load())


def test_codes_survive_on_disk(tmp_path):
    codes = assign([("v", "p", "2020")], [], KEYED)
    write_codes(Store(str(tmp_path)), codes)
    assert read_codes(Store(str(tmp_path))) == codes
