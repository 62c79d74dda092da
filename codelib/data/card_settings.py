"""``dataset.card`` in a recipe: what only a person can say of a release. Nothing of it is guessed; what is not given is marked as open in
the card, the datasheet, the Croissant metadata and the citation.

It is a part of the workspace's settings: a later run that forgets the recipe ends with the difference, and does not write the placeholders back.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from codelib.core.config import Settings

TITLE = "Oro-dental checkups, de-identified and bilingual"
LICENCE = "to-be-stated-by-the-owner"
_CC = "https://creativecommons.org"
LICENCES = {  # SPDX identifier -> (what the Hub calls it, where its text is): those made for data, and the paper's kind
    "CC0-1.0": ("cc0-1.0", f"{_CC}/publicdomain/zero/1.0/"),
    **{
        f"CC-{k.upper()}-4.0": (f"cc-{k}-4.0", f"{_CC}/licenses/{k}/4.0/")
        for k in ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
    },
    "CDLA-Permissive-2.0": ("cdla-permissive-2.0", "https://cdla.dev/permissive-2-0/"),
    "CDLA-Sharing-1.0": ("cdla-sharing-1.0", "https://cdla.dev/sharing-1-0/"),
    "ODC-By-1.0": ("odc-by", "https://opendatacommons.org/licenses/by/1-0/"),
    "ODbL-1.0": ("odbl", "https://opendatacommons.org/licenses/odbl/1-0/"),
    "PDDL-1.0": ("pddl", "https://opendatacommons.org/licenses/pddl/1-0/"),
}


def _one_line(text: Any) -> Any:
    """A folded YAML text ends with a line break; a line break inside would end a table, a heading or a YAML line of what is written."""
    return " ".join(text.split()) if isinstance(text, str) else text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>]+\.[^\s\"'<>]+", text):
        raise ValueError("an address that begins with https:// is needed")
    return text


def _doi(text: str) -> str:
    found = re.fullmatch(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", text, re.IGNORECASE)
    if not found:
        raise ValueError("a DOI reads 10.1234/abcd")
    return found[1]


def _orcid(text: str) -> str:
    found = re.fullmatch(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])", text)
    if not found:
        raise ValueError("an ORCID reads 0000-0002-1825-0097")
    return found[1]


def _contact(text: str) -> str:
    if not re.fullmatch(r"[^\s@\"'<>]+@[^\s@\"'<>]+\.[^\s@\"'<>]+", text):
        try:
            return _url(text)
        except ValueError:
            raise ValueError("an e-mail address, or an address that begins with https://, is needed") from None
    return text


Words = Annotated[str, BeforeValidator(_one_line), Field(min_length=1, max_length=2000)]
Url = Annotated[Words, AfterValidator(_url)]


class Author(Settings):
    """A person by given_names and family_names, or an organisation by name."""

    name: Words | None = None
    given_names: Words | None = None
    family_names: Words | None = None
    orcid: Annotated[Words, AfterValidator(_orcid)] | None = None
    affiliation: Words | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.name is None) == (self.family_names is None):
            raise ValueError("give name (an organisation), or family_names and given_names (a person)")
        if self.name and (self.given_names or self.orcid or self.affiliation):
            raise ValueError(f"name={self.name}: an organisation has no given_names, orcid or affiliation")
        return self

    @property
    def full_name(self) -> str:
        return self.name or " ".join(filter(None, (self.given_names, self.family_names)))


class CardSettings(Settings):
    title: Words = TITLE
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"  # of the data: raise it with each one you publish
    authors: tuple[Author, ...] = ()
    licence: Words | None = None
    """An SPDX identifier (CC-BY-NC-4.0); any other name needs licence_url."""
    licence_url: Url | None = None
    contact: Annotated[Words, AfterValidator(_contact)] | None = None  # e-mail or page
    citation: Words | None = None  # as it should be cited: one reference, on one line
    doi: Annotated[Words, AfterValidator(_doi)] | None = None
    homepage: Url | None = None
    funding: Words | None = None
    ethics: Words | None = None  # how people were told, what they agreed to, which board looked at it

    @model_validator(mode="after")
    def _licence_has_a_text(self) -> Self:
        if self.licence and self.spdx is None and self.licence_url is None:
            raise ValueError(
                f"licence={self.licence}: none of {', '.join(LICENCES)}; say where its text stands with card.licence_url"
            )
        if self.licence_url and not self.licence:
            raise ValueError("licence_url: name the licence too, with card.licence")
        return self

    @property
    def spdx(self) -> str | None:
        """The licence's SPDX identifier, where it is one that is known here."""
        return next((name for name in LICENCES if self.licence and name.lower() == self.licence.lower()), None)

    @property
    def licence_text(self) -> str | None:
        """Where the licence can be read."""
        return self.licence_url or (LICENCES[self.spdx][1] if self.spdx else None)

    def open_points(self) -> list[str]:
        """The settings that a person still has to give before the release can be shared."""
        return [name for name in ("licence", "authors", "contact", "citation", "funding", "ethics") if not getattr(self, name)]
