"""Commands that stand in the documents, launchers and manifests are ones that the programs take: each is read by the job's own parser, and
`ray job submit` by Ray's."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from codelib.core.cli import Parser

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "slurm").glob("*.sbatch"),
        *(ROOT / "cluster").rglob("*.yaml"),
        *(path for path in (ROOT / "jobs").glob("*.py") if path.name != "__init__.py"),
    ]
)
_JOB = re.compile(r"python -m (jobs\.\w+)((?: (?!\|)[^\n`]*)?)")
_SBATCH = re.compile(r"sbatch ([^\n`]*?)slurm/([\w-]+)\.sbatch((?: [^\n`]*)?)")
_SUBMIT = re.compile(r"ray job submit ([^\n`]*?)-- python -m")
_LAUNCHED = {
    "dataset": ("jobs.dataset", ()),
    "evaluate": ("jobs.evaluate", ()),
    "train-3b": ("jobs.train", ("--recipe", "paper-3b")),
    "train-7b": ("jobs.train", ("--recipe", "paper-7b")),
}


class Seen(BaseException):
    """In place of the job: no job catches it."""

    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser


def text_of(file: Path) -> str:
    """With lines that go on joined, comment signs taken off, and no more than one blank between words."""
    text = file.read_text()
    if file.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    text = re.sub(r"^ *#+ ?", "", text, flags=re.MULTILINE)
    text = re.sub(r" *\\\n\s*", " ", text)
    return re.sub(r"(\bentrypoint: >-)\n\s+", r"\1 ", text)


def words_of(rest: str) -> list[str]:
    """Up to a comment or the next command; what is optional in a usage line counts as given."""
    rest = re.split(r"(?:^|\s)#\s|  +(?=\S)|[’']$|\||;| && | \[what\b", rest.strip())[0]
    try:
        return shlex.split(rest.replace("[", " ").replace("]", " "))
    except ValueError:  # a quotation that ends in the sentence around it
        return rest.split()


def commands() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for file in FILES:
        text, place = text_of(file), str(file.relative_to(ROOT))
        for job, rest in _JOB.findall(text):
            yield place, job, tuple(words_of(rest))
        for _, launcher, rest in _SBATCH.findall(text):
            job, given = _LAUNCHED[launcher]
            yield place, job, (*given, *words_of(rest))


@functools.cache
def parser_of(job: str) -> Parser:
    def seen(self: Parser, *args: Any, **more: Any) -> None:
        raise Seen(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_args", seen)
        with pytest.raises(Seen) as caught:
            import_module(job).main([])
    return caught.value.parser


def is_part(words: tuple[str, ...]) -> bool:
    """A mention of a job, or a command that leaves something out."""
    return any("…" in word or word.endswith("...") or word == "$@" for word in words) or not any(w.startswith("-") for w in words)


def test_every_document_that_should_has_commands() -> None:
    found = {place for place, _, _ in commands()}
    assert {"README.md", "docs/running.md", "docs/storage.md", "slurm/train-7b.sbatch", "cluster/runtime_env.yaml"} <= found
    assert len(list(commands())) > 60
    assert {job for _, job, _ in commands()} >= {"jobs.dataset", "jobs.train", "jobs.evaluate", "jobs.review", "jobs.release"}


@pytest.mark.parametrize(
    ("place", "job", "words"),
    sorted(set(commands())),
    ids=lambda value: value if isinstance(value, str) else " ".join(value)[:50],
)
def test_a_job_takes_the_command(place: str, job: str, words: tuple[str, ...]) -> None:
    parser = parser_of(job)
    if is_part(words):  # its options are known
        known = set(parser._option_string_actions)
        for action in parser._subparsers._group_actions if parser._subparsers else ():
            for below in action.choices.values():  # type: ignore[union-attr]
                known |= set(below._option_string_actions)
        assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, place
        return
    given = vars(parser.parse_args(list(words)))
    for name in ("recipe", "variants"):
        value = str(given.get(name) or "")  # of jobs.plan: how many variants
        if value.startswith("jobs/"):
            assert (ROOT / value).is_file(), f"{place}: {value}"


@pytest.mark.parametrize("words", sorted({rest for file in FILES for rest in _SUBMIT.findall(text_of(file))}))
def test_ray_takes_the_submission(words: str) -> None:
    from ray.dashboard.modules.job.cli import submit

    given = submit.make_context("submit", [*shlex.split(words.replace("…", "")), "--", "true"]).params
    for name in ("runtime_env", "working_dir"):
        assert not given[name] or (ROOT / given[name]).exists(), given[name]
