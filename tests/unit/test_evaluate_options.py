"""jobs.evaluate before anything is asked: what is compared and on what, the plan of a dry run, and each mistake in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from codelib.core.cli import run_job
from jobs import evaluate
from jobs.evaluate import main
from tests.fixtures import make_release

VARIANTS = """
defaults: {model: tiny}
variants:
  - {name: base}
  - {name: base again}
  - {name: tuned, adapter: train/demo/adapter}
  - {name: served, engine: openai, base_url: "http://127.0.0.1:9/v1", model: m}
  - {name: hub, model: nobody/has-this-model}
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_release(tmp_path_factory.mktemp("release"))
    for name in ("train-cls", "test-cls"):
        text = (folder / f"{name}.json").read_text(encoding="utf-8")
        (folder / f"{name}.json").write_text(text.replace('"Red"', '"Caries"').replace('"Blue"', '"Pulpitis"'), encoding="utf-8")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(VARIANTS, encoding="utf-8")
    return path


def say(capsys: pytest.CaptureFixture[str], *arguments: object, expect: int = 0) -> str:
    code = run_job(main, [str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == expect, out + err
    return err if expect else out


def test_a_dry_run_says_what_is_shared_and_touches_nothing(
    release: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--dataset", release, "--workspace", tmp_path / "work", "--variants", file)
    said = say(capsys, *arguments, "--benchmarks", "classification", "--dry-run")
    lines = said.splitlines()
    assert "  engine 1: tiny on this cluster, once for 3 variants (the bare model and 1 adapter)" in lines
    assert "  engine 2: m of its own server" in lines
    assert any("tuned" in line and "model and adapter NOT FOUND" in line for line in lines)
    assert any("hub" in line and "model NOT DOWNLOADED" in line for line in lines)  # nothing is, while a job runs
    # a question that two variants put to the same weights is put once; a visit's images are prepared once
    assert any("together 12 questions (8 different) of 6 images, shown 12 times" in line for line in lines), said
    assert any("to ask: " in line and "of them images), at most 256 in answers" in line for line in lines)
    assert str(tmp_path) not in said and str(release) not in said
    assert not (tmp_path / "work").exists()


def test_a_recipe_names_its_list_and_the_list_its_benchmarks(
    release: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine-too.yaml"
    recipe.write_text("evaluate: {variants: mine.yaml, seed: 3}\n", encoding="utf-8")
    file.write_text("[{name: a, model: tiny, benchmarks: [classification]}, {name: b, model: tiny}]", encoding="utf-8")
    arguments = ("--dataset", release, "--workspace", tmp_path / "work", "--recipe", recipe, "--dry-run")
    said = say(capsys, *arguments, "--benchmarks", "classification")
    assert "2 variants" in said
    assert "test-diagnostic" in say(capsys, *arguments, expect=2)  # b takes part in generation, which this release has not
    own = ("--test", release / "test-cls.json", "--benchmark", "generation", *arguments[2:])
    assert "a is asked nothing: its benchmarks are classification." in say(capsys, *own)


def test_a_file_of_ones_own_is_planned_with_its_faults(
    release: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((release / "test-cls.json").read_text(encoding="utf-8"))
    rows[1]["images"] = ["gone.jpg"] * len(rows[1]["images"])
    (tmp_path / "other-clinic.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    own = ("--test", tmp_path / "other-clinic.jsonl", "--images", release, "--benchmark", "classification")
    said = say(capsys, *own, "--workspace", tmp_path / "work", "--variants", file, "--dry-run")
    assert "5 variants on other-clinic" in said
    assert "row 2: image_missing: image 1 of" in said
    assert "1 of the 4 rows of the test file are rejected and not asked: image_missing × 1" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--variants", "VARIANTS"), "--dataset: what is asked?"),
        (("--dataset", "RELEASE"), "--variants: which models are compared?"),
        (("--dataset", "RELEASE", "--recipe", "papr"), "did you mean paper"),
        (("--dataset", "RELEASE", "--variants", "ablation-langage"), "did you mean ablation-language"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--benchmarks", "spectrun"), "did you mean spectrum"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--benchmarks", "spectrum"), "no complete-dataset.csv"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--benchmark", "classification"), "did you mean --benchmarks"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--images", "."), "--images is for a file of your own"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--set", "spectrum_visits=al"), "spectrum_visits"),
        (("--dataset", "RELEASE", "--variants", "VARIANTS", "--patient", "x"), "did you mean --patients"),
        (
            ("--test", "RELEASE/test-cls.json", "--dataset", "RELEASE", "--variants", "VARIANTS", "--benchmark", "generation"),
            "few-shot",
        ),
        (("--test", "RELEASE/test-cls.json", "--variants", "VARIANTS"), "--benchmark: say what"),
        (
            ("--test", "RELEASE/test-cls.json", "--variants", "VARIANTS", "--benchmarks", "classification"),
            "--benchmarks is for a release",
        ),
        (
            ("--test", "RELEASE/test-csl.json", "--variants", "VARIANTS", "--benchmark", "classification"),
            "did you mean test-cls.json",
        ),
        (
            ("--test", "RELEASE/test-cls.json", "--variants", "VARIANTS", "--benchmark", "reports"),
            "there is: classification, generation",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    release: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    given = [one.replace("RELEASE", str(release)).replace("VARIANTS", str(file)) for one in arguments]
    said = say(capsys, *given, "--workspace", tmp_path / "work", "--dry-run", expect=2)
    assert words in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_release_that_changed_while_it_was_read_is_not_asked_about(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have withdrawn between the plan and the lock: what was read before must not reach a model."""
    release = make_release(tmp_path)
    arguments = ("--dataset", release, "--workspace", tmp_path / "work", "--variants", file, "--benchmarks", "classification")
    monkeypatch.setattr(evaluate, "predict", lambda *_: pytest.fail("asked"))
    for change in (lambda: os.utime(release / "test-cls.json"), lambda: shutil.rmtree(release)):
        monkeypatch.setattr(evaluate, "check_servers", lambda *_, change=change: change())
        assert "run the same command again" in say(capsys, *arguments, expect=1)
