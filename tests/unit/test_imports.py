"""Imports go jobs -> sizing -> data | train | evaluate | synthetic -> models | imaging | dental -> core, and importing does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "core": {"core", "contracts"},
    "models": {"models", "core", "contracts"},
    "imaging": {"imaging", "core"},
    "dental": {"dental", "core", "contracts"},
    "data": {"data", "imaging", "dental", "models", "core", "contracts"},
    "train": {"train", "models", "core", "contracts"},
    "evaluate": {"evaluate", "dental", "models", "core", "contracts"},
    "synthetic": {"synthetic", "models", "core", "contracts"},
    "sizing": {"sizing", "data", "train", "models", "core"},  # asks the other rooms' own plans; nothing imports it but jobs
    "contracts": set(),
}
MODULES = sorted((ROOT / "codelib").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_direction(path: Path) -> None:
    room = path.relative_to(ROOT / "codelib").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    inside = {name.split(".")[1] for name in imported(path) if name.startswith("codelib.")}
    assert inside - {"__version__"} <= ALLOWED[room], f"{path} imports {inside - ALLOWED[room]}"
    assert not any(name.split(".")[0] == "jobs" for name in imported(path)), f"{path} imports jobs"


def test_data_stages_know_no_ray() -> None:
    users = [p.name for p in (ROOT / "codelib" / "data").glob("*.py") if any(n.split(".")[0] == "ray" for n in imported(p))]
    assert users == []


def test_importing_starts_nothing() -> None:
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in MODULES if p.name != "__init__.py"]
    modules += [f"jobs.{p.stem}" for p in (ROOT / "jobs").glob("*.py") if p.stem != "__init__"]
    code = f"import importlib\nfor m in {modules!r}: importlib.import_module(m)\nimport sys\n"
    code += "assert 'ray' not in sys.modules or not sys.modules['ray'].is_initialized()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_an_evaluation_is_planned_without_what_takes_seconds_to_import() -> None:
    heavy = ("torch", "transformers", "ray", "sklearn", "scipy", "pandas", "nltk", "pypinyin", "onnxruntime")
    code = f"import jobs.evaluate, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stdout + done.stderr
