"""Invented people: names, numbers and addresses to plant. The two pools share no surname, given name or street.

names.json is divided between the pools; held_out.json belongs to the held-out one alone: rare and compound surnames, names of minorities and
foreigners, and phrases in other styles of writing than those the privacy rules were written against.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np

Pool = Literal["train", "held_out"]
POOLS: tuple[Pool, ...] = ("train", "held_out")
T = TypeVar("T")

HELD_OUT_SHARE = 0.5
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
ID_CHECK = "10X98765432"


@dataclass(frozen=True)
class Person:
    """A patient (or a member of staff, of whom only the names are used)."""

    name: str
    pinyin: str  # Zhou Yan
    phone: str
    landline: str
    id_number: str
    email: str
    wechat: str
    qq: str
    address: str
    street: str  # the address's street and number, the part that finds the door
    record_number: str


def pool_part(items: Sequence[T], pool: Pool) -> list[T]:
    """Every third entry of a list is held out, the others train: the split needs no argument and no second list."""
    return [item for number, item in enumerate(items) if (number % 3 == 2) == (pool == "held_out")]


def draw(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def draw_name(rng: np.random.Generator, pool: Pool, gender: str | None) -> tuple[str, str]:
    """A name and its pinyin: mostly a one-character surname, 6 % compound, 4 % of a minority."""
    if pool == "held_out" and rng.random() < HELD_OUT_SHARE:
        return _held_out_name(rng)
    names = _names()
    kind = rng.random()
    if kind < 0.04:
        name, pinyin = draw(rng, pool_part(names["minority_names"], pool))
        return name, pinyin.capitalize()
    surname, surname_pinyin = draw(rng, pool_part(names["compound_surnames" if kind < 0.10 else "surnames"], pool))
    key = "given_male" if gender == "男" else "given_female"
    given, given_pinyin = draw(rng, pool_part(names[key], pool))
    return surname + given, f"{surname_pinyin.capitalize()} {given_pinyin.capitalize()}"


def _held_out_name(rng: np.random.Generator) -> tuple[str, str]:
    """A third of them without a surname, a fifth of the others with a compound one."""
    names = held_out()
    if rng.random() < 0.33:
        name, latin = draw(rng, names["whole_names"])
        return name, latin.title()
    surname, surname_pinyin = draw(rng, names["compound_surnames" if rng.random() < 0.2 else "surnames"])
    given, given_pinyin = draw(rng, names["given"])
    return surname + given, f"{surname_pinyin.capitalize()} {given_pinyin.capitalize()}"


def draw_staff(rng: np.random.Generator, pool: Pool) -> str:
    """A dentist's name, with a one-character surname, so that its first character and 医生 are a form of address."""
    surname = draw(rng, pool_part(_names()["surnames"], pool))[0]
    return surname + draw(rng, pool_part(_names()[draw(rng, ("given_male", "given_female"))], pool))[0]


def draw_person(rng: np.random.Generator, pool: Pool, gender: str | None, birth_year: int) -> Person:
    names = _names()
    name, pinyin = draw_name(rng, pool, gender)
    street = f"{draw(rng, pool_part(names['streets'], pool))}{int(rng.integers(3, 980))}号"
    if rng.random() < 0.4:
        street += f"{int(rng.integers(1, 30))}幢{int(rng.integers(101, 1800))}室"
    handle = pinyin.replace(" ", "").lower()
    return Person(
        name=name,
        pinyin=pinyin,
        phone=f"1{draw(rng, '3578')}{int(rng.integers(10**8, 10**9))}",
        landline=f"{draw(rng, pool_part(names['area_codes'], pool))}-{int(rng.integers(6 * 10**7, 9 * 10**7))}",
        id_number=_id_number(rng, draw(rng, pool_part(names["id_areas"], pool)), birth_year),
        email=f"{handle}{int(rng.integers(10, 9999))}@{draw(rng, pool_part(names['mail_hosts'], pool))}",
        wechat=(f"{handle}_" if rng.random() < 0.6 else "wxid_") + str(int(rng.integers(10**4, 10**6))),
        qq=str(int(rng.integers(10**8, 4 * 10**9))),
        address=draw(rng, pool_part(names["districts"], pool)) + street,
        street=street,
        record_number=f"BL{int(rng.integers(10**7, 10**8))}",
    )


def id_number_is_valid(number: str) -> bool:
    """The checksum of an 18-digit resident identity number (GB 11643-1999)."""
    total = sum(weight * int(digit) for weight, digit in zip(ID_WEIGHTS, number[:17], strict=True))
    return ID_CHECK[total % 11] == number[17]


def _id_number(rng: np.random.Generator, area: str, birth_year: int) -> str:
    """Half of the numbers fail their checksum, as mistyped ones do in real records."""
    birth = f"{birth_year}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
    head = f"{area}{birth}{int(rng.integers(1000)):03d}"
    right = next(check for check in ID_CHECK if id_number_is_valid(head + check))
    wrong = draw(rng, [check for check in ID_CHECK if check != right])
    return head + (right if rng.random() < 0.5 else wrong)


@lru_cache(maxsize=1)
def _names() -> dict[str, list]:
    return json.loads((Path(__file__).parent / "names.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def held_out() -> dict[str, list]:
    """Names and planted phrases of the held-out pool alone."""
    return json.loads((Path(__file__).parent / "held_out.json").read_text(encoding="utf-8"))
