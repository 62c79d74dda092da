from dataclasses import replace

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from codelib.contracts import RECORDS
from codelib.core.store import Store
from codelib.data.partition import Visit, across_batches, cut, forget, plan


def visit(i, fp="a", batch=0, fullness=1):
    return Visit(f"v{i:04d}", fp, batch, "ok", f"p{i}", "2022-01-01 10:00", fullness)


def keys(partitions):
    return [[(v.visit_key, v.fingerprint, v.batch_index >= 0) for v in part] for part in partitions]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 80)), st.sets(st.integers(0, 80)), st.integers(1, 9))
def test_a_grown_export_keeps_every_old_partition(tmp_path_factory, first, more, rows):
    store = Store(str(tmp_path_factory.mktemp("p")))
    before = keys(plan([visit(i) for i in sorted(first)], store, rows))
    after = keys(plan([visit(i) for i in sorted(first | more)], store, rows))
    assert after[: len(before)] == before
    assert sorted(k for part in after for k, _, _ in part) == sorted(f"v{i:04d}" for i in first | more)
    assert all(len(part) <= rows for part in after)


def test_a_changed_visit_moves_to_a_new_partition_and_the_old_file_stays(tmp_path):
    store = Store(str(tmp_path))
    plan([visit(i) for i in range(4)], store, 4)
    after = keys(plan([visit(0), visit(1, "changed"), visit(2), visit(3)], store, 4))
    assert after[0][1] == ("v0001", "a", False)  # to be dropped on reading
    assert after[1] == [("v0001", "changed", True)]


def test_a_withdrawn_visit_leaves_its_partition(tmp_path):
    store = Store(str(tmp_path))
    plan([visit(i) for i in range(4)], store, 4)
    after = keys(plan([visit(0), visit(2), visit(3)], store, 4))
    assert after == [[("v0000", "a", True), ("v0002", "a", True), ("v0003", "a", True)]]


def test_a_visit_in_two_batches_is_one_visit():
    kept, losers = across_batches([visit(1, batch=0, fullness=5), visit(1, "b", batch=1, fullness=9), visit(2)])
    assert [(v.visit_key, v.batch_index) for v in kept] == [("v0001", 1), ("v0002", 0), ("v0001~0", 0)]
    assert losers == {(0, "v0001"): "v0001~0"}
    assert replace(kept[2]).status == "rejected"


def test_what_another_batch_knows_of_a_patient_makes_a_changed_visit():
    from codelib.data.partition import _told_by_others

    old = replace(visit(1), patient="患者0001", known=frozenset({"a"}))
    same = replace(visit(2, batch=1), patient="1", known=frozenset({"a"}))
    more = replace(visit(2, batch=1), patient="1", known=frozenset({"a", "b"}))
    assert _told_by_others([old, same]) == [old, same]
    told = _told_by_others([old, more])
    assert told[0].fingerprint != old.fingerprint
    assert told[1] == more


def test_a_changed_visit_that_changes_back_is_not_read_as_it_was_in_between(tmp_path):
    store = Store(str(tmp_path))
    plan([visit(1), visit(2), visit(3)], store, 3)
    plan([visit(1), visit(2, "b"), visit(3)], store, 3)
    forget(frozenset({visit(3).visit_key}), store)  # cut again, from what the export says now: visit 2 is "b" in it
    again = [{one.visit_key for one in part} for part in plan([visit(1), visit(2)], store, 3)]
    assert {visit(1).visit_key} in again
    assert {visit(2).visit_key} in again


def batch(rows):
    """RECORDS of (visit, patient, name) triples."""
    blank = dict.fromkeys(RECORDS.schema.names) | {"status": "ok"}
    made = [
        blank
        | {
            "visit_key": key,
            "patient": patient,
            "identifiers": [{"kind": "name", "value": name}, {"kind": "staff", "value": "s"}],
        }
        for key, patient, name in rows
    ]
    return pa.Table.from_pylist(made, schema=RECORDS.schema)


PATIENTS = st.sampled_from(["患者0001", "0001", "1", "２", "2", "患者", "", None])  # 1 as three forms may write it, and nobody
BATCH = st.lists(st.tuples(PATIENTS, st.sampled_from("abc")), max_size=8)


@settings(max_examples=100, deadline=None)
@given(BATCH, st.lists(BATCH, max_size=3), st.sets(st.integers(0, 7)))
def test_a_partition_has_its_rows_and_what_other_batches_know_of_its_patients(own, others, wanted):
    def of(patient):  # as one may read it: NFKC, without the word, without leading zeros
        return {"患者0001": "1", "0001": "1", "1": "1", "２": "2", "2": "2"}.get(patient, "")

    table = batch([(f"v{n}", patient, name) for n, (patient, name) in enumerate(own)])
    rest = [batch([(f"w{n}", patient, name) for n, (patient, name) in enumerate(other)]) for other in others]
    found = cut(table, *rest, {"visits": [[f"v{n}", f"v{n}"] for n in sorted(wanted)]}).to_pylist()
    expected = [row for n, row in enumerate(table.to_pylist()) if n in wanted]
    assert [row["visit_key"] for row in found] == [row["visit_key"] for row in expected]
    for row, before in zip(found, expected, strict=True):
        told = [
            {"kind": "name", "value": name} for other in others for patient, name in other if of(patient) == of(row["patient"])
        ]
        more = dict.fromkeys((i["kind"], i["value"]) for i in told if i not in before["identifiers"]) if row["patient"] else {}
        assert row == before | {"identifiers": [*before["identifiers"], *({"kind": k, "value": v} for k, v in more)]}
