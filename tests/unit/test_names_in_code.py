"""`ray job submit` uploads the code, and Ray keeps a copy of it: no example in it may name anyone of the real export."""

import json

from tests.conftest import REAL_DATA, ROOT


def test_no_identifier_of_the_real_export_stands_in_the_code(real_data):
    words = [w.lower() for w in json.loads((REAL_DATA / "clinic-export.truth.json").read_text(encoding="utf-8"))["identifiers"]]
    files = [p for folder in ("codelib", "jobs") for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    files += [ROOT / "README.md", ROOT / "Makefile"]
    found = {
        (w, p.name)
        for p in files
        for text in [p.read_text(encoding="utf-8", errors="ignore").lower()]
        for w in words
        if w in text
    }
    assert found == set()
