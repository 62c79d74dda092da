"""The record sheet of a batch: xlsx, CSV in GB18030, or JSON Lines; the same rows always give the same bytes."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
import zipfile
from pathlib import Path

from openpyxl import Workbook

ENDINGS = {"xlsx": ".xlsx", "csv": ".csv", "jsonl": ".jsonl"}
FIXED_TIME = dt.datetime(2024, 1, 1)
FIXED_ZIP_TIME = (2024, 1, 1, 0, 0, 0)

Row = dict[str, str]


def write_sheet(path: Path, columns: list[str], rows: list[Row]) -> None:
    """Write the rows in the format of the path's ending; a column that a row lacks is an empty cell."""
    if path.suffix == ".xlsx":
        _write_xlsx(path, columns, rows)
    elif path.suffix == ".csv":
        with path.open("w", encoding="gb18030", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    else:
        assert path.suffix == ".jsonl", path.suffix
        lines = (json.dumps({name: row.get(name) or None for name in columns}, ensure_ascii=False) for row in rows)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _write_xlsx(path: Path, columns: list[str], rows: list[Row]) -> None:
    book = Workbook(write_only=True)
    book.properties.created = FIXED_TIME
    book.properties.creator = "synthetic"
    sheet = book.create_sheet("Sheet")
    sheet.append(columns)
    for row in rows:
        sheet.append([row.get(name) or None for name in columns])
    buffer = io.BytesIO()
    book.save(buffer)
    # openpyxl stamps the present time into every zip entry and into docProps/core.xml
    stamp = FIXED_TIME.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp, data)
            entry = zipfile.ZipInfo(name, FIXED_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o600 << 16
            target.writestr(entry, data)
