"""docs/extending.md runs as it is written: its files, its row, its result, its messages."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from codelib.contracts import BILINGUAL, RECORDS, TEXT_FIELDS
from codelib.data.annotate import AnnotateSettings, annotate
from codelib.data.clinic_names import read as read_lists
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.sheets import Mapping
from codelib.data.stages import codes_table
from codelib.data.teeth import TeethSettings, normalise_teeth
from codelib.dental.condition_lists import read_classes, read_terms
from codelib.dental.teeth_lists import read_words

DOC = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def clinic_b(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The folder of the example with its files; its recipe's section dataset."""
    for name, text in re.findall(r"`(clinic-b[\w.-]*)`[^`]*?(?:`[^`]+`[^`]*?)*```\w+\n(.*?)```", DOC, re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "clinic-b-classes.csv", "clinic-b-diagnoses.csv", "clinic-b-names.csv", "clinic-b-teeth.csv", "clinic-b-words.csv", "clinic-b.yaml",
    ]  # fmt: skip
    return yaml.safe_load((tmp_path / "clinic-b.yaml").read_text(encoding="utf-8"))["dataset"]


def test_the_example(clinic_b: dict[str, Any]) -> None:
    mapping = Mapping.model_validate(clinic_b["mapping"])
    headers = {header: field for field in clinic_b["mapping"] for header in getattr(mapping, field)}
    # the last csv block is the sheet; its last cell is left out, as in the document
    (row,) = csv.DictReader(io.StringIO(blocks("csv")[-1]))
    fields = {headers[header]: cell for header, cell in row.items() if header in headers}
    record = (
        dict.fromkeys(RECORDS.schema.names)
        | dict.fromkeys(TEXT_FIELDS, "")
        | {"visit_key": "b", "status": "ok", "identifiers": []}
    )
    record |= {field: text for field, text in fields.items() if field in (*TEXT_FIELDS, "checkup_time")}
    table = pa.Table.from_pylist([record], schema=RECORDS.schema)

    teeth = normalise_teeth(table, TeethSettings.model_validate(clinic_b["teeth"]))
    private = DeidentifySettings.model_validate(clinic_b["deidentify"])
    codes = codes_table([["b", "0001-001", "0001", 40]])
    (text,) = deidentify(teeth, codes, private, lists=private.lists()).to_pylist()
    (without,) = deidentify(teeth, codes, DeidentifySettings()).to_pylist()
    assert "静怡" in without["remarks"] or without["status"] == "rejected", "the lists are what the example shows"
    bilingual = {f"{field}_cn": text[field] for field in TEXT_FIELDS} | {
        "checkup_id": "b",
        "teeth": text["teeth"],
        "status": "ok",
    }
    settings = AnnotateSettings.model_validate(clinic_b["annotate"])
    (done,) = annotate(pa.Table.from_pylist([bilingual], schema=BILINGUAL.schema), settings).to_pylist()

    (expected,) = blocks("json")
    assert json.loads(expected) == {
        "examination": text["examination"],
        "diagnosis": text["diagnosis"],
        "remarks": text["remarks"],
        "teeth": [[" ".join(t["fdi"]), t["status"]] for t in text["teeth"]],
        "diseases": [[d["zh"], d["en"], d["icd10"], d["status"], " ".join(d["fdi"])] for d in done["diseases"]],
        "six_class": done["six_class"],
    }


@pytest.mark.parametrize(
    ("name", "reader", "wrong", "right"),
    [
        ("clinic-b-diagnoses.csv", read_terms, "深龋,大洞;#洞深,,K2.1", "深龋,大洞;#洞深,,"),
        ("clinic-b-classes.csv", read_classes, "慢性根尖周炎,Pulpitus,", "慢性根尖周炎,Pulpitis,"),
        ("clinic-b-teeth.csv", read_words, "板牙,67,permanet", "板牙,67,permanent"),
        ("clinic-b-names.csv", lambda name: read_lists(name, None), "何,front", "何静怡,front"),
        ("clinic-b-words.csv", lambda name: read_lists("clinic-b-names.csv", name), "何静怡", "欧洁"),
    ],
)
def test_the_messages(clinic_b: dict[str, Any], name: str, reader: Any, wrong: str, right: str) -> None:
    path = Path(name)
    path.write_text(path.read_text(encoding="utf-8").replace(right, wrong, 1), encoding="utf-8")
    (messages,) = blocks("text")
    with pytest.raises(ValueError, match=name) as error:
        reader(name)
    assert str(error.value) in messages.splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("板牙,69,permanent", "teeth 69: give the digits from the midline, 1 to 8"),
        ("乳板牙,6,primary", "teeth 6: give the digits from the midline, 1 to 5"),
        ("上,6,permanent", "word 上: too short"),
        ("上颌,6,permanent", "word 上颌: too short, or a word of the grammar"),
        ("板牙,,permanent", "teeth is empty"),
    ],
)
def test_a_mistake_in_a_list_of_tooth_names(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"word,teeth,dentition\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"t.csv: line 2: {said}")):
        read_words(str(path))


def test_tooth_names_are_part_of_the_settings(clinic_b: dict[str, Any]) -> None:
    settings = TeethSettings.model_validate(clinic_b["teeth"])
    assert TeethSettings.model_validate(settings.fingerprint()) == settings
