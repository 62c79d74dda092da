"""One validated tree of settings: recipe file, then ``--set a.b=c``.

jobs/recipes/demo.yaml ──section "dataset"──┐
--set split.test_size=600 ──────────────────┴─> DatasetSettings (pydantic, frozen, unknown names refused)
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Base of every settings class: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def fingerprint(self) -> dict[str, Any]:
        """The settings as JSON values: what goes into a stage's key and manifest."""
        return self.model_dump(mode="json")


S = TypeVar("S", bound=Settings)
SECTIONS = ("dataset", "train", "evaluate", "demo")


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean x?' or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there is: {', '.join(known) or 'nothing'}"


def recipe_file(recipe: str) -> Path:
    """Path of a recipe: a file as given, or a name in jobs/recipes. Raises ValueError naming the nearest recipe."""
    if Path(recipe).suffix in (".yaml", ".yml"):
        if not Path(recipe).is_file():
            raise ValueError(f"--recipe {recipe}: no such file")
        return Path(recipe)
    folder = Path(str(files("jobs"))) / "recipes"
    path = folder / f"{recipe}.yaml"
    if not path.is_file():
        raise ValueError(f"--recipe {recipe}: unknown recipe; {nearest(recipe, (p.stem for p in folder.glob('*.yaml')))}")
    return path


def read_recipe(recipe: str | None, section: str) -> dict[str, Any]:
    """The section of a recipe, as plain values."""
    assert section in SECTIONS, section
    if recipe is None:
        return {}
    path = recipe_file(recipe)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{path.name}: not YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path.name}: expected sections ({', '.join(SECTIONS)}), found a {type(tree).__name__}")
    for name in tree:
        if name not in SECTIONS:
            raise ValueError(f"{path.name}: unknown section {name}; {nearest(str(name), SECTIONS)}")
    if section not in tree:
        raise ValueError(f"--recipe {recipe} has no section {section}; it has: {', '.join(tree)}")
    return tree[section] or {}


def load(model: type[S], section: str, recipe: str | None, overrides: Iterable[str] = ()) -> S:
    """The validated settings of one job. Raises ValueError with one line for each mistake: place, value, way out."""
    tree = read_recipe(recipe, section)
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise ValueError(f"--set {override}: expected name=value, for example --set seed=1")
        _assign(tree, name.strip(), value)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(model, e) for e in error.errors())) from None


def _assign(tree: dict[str, Any], dotted: str, value: str) -> None:
    *path, last = dotted.split(".")
    node = tree
    for part in path:
        below = node.setdefault(part, {})
        if not isinstance(below, dict):
            raise ValueError(f"--set {dotted}: {part} is a value, not a group of settings")
        node = below
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        node[last] = value


def _explain(model: type[BaseModel], error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    dotted = ".".join(place)
    if error["type"] == "extra_forbidden":
        return f"{dotted}: unknown setting; {nearest(place[-1], _names_at(model, place[:-1]))}"
    if error["type"] == "missing":
        return f"{dotted}: missing; give it in the recipe or with --set {dotted}=..."
    return f"{dotted}={error['input']!r}: {error['msg'].removeprefix('Value error, ')}"


def _names_at(model: type[BaseModel], place: list[str]) -> list[str]:
    """Field names of the settings group at a dotted place."""
    node: Any = model
    for part in place:
        field = node.model_fields.get(part) if isinstance(node, type) and issubclass(node, BaseModel) else None
        node = field.annotation if field else None
    return list(node.model_fields) if isinstance(node, type) and issubclass(node, BaseModel) else []


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """'split.seed: 0 -> 1' for every value that differs between two settings trees."""
    found = []
    for name in sorted({*old, *new}):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {json.dumps(a, ensure_ascii=False)} -> {json.dumps(b, ensure_ascii=False)}")
    return found
