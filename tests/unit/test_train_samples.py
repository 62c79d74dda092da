"""What a run trains on: labels on the answer only, unfit samples named before the first step, validation by patient."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codelib.core.config import load
from codelib.models.conversation import Conversation, Message, open_dataset, parse
from codelib.models.encoding import IGNORED, Encoder, answer_spans
from codelib.models.prompt import PixelPolicy
from codelib.models.tiny_tokenizer import build_processor
from codelib.train.examples import Rule, look_at_header, look_at_pixels
from codelib.train.samples import fingerprint, make_plan, measure_all, read, validation_patients
from codelib.train.settings import TrainSettings
from tests.fixtures import make_release, sample

RULE = Rule.of(TrainSettings(max_pixels=112 * 112))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(build_processor(), PixelPolicy(max_pixels=112 * 112))


def _labelled(encoder: Encoder, encoded) -> str:
    return encoder.processor.tokenizer.decode([number for number in encoded.labels.tolist() if number != IGNORED])


def test_labels_stand_on_the_answer_and_its_end(tmp_path: Path, encoder: Encoder) -> None:
    for one in open_dataset(make_release(tmp_path / "r", visits=4)).read("train"):
        encoded = encoder.example(one)
        assert _labelled(encoder, encoded) == one.answer + "<|im_end|>"
        assert encoded.num_answer_tokens == len(encoder.processor.tokenizer(one.answer)["input_ids"]) + 1


def test_every_answer_of_several_turns_is_labelled(encoder: Encoder) -> None:
    turns = ("user", "a"), ("assistant", "first"), ("user", "assistant\nb"), ("assistant", "second\nline")
    encoded = encoder.example(Conversation("s", tuple(Message(*turn) for turn in turns), ()))
    assert _labelled(encoder, encoded) == "first<|im_end|>second\nline<|im_end|>"


def test_mask_of_bare_ids() -> None:
    assert answer_spans([1, 7, 8, 2, 9, 1, 5, 2], [1], 2) == [(1, 4), (6, 8)]
    assert answer_spans([3, 4], [1], 2) == []
    assert answer_spans([1, 7], [1], 2) == [(1, 2)]


def test_an_answer_that_hides_its_own_beginning_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="s/9"):
        encoder.example(Conversation("s/9", (Message("user", "a"), Message("assistant", "\n\nb")), ()))


def test_measured_length_is_the_real_length(tmp_path: Path, encoder: Encoder) -> None:
    conversations = open_dataset(make_release(tmp_path / "r", visits=4)).read("train")
    for look in (look_at_pixels, look_at_header):
        for one in measure_all(conversations, encoder, RULE, tmp_path, look):
            encoded = encoder.example(one.conversation)
            assert one.tokens == len(encoded.input_ids)
            assert one.visual_tokens == int(encoded.token_types.sum())


def _plan(folder: Path, encoder: Encoder, **change):
    settings = TrainSettings(
        **{"cut_off": 300, "max_pixels": 112 * 112, "tasks": ("train-cls",), "validation_fraction": 0.2, **change}
    )
    conversations = read(open_dataset(folder), settings.tasks)
    return make_plan(measure_all(conversations, encoder, Rule.of(settings), folder, look_at_pixels), settings)


def test_unfit_samples_are_named_with_their_reason(tmp_path: Path, encoder: Encoder) -> None:
    folder = make_release(tmp_path / "r", visits=8)
    rows = json.loads((folder / "train-cls.json").read_text())
    (folder / rows[0]["images"][0]).unlink()
    (folder / rows[1]["images"][0]).write_bytes((folder / rows[1]["images"][0]).read_bytes()[:700])
    rows[2]["messages"][0]["content"] += " very long" * 400
    rows[3]["messages"][0]["content"] += " <|im_end|>"
    rows[4]["messages"][1]["content"] = " "
    (folder / "train-cls.json").write_text(json.dumps(rows))
    plan = _plan(folder, encoder)
    assert {one.conversation.sample_id: one.reason for one in plan.rejected} == {
        "train-cls/0": "train:image",
        "train-cls/1": "train:image",
        "train-cls/2": "train:too_long",
        "train-cls/3": "train:control_token",
        "train-cls/4": "train:no_answer",
    }
    assert len(plan.training) + len(plan.validation) == 3
    assert plan.rejected_counts()["train:image"] == 2


def test_nothing_left_is_one_sentence(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="all 4 samples are unfit, the first train-cls/0: train:too_long"):
        _plan(make_release(tmp_path / "r", visits=4), encoder, cut_off=64)


def test_the_releases_own_validation_side_is_held_back(tmp_path: Path, encoder: Encoder) -> None:
    folder = make_release(tmp_path / "r", visits=20)
    measured = measure_all(read(open_dataset(folder), ("train-cls",)), encoder, RULE, folder)
    ids = sorted({str(one.conversation.checkup) for one in measured})
    rows = "".join(f'"two\nlines",{checkup},{"validation" if checkup in ids[3:6] else "train"}\n' for checkup in ids)
    for table in ("complete-dataset.csv", "complete_dataset.csv"):
        (folder / table).write_text(f"remarks,checkup_id,split\n{rows}", encoding="utf-8-sig")
        validation = open_dataset(folder).validation()
        assert validation == set(ids[3:6])
        plan = make_plan(measured, TrainSettings(cut_off=300), validation)
        assert {one.conversation.checkup for one in plan.validation} == set(ids[3:6])
        assert {one.conversation.checkup for one in plan.training} == set(ids[:3] + ids[6:])
        (folder / table).unlink()
    assert open_dataset(folder).validation() == frozenset()
    assert not make_plan(measured, TrainSettings(cut_off=300, validation_fraction=0), validation).validation
    few = make_plan(
        measured, TrainSettings(cut_off=300, max_validation_samples=2), validation
    )  # whole patients; nothing lost, none trained on
    assert len(few.validation) == 2 and len(few.spared) == 1
    assert {one.conversation.checkup for one in (*few.validation, *few.spared)} == set(ids[3:6])
    assert few.training == plan.training
    assert sum(map(len, few.sides().values())) == len(measured)
    # a table without that side, or of visits that are all in it: the run's own choice
    for useless in (frozenset({"9999-001"}), frozenset(ids)):
        assert len({one.conversation.patient for one in make_plan(measured, TrainSettings(), useless).validation}) == 1


def test_no_patient_stands_on_both_sides(tmp_path: Path, encoder: Encoder) -> None:
    plan = _plan(make_release(tmp_path / "r", visits=20), encoder)
    sides = [{one.conversation.patient for one in side} for side in (plan.training, plan.validation)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 2


@given(
    st.dictionaries(st.text("0123456789", min_size=4, max_size=4), st.integers(1, 9), max_size=40),
    st.floats(0.001, 0.99),
    st.integers(0, 5),
    st.integers(1, 60),
)
def test_validation_is_never_empty_nor_everything_nor_too_much(
    samples: dict[str, int], fraction: float, seed: int, most: int
) -> None:
    held = validation_patients(samples, fraction, seed, most)
    assert held <= samples.keys()
    assert (0 < len(held) < len(samples)) == (len(samples) >= 2)
    assert len(held) <= 1 or sum(samples[patient] for patient in held) <= most
    assert held == validation_patients(dict(sorted(samples.items(), reverse=True)), fraction, seed, most)
    assert held <= validation_patients(samples, fraction, seed, most + 1)
    assert len(validation_patients(samples, fraction, seed, 10**9)) == max(
        min(len(samples) - 1, max(1, int(fraction * len(samples) + 0.5))), 0
    )


def test_ids_that_occur_twice_are_told_apart(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=4)
    (folder / "train-cls.json").write_text(json.dumps([sample(1, [], "Red"), sample(1, [], "Blue")]))
    assert [one.sample_id for one in read(open_dataset(folder), ("train-cls",))] == ["train-cls/1", "train-cls/1#2"]


def test_blanks_before_an_answer_do_not_melt_into_the_template(tmp_path: Path, encoder: Encoder) -> None:
    folder = make_release(tmp_path / "r", visits=4)
    rows = [sample(n, [], f"{blank}Red") for n, blank in enumerate(("", "\n", "\r\n", "  \n "))]
    (folder / "train-cls.json").write_text(json.dumps(rows))
    plain, *others = (encoder.example(one) for one in read(open_dataset(folder), ("train-cls",)))
    assert all(other.num_answer_tokens == plain.num_answer_tokens for other in others)


@pytest.mark.parametrize(("written", "read_as"), [("no", "no"), ("yes", "yes"), ("auto", "auto"), ('"no"', "no")])
def test_yes_and_no_survive_yaml(written: str, read_as: str) -> None:
    assert load(TrainSettings, "train", None, [f"use_gpu={written}"]).use_gpu == read_as


def test_fingerprint_follows_the_data(tmp_path: Path) -> None:
    dataset = open_dataset(make_release(tmp_path / "r", visits=4))
    before = fingerprint(dataset, ("train-cls",))
    assert before == fingerprint(dataset, ("train-cls",)) != fingerprint(dataset, ("train",))
    with dataset.files["train-cls"].open("a") as out:
        out.write(" ")
    assert fingerprint(dataset, ("train-cls",)) != before


@pytest.mark.parametrize("recipe", ["demo", "paper-3b", "paper-7b"])
def test_recipes_are_valid(recipe: str) -> None:
    load(TrainSettings, "train", recipe)


def test_the_papers_figures_stand_in_its_recipes() -> None:
    small, large = (load(TrainSettings, "train", f"paper-{size}") for size in ("3b", "7b"))
    assert [(s.workers, s.batch_size, s.epochs) for s in (small, large)] == [(2, 2, 3), (4, 3, 3)]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.ranck=4", "did you mean rank"),
        ("tasks=[train, train-cls]", "train already holds"),
        ("max_pixels=100", "max_pixels=100"),
        ("batch_size=0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_one_sentence(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(TrainSettings, "train", "demo", [override])


def test_conversations_of_one_patient_come_from_file_names(tmp_path: Path) -> None:
    assert parse(sample(0, ["Images/Photographs/0042-001-01.jpg"], "Red"), "s", tmp_path).patient == "0042"


def test_where_the_data_lie_decides_nobodys_side(tmp_path: Path, encoder: Encoder) -> None:
    sides = []
    for place in ("a", "some/where/else"):
        folder = make_release(tmp_path / place, visits=12)
        rows = json.loads((folder / "train-cls.json").read_text())
        for number, row in enumerate(rows):  # pictures without a patient's code, as MMOral's
            (folder / row["images"][0]).rename(folder / "Images" / f"pano{number}.jpg")
            row["images"] = [f"Images/pano{number}.jpg"]
            row["messages"][0]["content"] = "<image>What is it?"
            row.pop("checkup_id", None)
        (folder / "train-cls.json").write_text(json.dumps(rows))
        conversations = read(open_dataset(folder), ("train-cls",))
        plan = make_plan(
            measure_all(conversations, encoder, RULE, folder), TrainSettings(cut_off=300, validation_fraction=0.3), root=folder
        )
        sides.append([one.conversation.sample_id for one in plan.validation])
    assert sides[0] == sides[1]
    assert len(sides[0]) > 1


def test_other_pictures_are_other_data(tmp_path: Path) -> None:
    folder = make_release(tmp_path / "r", visits=2)
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  Images/1.jpg\n{'1' * 64}  README.md\n")
    before = fingerprint(open_dataset(folder), ("train-cls",))
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  Images/1.jpg\n{'2' * 64}  README.md\n")
    assert fingerprint(open_dataset(folder), ("train-cls",)) == before
    (folder / "SHA256SUMS").write_text(f"{'3' * 64}  Images/1.jpg\n{'2' * 64}  README.md\n")
    assert fingerprint(open_dataset(folder), ("train-cls",)) != before
