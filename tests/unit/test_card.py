"""What a person states of a release stands in all four documents, passes --verify, and is not lost by the next build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCardData

from codelib.core.config import load
from codelib.core.store import Workspace
from codelib.data import build, card, card_documents, verify_describe
from codelib.data.card_settings import LICENCE, LICENCES, CardSettings
from codelib.data.ledger import Totals
from codelib.data.settings import DatasetSettings
from codelib.data.verify_report import Report
from codelib.data.verify_tables import check_text

STATED = """
dataset:
  card:
    title: 'Checkups of a clinic: "one" town'
    version: 2.1.0
    authors:
      - {given_names: Ada, family_names: O'Beispiel, orcid: https://orcid.org/0000-0002-1825-0097, affiliation: University of Nowhere}
      - name: 王小明口腔诊所
    licence: cc-by-nc-4.0
    contact: ada.obeispiel@example.org
    citation: >
      O'Beispiel, A. (2031).
      Checkups: a data set.
    doi: https://doi.org/10.1234/abcd
    homepage: https://example.org/checkups
    funding: Grant 13812345678 of a fund
    ethics: Board of a hospital, approval 110105199003078811
"""


def stated(tmp_path: Path, text: str = STATED) -> DatasetSettings:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    return load(DatasetSettings, "dataset", str(tmp_path / "r.yaml"))


def write(folder: Path, settings: DatasetSettings) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    totals = Totals()
    texts = card_documents.documents(settings, totals, {"complete-dataset.csv": "0" * 64}, card.translation(settings))
    texts["README.md"] = card.dataset_card(settings, totals, {}, {})
    texts["manifest.json"] = json.dumps(card.manifest(settings, totals, {}, "0"))
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return texts


def identifiers(folder: Path) -> list[str]:
    """What --verify says of the documents."""
    report, there = Report(), {path.name for path in folder.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    words = [*verify_describe.check(folder, there, report), *verify_describe.stated(manifest)]
    assert report.passed, report.table()
    for name in there:
        report.add(check_text(folder, name, words).report)
    return report.told.get("identifiers", [])


def test_what_is_stated_stands_everywhere_and_passes_verify(tmp_path: Path) -> None:
    texts = write(tmp_path / "release", stated(tmp_path))
    for name, words in {
        "README.md": (
            "license: cc-by-nc-4.0",
            "- Ada O'Beispiel",
            "https://doi.org/10.1234/abcd",
            "Contact: ada.obeispiel@example.org",
        ),
        "datasheet.md": ("Ada O'Beispiel, 王小明口腔诊所", "Grant 13812345678", "approval 110105199003078811", "CC-BY-NC-4.0"),
    }.items():
        assert [word for word in words if word not in texts[name]] == []
    assert "Still open" not in texts["README.md"] and "has to answer" not in texts["datasheet.md"]

    citation = yaml.safe_load(texts["CITATION.cff"])
    assert citation["authors"][0] == {
        "family-names": "O'Beispiel",
        "given-names": "Ada",
        "orcid": "https://orcid.org/0000-0002-1825-0097",
        "affiliation": "University of Nowhere",
    }
    assert (citation["license"], citation["doi"], citation["version"]) == ("CC-BY-NC-4.0", "10.1234/abcd", "2.1.0")
    croissant = json.loads(texts["croissant.json"])
    assert croissant["license"] == LICENCES["CC-BY-NC-4.0"][1]
    assert croissant["citeAs"] == "O'Beispiel, A. (2031). Checkups: a data set."
    assert identifiers(tmp_path / "release") == []


def test_what_nobody_stated_is_marked_and_not_invented(tmp_path: Path) -> None:
    texts = write(tmp_path / "release", DatasetSettings())
    front = verify_describe.front_matter(texts["README.md"])
    assert (DatasetCardData(**front).license, front["license_name"]) == ("other", LICENCE)
    assert "Still open, for the owner of the data to state: licence, authors, contact" in texts["README.md"]
    assert json.loads(texts["croissant.json"])["license"] == LICENCE
    assert "license" not in yaml.safe_load(texts["CITATION.cff"])
    assert identifiers(tmp_path / "release") == []


def test_a_stated_word_excuses_itself_and_nothing_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "release", stated(tmp_path))
    path = tmp_path / "release" / "datasheet.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nAsk 13987654321.\n", encoding="utf-8")
    assert len(identifiers(tmp_path / "release")) == 1


def test_a_licence_of_ones_own_needs_its_text(tmp_path: Path) -> None:
    settings = stated(tmp_path, "dataset: {card: {licence: Clinic Licence 2, licence_url: https://example.org/licence}}")
    front = verify_describe.front_matter(write(tmp_path / "release", settings)["README.md"])
    assert {k: v for k, v in front.items() if k.startswith("license")} == {
        "license": "other",
        "license_name": "clinic-licence-2",
        "license_link": "https://example.org/licence",
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("licence=MINE", "licence=MINE: none of CC0-1.0.*card.licence_url"),
        ("licence_url=https://example.org/l", "name the licence too"),
        ("homepage=example.org", "card.homepage='example.org': an address that begins with https://"),
        ("contact=the clinic", "an e-mail address, or an address"),
        ("doi=abc", "a DOI reads 10.1234/abcd"),
        ("version=2", "card.version"),
        ("authors=[{name: A, orcid: 0000-0002-1825-0097}]", "an organisation has no"),
        ("authors=[{given_names: A}]", "give name"),
        ("license=CC-BY-4.0", "card.license: unknown setting; did you mean licence"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(given: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(DatasetSettings, "dataset", None, [f"card.{given}"])


def test_every_known_licence_is_one_the_hub_knows() -> None:
    for spdx in LICENCES:
        settings = CardSettings(licence=spdx.lower())
        assert settings.spdx == spdx and settings.licence_text


def test_a_card_changed_by_hand_is_kept_before_it_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(str(tmp_path / "work"))
    workspace.create()
    store = build.Store(f"{workspace.public.root}/release")
    written = {name: store.commit(name, name.encode()) for name in ("README.md", "CITATION.cff")}
    workspace.private.commit_json("released.json", {"made_of": "", "documents": written})
    build.keep_edited(store, workspace)
    assert capsys.readouterr().out == ""
    store.commit("README.md", b"my own words")
    build.keep_edited(store, workspace)
    assert workspace.public.read("edited/README.md") == b"my own words"
    assert "README.md of the last release were changed by hand" in capsys.readouterr().out
    # a build that was killed behind its first document: what stands there now is not a person's
    store.commit("INCOMPLETE", b"")
    store.commit("README.md", b"half a build")
    build.keep_edited(store, workspace)
    assert workspace.public.read("edited/README.md") == b"my own words"


@pytest.mark.parametrize("licence", ["自定义数据许可", "2.0", "No", "null"])
def test_a_licence_of_ones_own_has_a_name_that_is_text(tmp_path: Path, licence: str) -> None:
    settings = stated(tmp_path, f"dataset:\n  card:\n    licence: '{licence}'\n    licence_url: 'https://example.org/terms:'\n")
    write(tmp_path / "r", settings)
    front = yaml.safe_load((tmp_path / "r" / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert isinstance(front["license_name"], str) and front["license_name"]
    assert front["license_link"] == "https://example.org/terms:"
