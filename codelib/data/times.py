"""Visit times as clinics write them, brought to one form.

2022-03-05 09.30 · 2022-03-05 09-30 · 2022.4.2 10：15 · 2024年2月3日 14：30 · 20220305 · date alone · each with ——<comment>
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata

_TIME = re.compile(
    r"""^(?P<y>\d{4})(?:\s*[-./年]\s*(?P<m>\d{1,2})\s*[-./月]\s*(?P<d>\d{1,2})\s*日?|(?P<m2>\d{2})(?P<d2>\d{2}))
        (?:[T\s]*(?P<half>上午|下午|晚上?|AM|PM)?\s*(?P<H>\d{1,2})\s*[:.\-时点]\s*(?P<M>\d{1,2})\s*分?
           (?:\s*[:.\-]?\s*\d{1,2}(?:\.\d+)?\s*秒?)?\s*(?P<half2>AM|PM)?)?$""",
    re.VERBOSE | re.IGNORECASE,
)
_COMMENT = re.compile(r"\s*(?:—+|--+|_|\().*$")


def parse_time(written: str) -> str | None:
    """'YYYY-MM-DD HH:MM', 'YYYY-MM-DD' for a date alone, None where it is no time of a visit.

    >>> parse_time("2022.4.2 10：15——复诊")
    '2022-04-02 10:15'
    """
    text = unicodedata.normalize("NFKC", _COMMENT.sub("", unicodedata.normalize("NFKC", written).strip())).strip()
    found = _TIME.match(text)
    if not found:
        return None
    hour = int(found["H"]) if found["H"] else 0
    half = (found["half"] or found["half2"] or "").upper()
    if half in ("下午", "晚上", "晚", "PM") and hour < 12:
        hour += 12
    try:
        moment = dt.datetime(
            int(found["y"]), int(found["m"] or found["m2"]), int(found["d"] or found["d2"]), hour, int(found["M"] or 0)
        )
    except ValueError:
        return None
    if not 1950 <= moment.year <= 2100:
        return None
    return moment.strftime("%Y-%m-%d %H:%M" if found["H"] else "%Y-%m-%d")
