"""What stands beside the card: the datasheet's questions, Croissant metadata, the citation. Made of settings and counts alone: no time, no
host, no path of the build, so that the same content gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from codelib import __version__
from codelib.contracts import OK, SIX_CLASSES
from codelib.data.card_settings import LICENCE, Author, CardSettings
from codelib.data.ledger import Totals
from codelib.data.release import CSV_COLUMNS
from codelib.data.settings import DatasetSettings

OWNER = "The owner of the data (to be named)"
INTENDED = "Research on vision-language models for oro-dental photographs, radiographs and records: training, benchmarking, method studies."
FORBIDDEN = (
    "Diagnosis, triage or treatment of a person; finding out who a patient is, or joining the data with other data to that end; decisions on "
    "insurance, credit or employment."
)
_OWNER_SAYS = "Not known to the program that built this release; the owner of the data has to answer before it is shared."


def documents(settings: DatasetSettings, totals: Totals, sums: Mapping[str, str], translation: str) -> dict[str, str]:
    """Name -> text. sums: path -> sha256 of the tables and shards that were written."""
    return {
        "datasheet.md": _datasheet(settings, totals, translation),
        "croissant.json": json.dumps(_croissant(settings.card, sums), ensure_ascii=False, indent=1) + "\n",
        "CITATION.cff": _citation(settings.card),
    }


def distributed(card: CardSettings) -> str:
    """Under which licence, or that nobody has stated one."""
    if not card.licence:
        return f"Not stated: the licence is for the data's owner to give, and without one nobody may use the data (`{LICENCE}`)."
    return f"{card.spdx or card.licence}, {card.licence_text}"


def _citation(card: CardSettings) -> str:
    """Citation File Format 1.2.0. Only a licence that SPDX knows may stand in its `license`."""
    open_points = "Name this data set by these fields, once its owner has filled in the authors and the licence."
    value: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": (card.citation and f"Cite as: {card.citation}")
        or ("Cite this data set by these fields." if card.authors and card.licence else open_points),
        "type": "dataset",
        "title": card.title,
        "authors": [_cff_author(author) for author in card.authors] or [{"name": OWNER}],
        "version": card.version if card.authors else None,
        "doi": card.doi,
        "license": card.spdx,
        "license-url": None if card.spdx else card.licence_text,
        "url": card.homepage,
    }
    if card.contact:
        value["contact"] = [{"name": "The owner of the data", "email" if "@" in card.contact else "website": card.contact}]
    given = {key: one for key, one in value.items() if one is not None}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=1_000_000)


def _cff_author(author: Author) -> dict[str, str]:
    value = {
        "name": author.name,
        "family-names": author.family_names,
        "given-names": author.given_names,
        "orcid": author.orcid and f"https://orcid.org/{author.orcid}",
        "affiliation": author.affiliation,
    }
    return {key: one for key, one in value.items() if one}


def _datasheet(settings: DatasetSettings, totals: Totals, translation: str) -> str:
    """The questions are those of Gebru et al., Datasheets for Datasets (CACM 64(12), 2021), by section."""
    card = settings.card
    made_by = ", ".join(author.full_name for author in card.authors)
    rejected = sum(n for (kind, reason), n in totals.counts.items() if kind == "visit" and reason != OK)
    answers: dict[str, Sequence[tuple[str, str]]] = {
        "Motivation": [
            ("For what purpose was the dataset created?", INTENDED),
            (
                "Who created the dataset, and who funded it?",
                f"Created by: {made_by or _OWNER_SAYS} Funded by: {card.funding or _OWNER_SAYS}",
            ),
        ],
        "Composition": [
            (
                "What do the instances represent?",
                "Dental checkups: one clinical record, in Chinese and English, with its images.",
            ),
            ("How many instances are there?", f"{totals.of('visit', True)} checkups, {totals.num_images} images."),
            (
                "Is it a sample of a larger set?",
                f"It is what one export held, less {rejected} visits that were rejected; ledger.csv counts why.",
            ),
            (
                "Is there a label?",
                f"Diagnoses read from the record's diagnosis; of the benchmark one of {', '.join(SIX_CLASSES)}.",
            ),
            (
                "Is information missing?",
                "A field that the clinic left empty is empty. What could identify a person is a placeholder.",
            ),
            (
                "Are there recommended splits?",
                f"train, validation and test by {settings.split.unit}; other checkups of a test patient are in none (excluded).",
            ),
            (
                "Are there errors, noise or redundancies?",
                "Labels were read by software. Near-duplicates are searched for; some may remain.",
            ),
            (
                "Does it hold confidential data?",
                "Health data of people, de-identified by software and by people's answers to doubts.",
            ),
            (
                "Can individuals be identified?",
                "Not by names, numbers or places that were found. A leak can never be ruled out wholly.",
            ),
            ("Does it identify subpopulations?", "By age and gender. Age 90 stands for 90 and over."),
        ],
        "Collection": [
            (
                "How was the data acquired?",
                "In the clinic's routine: photographs, radiographs and records, as its practice system keeps them.",
            ),
            (
                "Were the individuals notified, did they consent, and was there an ethical review?",
                card.ethics or _OWNER_SAYS,
            ),
            ("Can consent be withdrawn?", "Yes: the next build removes all of the person, and what follows from it."),
        ],
        "Preprocessing": [
            (
                "Was the data preprocessed?",
                f"Images: JPEG of at most {settings.images.longest_px} px, no metadata. English: {translation}",
            ),
            ("Was the raw data kept?", "By the owner, in a locked room; it is no part of this release."),
            ("Is the software available?", f"codelib {__version__}, Apache-2.0; its settings stand in manifest.json."),
        ],
        "Uses": [
            ("For what could it be used?", INTENDED),
            ("For what should it not be used?", FORBIDDEN),
            (
                "What could affect future uses?",
                "One clinic, one practice system, one country: nothing says that a result holds elsewhere.",
            ),
        ],
        "Distribution": [
            ("Under which licence is it distributed?", distributed(card)),
            ("How, when and to whom is it distributed?", card.homepage or _OWNER_SAYS),
        ],
        "Maintenance": [
            ("Who maintains it, and how can the owner be contacted?", card.contact or _OWNER_SAYS),
            (
                "Will it be updated?",
                "A later export gives a new release with the same ids; content in manifest.json tells two apart.",
            ),
        ],
    }
    lines = [f"# Datasheet: {card.title}"]
    for section, asked in answers.items():
        lines += ["", f"## {section}"]
        for question, answer in asked:
            lines += ["", f"### {question}", "", answer]
    return "\n".join(lines) + "\n"


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
_FORMS = {"csv": "text/csv", "json": "application/json", "parquet": "application/x-parquet"}


def _creator(author: Author) -> dict[str, str]:
    if author.name:
        return {"@type": "Organization", "name": author.name}
    return {"@type": "Person", "name": author.full_name} | (
        {"sameAs": f"https://orcid.org/{author.orcid}"} if author.orcid else {}
    )


def _croissant(card: CardSettings, sums: Mapping[str, str]) -> dict[str, Any]:
    """Croissant 1.0 (docs.mlcommons.org/croissant): every table with its sum, and the columns of complete-dataset.csv."""
    table = "complete-dataset.csv"
    files = [p for p in sorted(sums) if p.rpartition(".")[2] in _FORMS and (p.startswith("parquet/") or "/" not in p)]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "oro-dental-checkups",
        "description": f"{card.title}. {INTENDED} Not for: {FORBIDDEN}",
        "license": card.licence_text or LICENCE,
        "url": card.homepage or "https://huggingface.co/datasets",
        "creator": [_creator(author) for author in card.authors] or {"@type": "Organization", "name": OWNER},
        "version": card.version,
        **({"citeAs": card.citation} if card.citation else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": path,
                "name": path,
                "contentUrl": path,
                "encodingFormat": _FORMS[path.rpartition(".")[2]],
                "sha256": sums[path],
            }
            for path in files
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "checkups",
                "name": "checkups",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"checkups/{column}",
                        "name": column,
                        "dataType": "sc:Integer" if column == "id" else "sc:Text",
                        "source": {"fileObject": {"@id": table}, "extract": {"column": column}},
                    }
                    for column in CSV_COLUMNS
                ],
            }
        ],
    }
