"""The exclusion list and the tombstones: who is out, who stays out, and which ids nobody gets again."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.store import Store
from codelib.data.consent import Consent, Lines, buried_ids, bury, consent, hashes_of, id_hash, line_hash, read_list, stone_of
from codelib.data.settings import DatasetSettings
from codelib.data.vault import Keyed, assign

KEYED = Keyed(b"the tests' own key: 32 bytes.. ")


def of(*lines: str) -> Consent:
    return Consent(frozenset(one for line in lines for one in hashes_of(KEYED, line)), KEYED)


@pytest.mark.parametrize(
    ("line", "patient", "time", "out"),
    [
        ("12", "患者0012", "2022-03-05 09:30", True),
        ("12", "12", "", True),
        ("12", "120", "2022-03-05 09:30", False),
        ("12 2022-03-05", "12", "2022-03-05 09:30", True),
        ("12 2022-03-05", "12", "2022-03-06 09:30", False),
        ("12 2022-03-05 09:30", "12", "2022-03-05 10:30", False),
        ("12 2022-03-05 09:30", "12", "2022-03-05", True),  # whoever knows the day alone cannot tell it apart
        ("12 2022-03-05 09:30", "12", "", False),
        ("12 2022-03-05 09:30", "", "2022-03-05 09:30", False),
    ],
)
def test_who_a_line_keeps_out(line, patient, time, out):
    assert of(line).excludes(patient, time) == out


TIMES = st.sampled_from(["2022-03-05", "2022-03-05 09:30", "2022-03-05 10:30", "2022-03-06 09:30", "2022-03-06"])
LINES = st.sets(
    st.tuples(st.sampled_from(["1", "2", "12"]), TIMES | st.just("")).map(lambda pair: " ".join(pair).strip()), max_size=4
)


@given(LINES, st.sampled_from(["1", "2", "12"]), TIMES)
def test_hashes_say_what_the_list_says(lines, patient, time):
    plain = any(
        line == patient
        or line in (f"{patient} {time}", f"{patient} {time[:10]}")
        or (len(time) == 10 and line.startswith(f"{patient} {time}"))
        for line in lines
    )
    assert of(*lines).excludes(patient, time) == plain


def room(tmp_path) -> Store:
    store = Store(str(tmp_path / "private"))
    store.commit("key", KEYED.key)
    return store


def test_a_tombstone_counts_where_the_list_is_forgotten_and_can_be_taken_back(tmp_path):
    private, lines = room(tmp_path), Lines(frozenset({"12", "7 2022-03-05 09:30"}))
    stones = {line_hash(KEYED, line): stone_of(KEYED, line) | {"ids": [id_hash(KEYED, "0815")]} for line in lines.out}
    bury(private, stones, lines, date(2026, 1, 2))
    assert b"0815" not in private.read("withdrawn.json")
    forgotten = consent(Lines(), private)
    assert forgotten.excludes("12", "2022-01-01 09:30")
    assert forgotten.excludes("7", "2022-03-05")
    bury(private, stones, Lines(), date(2027, 1, 2))
    assert {stone["date"] for stone in private.read_json("withdrawn.json").values()} == {"2026-01-02"}
    assert not consent(Lines(back=frozenset({"12"})), private).excludes("12", "")
    bury(private, {}, Lines(back=frozenset({"12", "7 2022-03-05 09:30"})))
    assert not consent(Lines(), private).hashes
    assert buried_ids(private) == frozenset()


def test_lines_are_taken_back_by_a_plus(tmp_path):
    (tmp_path / "list.txt").write_text("患者0012\n+ 0013\n+0014号 2022-03-05\n", encoding="utf-8")
    found = read_list(DatasetSettings(exclude=str(tmp_path / "list.txt")))
    assert found == Lines(frozenset({"12"}), frozenset({"13", "14 2022-03-05"}))
    (tmp_path / "list.txt").write_text("患者0012\n+12\n", encoding="utf-8")
    with pytest.raises(ValueError, match="1 of its lines stand there with"):
        read_list(DatasetSettings(exclude=str(tmp_path / "list.txt")))
    (tmp_path / "list.txt").write_text("+\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1 is neither"):
        read_list(DatasetSettings(exclude=str(tmp_path / "list.txt")))


def test_nobody_gets_the_ids_of_somebody_who_withdrew():
    visits = [(f"v{n}", f"p{n}", "2022-03-05 09:30") for n in range(200)]
    before = assign(visits, [], KEYED)
    buried = {code.patient_id for code in before[::2]} | {code.checkup_id for code in before[1::2]}
    after = assign(visits, [], KEYED, buried.__contains__)
    assert not buried & {one for code in after for one in (code.patient_id, code.checkup_id)}
    assert assign(visits, [], KEYED) == before  # taken back: under the ids they had
