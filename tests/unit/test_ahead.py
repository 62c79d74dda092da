"""Reading ahead: the order of the parts, never more than asked for, and an error in its place."""

import threading
import time

import pyarrow as pa
import pytest

from codelib.contracts import OK
from codelib.core.ahead import ahead, read_parts, visits_among
from codelib.core.stage import Part
from codelib.core.store import Store


def test_in_order_and_at_most_so_many_ahead():
    begun, taken = [], 0

    def work(number):
        begun.append(number)
        assert number <= taken + 4
        time.sleep(0.001 * (number % 3))
        return -number

    for result in ahead(work, range(50), threads=4):
        assert result == -taken
        taken += 1
    assert taken == 50 and sorted(begun) == list(range(50))
    assert list(ahead(work, [])) == []


def test_several_at_once():
    together = threading.Barrier(4, timeout=30)  # passed by four that wait at once, or by none
    assert sorted(ahead(lambda _: together.wait(), range(8), threads=4)) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_an_error_comes_in_its_place_and_nothing_is_begun_behind_it():
    begun = []

    def work(number):
        begun.append(number)
        if number == 5:
            raise ValueError("the sixth")
        return number

    results = ahead(work, range(1000), threads=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the sixth"):
        next(results)
    assert list(results) == []
    assert max(begun) < 12


def test_who_stops_taking_stops_the_reading():
    begun = []
    results = ahead(lambda number: begun.append(number) or number, range(1000), threads=3)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert len(begun) < 12


def test_parts_of_a_stage(tmp_path):
    store, parts = Store(str(tmp_path)), []
    for number in range(40):
        table = pa.table({"visit_key": [f"{number}a", f"{number}b"], "status": [OK, "rejected"], "n": [number, number]})
        store.commit_table(f"stages/s/{number:02d}.parquet", table)
        parts.append(
            Part(root=store.root, stage="s", key=f"{number:02d}", rows=2, counts={}, drop=(f"{number}a",) if number == 7 else ())
        )
    assert [table["n"].to_pylist() for table in read_parts(parts, ["n"])] == [[number] * 2 for number in range(40)]
    kept = [table["visit_key"].to_pylist() for table in read_parts(parts, ok_only=True)]
    assert kept == [[] if number == 7 else [f"{number}a"] for number in range(40)]
    assert list(visits_among(parts, {"3a", "3b", "9b", "nobody"})) == [
        {3: {"3a", "3b"}, 9: {"9b"}}.get(number, set()) for number in range(40)
    ]
    store.delete("stages")
    assert list(visits_among(parts, {})) == [set()] * 40  # nothing is read
    with pytest.raises(FileNotFoundError):
        list(read_parts(parts))
