"""The words of a conversation in one language: question templates, names of fields and sections, classes (questions/en.yaml, zh.yaml)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import yaml

from codelib.contracts import SIX_CLASSES

Language = Literal["en", "zh"]
Modalities = Literal["both", "images", "text"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
FOLDER = Path(__file__).parent / "questions"
SECTIONS = (
    "patient_record",
    "examination",
    "radiographs_examination",
    "diagnosis",
    "treatment_plan",
    "management",
    "medical_instructions",
    "remarks",
)
"""The fields that the report consists of, in its order (paper, table of benchmarks)."""


@dataclass(frozen=True)
class Words:
    """One language. ``templates``: task -> side (train | test) -> question templates as written."""

    language: Language
    image: str  # "image-{number}: "
    colon: str
    comma: str
    either: str  # before the last of alternatives
    evidence: dict[str, str]  # modalities -> what a model is shown
    fields: dict[str, str]
    genders: dict[str, str]
    unknown: str
    not_recorded: str
    sections: dict[str, str]
    classes: dict[str, str]
    quadrants: tuple[str, ...]  # of the FDI quadrants 1 to 4
    templates: dict[str, dict[str, tuple[str, ...]]]

    def ask(self, template: str, modalities: Modalities) -> str:
        """A template with its slots filled. Raises KeyError for a slot that does not exist."""
        evidence, names = self.evidence[modalities], list(self.classes.values())
        return template.format(
            evidence=evidence,
            Evidence=evidence[:1].upper() + evidence[1:],
            classes=self.comma.join(names),
            any_class=self.comma.join(names[:-1]) + self.either + names[-1],
            sections=self.comma.join(self.sections.values()),
            quadrants=self.comma.join(self.quadrants),
        )


@cache
def words(language: Language) -> Words:
    """The words of a language, read once."""
    tree: dict[str, Any] = yaml.safe_load((FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    given = tree.pop("words")
    either, quadrants = given.pop("or"), tuple(given.pop("quadrants"))
    templates = {task: {side: tuple(lines) for side, lines in sides.items()} for task, sides in tree.items()}
    found = Words(language, either=either, quadrants=quadrants, templates=templates, **given)
    assert tuple(found.classes) == SIX_CLASSES, f"{language}.yaml: the six classes in the order of the contracts"
    assert tuple(found.sections) == SECTIONS, f"{language}.yaml: the eight sections in the report's order"
    return found


@cache
def questions(language: Language, task: str, side: str, modalities: Modalities) -> tuple[str, ...]:
    """The questions of a task as a model reads them. side: train | test."""
    told = words(language)
    return tuple(told.ask(template, modalities) for template in told.templates[task][side])


def slots(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def fingerprint() -> str:
    """Changes with the data files: conversations are made anew where a template or a name was rewritten."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]
