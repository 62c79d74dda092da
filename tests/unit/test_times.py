import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.data.times import parse_time


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2022-03-05 09.30", "2022-03-05 09:30"),
        ("2022-03-05 09-30", "2022-03-05 09:30"),
        ("2022.4.2 10：15", "2022-04-02 10:15"),
        ("2024年2月3日 14：30", "2024-02-03 14:30"),
        ("2024年2月3日14时30分", "2024-02-03 14:30"),
        ("2022-05-11 16：40——复诊", "2022-05-11 16:40"),
        ("2022-03-05 09:30:00", "2022-03-05 09:30"),
        ("2022/3/5 下午2:05", "2022-03-05 14:05"),
        ("20220305", "2022-03-05"),
        ("2022-03-05", "2022-03-05"),
        ("２０２２－０３－０５", "2022-03-05"),
        ("无效时间", None),
        ("2022-13-01 10:00", None),
        ("2022-02-30", None),
        ("2022-03-05 25:00", None),
        ("", None),
    ],
)
def test_forms(written, expected):
    assert parse_time(written) == expected


@given(
    st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1)),
    st.sampled_from(["%Y-%m-%d %H.%M", "%Y-%m-%d %H-%M", "%Y.%m.%d %H：%M", "%Y年%m月%d日 %H：%M", "%Y/%m/%d %H:%M——x"]),
)
def test_every_form_round_trips(moment, form):
    assert parse_time(moment.strftime(form)) == moment.strftime("%Y-%m-%d %H:%M")


@given(st.text(max_size=60))
def test_any_text_is_answered(text):
    assert parse_time(text) is None or len(parse_time(text)) in (10, 16)
