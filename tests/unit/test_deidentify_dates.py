"""De-identification: dates move together, and teeth stay on their words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.deidentify_rows import PHRASES, cleaned, row, run

DATES = """
1.2021-05-03外院补牙|1.2021-03-24外院补牙
46.2021-05-03|46.2021-03-24
.2021.5.3|.2021.3.24
21年5月3日|21年3月24日
21.5.3拍片|21.3.24拍片
2021.5拍片|2021.4拍片
2021-5拍片|2021-4拍片
5月3-5日|3月24-26日
5月10-12日|3月31-4月2日
2021年5月3-5日|2021年3月24-26日
5月3，外院|3月24，外院
2021年5月3外院|2021年3月24外院
2021 5 3|2021 3 24
2021、5、3|2021、3、24
3/5/2021|1/24/2021
May 3, 2021|Mar 24, 2021
3 May 2021|24 Mar 2021
二〇二一年5月3日|2021年3月24日
2021年五月三日|2021年3月24日
五月三日|3月24日
5月三日|3月24日
03-May-2021|24-Mar-2021
210503拔除|210324拔除
2021.12.10|2021.10.31
""".strip().splitlines()


@pytest.mark.parametrize("line", DATES)
def test_dates_of_every_form_move(line: str) -> None:
    text, expected = line.split("|")
    out, queue = run(row(remarks=text), shift_days=-40)
    assert queue == []
    assert out[0]["remarks"] == expected


@pytest.mark.parametrize(
    "text", ["2021年约5月", "2021年5-6月", "21.11.12", "5月16拔除", "21年13月3日", "二〇二一.5.3", "2021May3"]
)
def test_a_date_that_could_not_be_read_holds_the_visit_back(text: str) -> None:
    out, queue = run(row(remarks=text))
    assert out[0]["status"] == "rejected"
    assert {entry["class"] for entry in queue} == {"DATE"}


@given(
    st.lists(
        st.sampled_from([*PHRASES, "张伟", "13812345678", "2021.5.3", "210503", "高强自述", "患者93岁", "患者0003"]), max_size=12
    )
)
@settings(max_examples=100, deadline=None)
def test_a_tooth_that_is_kept_stands_on_the_words_it_stood_on(phrases: list[str]) -> None:
    text = "，".join(phrases)
    teeth = [
        {"field": "examination", "fdi": ["16"], "start": at, "end": at + 2, "status": "ok"}
        for at in range(len(text) - 1)
        if text[at : at + 2].isdigit()
    ]
    own = [{"kind": "name", "value": "张伟"}, {"kind": "name", "value": "高强"}]
    out, _ = run(row(examination=text, teeth=teeth, identifiers=own))
    if out[0]["status"] == "ok":
        done = cleaned(text, ("name", "张伟"), ("name", "高强"), mode="shift", shift_days=-40)
        kept = [tooth for tooth in teeth if done.moved(tooth["start"], tooth["end"])]
        assert [text[t["start"] : t["end"]] for t in kept] == [
            out[0]["examination"][t["start"] : t["end"]] for t in out[0]["teeth"]
        ]
        assert not [t for t in kept if text.startswith("13812345678", t["start"])]
