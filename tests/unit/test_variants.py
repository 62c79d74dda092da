"""The variants file, and how a variant is asked: mistakes are named, choices are seeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codelib.evaluate.benchmarks import Sample, exemplars, few_shot, limited, load_samples, other_patients, shuffled
from codelib.evaluate.variants import Variant, fingerprint, load_variants, parse_variants, resolve
from codelib.models.conversation import Message, open_dataset
from codelib.models.engine import Decoding

PAPER = Path(__file__).resolve().parents[2] / "jobs" / "variants" / "paper.yaml"


def test_a_limit_for_each_benchmark() -> None:
    [variant] = parse_variants([{"name": "a", "model": "m", "max_new_tokens": {"generation": 1024}}], "x")
    assert [variant.answer_length(name) for name in ("classification", "generation")] == [32, 1024]
    for wrong in (0, {"generation": 0}, {"generatoin": 5}, "many"):
        with pytest.raises(ValueError, match=r"^x, variant 1 \(a\): max_new_tokens"):
            parse_variants([{"name": "a", "model": "m", "max_new_tokens": wrong}], "x")


def test_the_papers_list_is_valid_and_complete() -> None:
    variants = {variant.name: variant for variant in load_variants(PAPER)}
    assert {"Zero-shot Qwen 3B", "Zero-shot Qwen 7B", "Zero-shot GPT-4o", "SFT Qwen 3B", "SFT Qwen 7B"} <= set(variants)
    assert variants["Few-shot GPT-4o"].num_exemplars == 3
    for name, variant in variants.items():
        if name.endswith(", images shuffled"):
            assert variant.twin() == variants[name.removesuffix(", images shuffled")].twin()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"model": "tiny"}, "name"),
        ({"name": "a"}, "model"),
        ({"name": "a", "model": "m", "adaptor": "x"}, "did you mean adapter"),
        ({"name": "a", "modle": "m"}, "unknown field modle; did you mean model"),  # not: model is missing
        ({"name": "a"}, "model: missing"),
        ({"name": "a", "model": "m", "benchmarks": "classification"}, "benchmarks: expected a list, [classification]"),
        ({"name": "a", "model": "m", "engine": "transformer"}, "did you mean transformers"),
        ({"name": "a", "model": "m", "images": "shufled"}, "did you mean shuffled"),
        ({"name": "a", "model": "m", "prompting": "few-shot"}, "generation only"),
        ({"name": "a", "model": "m", "k": 3}, "few-shot"),
        ({"name": "a", "model": "m", "base_url": "http://x"}, "base_url"),
        ({"name": "a", "model": "m", "max_new_tokens": 0}, "max_new_tokens"),
        ({"name": "a", "model": "m", "min_pixels": 9000, "max_pixels": 8000}, "max_pixels"),
        ({"name": "a", "model": "m", "benchmarks": []}, "benchmarks"),
        ({"name": "a", "model": "m", "benchmarks": ["spectrun"]}, "did you mean spectrum"),
        ({"name": "a", "model": "m", "language": "zn"}, "did you mean zh"),
        ({"name": "a", "model": "m", "modalities": "image"}, "did you mean images"),
        ({"name": "a", "model": "m", "modalities": "text", "images": "shuffled"}, "nothing to shuffle"),
        ({"name": "a", "model": "m", "decoding": {"tempreture": 1}}, "did you mean temperature"),
        ({"name": "a", "model": "m", "decoding": {"temperature": -1}}, "0 <= temperature"),
        ({"name": "a", "model": "m", "decoding": {"temperature": "warm"}}, "decoding.temperature"),
        ({"name": "a", "model": "m", "decoding": {"seed": 3}}, "temperature"),
        ({"name": "a", "model": "m", "engine": "openai", "constrained": True}, "constrained"),
        ({"name": "a", "model": "m", "benchmarks": ["generation"], "constrained": True}, "constrained"),
        ({"name": "a", "model": "m", "api_key_env": "KEY"}, "api_key_env is for engine openai"),
        ({"name": "a", "model": "m", "engine": "openai", "azure_deployment": "d"}, "base_url"),
        ({"name": "a", "model": "m", "prompting": "few-shot", "benchmarks": ["spectrum"]}, "generation only"),
        ("a", "name"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_place(row: Any, words: str) -> None:
    with pytest.raises(ValueError, match="variant 1") as caught:
        parse_variants([row], "file.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated() -> None:
    key = "sk-proj-0123456789"
    with pytest.raises(ValueError, match="api_key_env: the name of an environment variable is") as caught:
        parse_variants([{"name": "a", "model": "m", "engine": "openai", "api_key_env": key}], "file.yaml")
    assert key not in str(caught.value)


def test_names_are_unique_and_files_are_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stands twice"):
        parse_variants([{"name": "a", "model": "m"}, {"name": "a", "model": "n"}], "file.yaml")
    with pytest.raises(ValueError, match="expected a list"):
        parse_variants({}, "file.yaml")
    (tmp_path / "variants.yaml").write_text("- [")
    with pytest.raises(ValueError, match="not YAML at line"):
        load_variants(tmp_path / "variants.yaml")
    with pytest.raises(ValueError, match=r"did you mean .*variants\.yaml"):
        load_variants(tmp_path / "variant.yaml")


def written(folder: Path, text: str) -> Path:
    path = folder / "variants.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_what_a_variant_does_not_say(tmp_path: Path) -> None:
    both = """
    defaults: {model: m, decoding: {temperature: 0.5, top_p: 0.9}, benchmarks: [classification]}
    variants:
      - {name: a}
      - {name: b, model: n, decoding: {seed: 2}, benchmarks: [generation]}
    """
    a, b = load_variants(written(tmp_path, both))
    assert (a.model, a.decoding, a.benchmarks) == ("m", Decoding(temperature=0.5, top_p=0.9), ("classification",))
    assert (b.model, b.decoding) == ("n", Decoding(temperature=0.5, top_p=0.9, seed=2))
    assert load_variants(written(tmp_path, "[{name: a, model: m}]")) == parse_variants([{"name": "a", "model": "m"}], "x")


def test_anchors_work_and_a_field_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    chain = """
    - &a {name: a, model: m, batch_size: 2}
    - &b {<<: *a, name: b, batch_size: 3}
    - {<<: *b, name: c}
    """
    assert [(v.name, v.batch_size) for v in load_variants(written(tmp_path, chain))] == [("a", 2), ("b", 3), ("c", 3)]
    with pytest.raises(ValueError, match="at line 3: model stands twice"):
        load_variants(written(tmp_path, "- name: a\n  model: m\n  model: n\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nmodel: m\n", "unknown part name; a single variant is a list of one"),
        ("defualts: {}\nvariants: []\n", "did you mean defaults"),
        ("defaults: {modle: m}\nvariants: [{name: a}]\n", "defaults: unknown field modle; did you mean model"),
        ("defaults: {name: a}\nvariants: [{model: m}]\n", "a name of its own"),
        ("defaults: [1]\nvariants: [{model: m}]\n", "defaults: expected fields"),
        ("defaults: {model: m}\n", "expected a list of variants"),
        ("", "expected a list of variants"),
        ("variants: []\n", "the list is empty"),
    ],
)
def test_a_wrong_shape_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"--variants .*variants\.yaml") as caught:
        load_variants(written(tmp_path, text))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_is_found_by_name_and_beside_its_recipe(tmp_path: Path) -> None:
    assert load_variants("paper") == load_variants(PAPER)
    with pytest.raises(ValueError, match="did you mean paper"):
        load_variants("papre")
    written(tmp_path, "[{name: a, model: m}]")
    assert load_variants("variants.yaml", beside=tmp_path)[0].name == "a"
    (tmp_path / "variants.yaml").write_bytes("[{name: 中, model: m}]".encode("gb18030"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_variants(tmp_path / "variants.yaml")


def test_twins_differ_in_nothing_but_what_is_named() -> None:
    a = Variant(name="a", model="m", decoding=Decoding(temperature=1.0))
    assert a.twin() == a.model_copy(update={"name": "b", "images": "shuffled"}).twin()
    assert a.twin() != a.model_copy(update={"modalities": "images"}).twin()
    assert a.twin("modalities") == a.model_copy(update={"modalities": "images"}).twin("modalities")


def test_paths_are_looked_for_in_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "train" / "demo").mkdir(parents=True)
    here = resolve(Variant(name="a", model="tiny", adapter="train/demo"), tmp_path)
    assert here.model == str(tmp_path / "models" / "tiny")
    assert here.adapter == str(tmp_path / "train" / "demo")
    assert resolve(Variant(name="a", model="train/demo"), tmp_path).model == str(tmp_path / "train" / "demo")
    assert resolve(Variant(name="a", model="Qwen/Qwen2.5-VL-3B-Instruct"), tmp_path).model == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert resolve(Variant(name="a", engine="openai", model="tiny"), tmp_path).model == "tiny"


def test_a_fingerprint_is_of_the_content_and_names_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"one")
    variant = resolve(Variant(name="a", model="tiny", adapter="none"), tmp_path)
    first = fingerprint(variant)
    assert first["adapter"] == "missing"
    assert first == fingerprint(variant)
    (folder / "model.safetensors").write_bytes(b"two")
    assert fingerprint(variant)["model"] != first["model"]
    missing = fingerprint(variant.model_copy(update={"model": str(tmp_path / "gone")}))
    served = fingerprint(Variant(name="b", engine="openai", model="m", base_url="http://10.0.0.7/v1"))
    assert str(tmp_path) not in json.dumps([first, missing])
    assert "10.0.0.7" not in json.dumps(served)


# benchmarks


def sample(patient: int, visit: int, num_images: int = 2) -> Sample:
    name = f"{patient:04d}-{visit:03d}"
    images = tuple(f"{name}-{i:02d}.jpg" for i in range(num_images))
    return Sample(f"t/{name}", "classification", f"{patient:04d}", (Message("user", "<image>" * num_images),), images, "Caries")


def patient_of(image: str) -> str:
    return image[:4]


def test_shuffling_gives_every_visit_another_patients_images() -> None:
    samples = [sample(p, v, 1 + (p + v) % 4) for p in range(20) for v in range(1 + p % 3)]
    mixed = shuffled(samples, seed=0)
    for before, after in zip(samples, mixed, strict=True):
        assert (before.sample_id, before.messages, before.reference) == (after.sample_id, after.messages, after.reference)
        assert len(after.images) == len(before.images)
        assert all(patient_of(image) != before.patient for image in after.images)
        assert len({image[:8] for image in after.images}) == 1, "the images of one visit, not a mixture"
    assert mixed == shuffled(samples, seed=0)
    assert mixed != shuffled(samples, seed=1)


def test_shuffling_among_equals_is_a_permutation() -> None:
    samples = [sample(p, v) for p in range(10) for v in range(2)]
    mixed = shuffled(samples, seed=0)
    assert sorted(s.images for s in mixed) == sorted(s.images for s in samples)


def test_a_patient_with_most_of_the_visits_still_gets_others_images() -> None:
    samples = [sample(0, v) for v in range(6)] + [sample(1, 0), sample(2, 0, 5)]
    for before, after in zip(samples, shuffled(samples, seed=0), strict=True):
        assert all(patient_of(image) != before.patient for image in after.images)
    assert len(other_patients(samples[:7], 0)) < 7
    with pytest.raises(ValueError, match="nobody to exchange"):
        shuffled(samples[:6], seed=0)


def test_a_larger_limit_keeps_the_smaller_draw() -> None:
    samples = [sample(p, 0) for p in range(50)]
    small, large = limited(samples, 10, 0), limited(samples, 30, 0)
    assert len(small) == 10
    assert set(small) <= set(large)
    assert limited(samples, None, 0) == limited(samples, 99, 0) == tuple(samples)


def release(folder: Path, train: list[str], test: list[str], **told: list[Any]) -> Path:
    """One report for each checkup. told: what our own releases say beside it, for the rows of train."""
    for name, images in (("train-diagnostic", train), ("test_diagnostic", test)):
        rows = [
            {
                "id": index,
                "messages": [
                    {"role": "system", "content": "You are a dentist."},
                    {"role": "user", "content": f"<image>\nReport {image}"},
                    {"role": "assistant", "content": f"answer {image}"},
                ],
                "images": [f"Images/{image}-01.jpg"],
                **({key: values[index] for key, values in told.items()} if images is train else {}),
            }
            for index, image in enumerate(images)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def test_exemplars_are_of_patients_outside_the_test_set(tmp_path: Path) -> None:
    dataset = open_dataset(release(tmp_path, ["0001-001", "0001-002", "0002-001", "0003-001"], ["0003-002", "0004-001"]))
    test = load_samples(dataset, "generation")
    shown = exemplars(dataset, "generation", 2, seed=0)
    assert {s.patient for s in shown} == {"0001", "0002"}
    assert shown == exemplars(dataset, "generation", 2, seed=0)
    with pytest.raises(ValueError, match="2 patients outside the test set, k is 3"):
        exemplars(dataset, "generation", 3, seed=0)
    table = "checkup_id,split\n0001-001,validation\n0001-002,validation\n"
    (tmp_path / "complete-dataset.csv").write_text(table, encoding="utf-8")
    assert [s.patient for s in exemplars(dataset, "generation", 1, seed=0)] == ["0002"]
    with pytest.raises(ValueError, match="1 patients outside the test set, k is 2"):
        exemplars(dataset, "generation", 2, seed=0)
    asked = few_shot(test[0], shown)
    assert [message.role for message in asked.messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert sum(m.content.count("<image>") for m in asked.messages) == len(asked.images) == 3
    assert asked.images[-1] == "Images/0003-002-01.jpg"
    assert asked.messages[2].content == shown[0].reference


def test_exemplars_are_never_of_validation_nor_of_a_patient_tested_on_the_other_benchmark(tmp_path: Path) -> None:
    names = [f"{patient:04d}-001" for patient in range(1, 9)]
    splits = ["validation", "train", "train", "validation", "train", "train", "train", "train"]
    folder = release(tmp_path, names, ["0003-002"], split=splits, checkup_id=names)
    rows = [{"id": 0, "messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "Caries"}]}]
    (folder / "test-cls.json").write_text(json.dumps([rows[0] | {"images": ["Images/0005-002-01.jpg"]}]))
    for seed in range(20):
        shown = exemplars(open_dataset(folder), "generation", 4, seed)
        assert {sample.patient for sample in shown} == {"0002", "0006", "0007", "0008"}
    with pytest.raises(ValueError, match="4 patients"):
        exemplars(open_dataset(folder), "generation", 5, 0)


def test_the_draw_of_exemplars_stays_when_the_release_grows_or_has_copies(tmp_path: Path) -> None:
    names = [f"{patient:04d}-001" for patient in range(1, 30)]
    before = exemplars(open_dataset(release(tmp_path, names, ["0900-001"], checkup_id=names)), "generation", 3, 5)
    copied = [name for name in names for _ in range(3)]
    assert exemplars(open_dataset(release(tmp_path, copied, ["0900-001"], checkup_id=copied)), "generation", 3, 5) != ()
    ids = [s.checkup_id for s in before]
    assert [s.checkup_id for s in exemplars(open_dataset(tmp_path), "generation", 3, 5)] == ids
    grown = ["0000-001", *names]  # every row moves by one
    after = exemplars(open_dataset(release(tmp_path, grown, ["0900-001"], checkup_id=grown)), "generation", 3, 5)
    assert len({s.checkup_id for s in after} & set(ids)) >= 2
    assert len({tuple(s.checkup_id for s in exemplars(open_dataset(tmp_path), "generation", 3, seed)) for seed in range(9)}) > 5


def test_exemplars_speak_the_language_of_the_question(tmp_path: Path) -> None:
    names = [f"{patient:04d}-001" for patient in range(1, 9) for _ in range(2)]
    dataset = open_dataset(release(tmp_path, names, ["0900-001"], checkup_id=names, language=["en", "zh"] * 8))
    assert {s.language for s in exemplars(dataset, "generation", 3, 0, "zh")} == {"zh"}
    with pytest.raises(ValueError, match="0 patients"):
        exemplars(dataset, "generation", 3, 0)


def test_bad_datasets_are_named(tmp_path: Path) -> None:
    dataset = open_dataset(release(tmp_path, [], []))
    with pytest.raises(ValueError, match="leave this benchmark out"):
        load_samples(dataset, "generation")
    rows = [{"id": 1, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}] * 2
    (tmp_path / "test_diagnostic.json").write_text(json.dumps(rows))
    assert [s.sample_id for s in load_samples(dataset, "generation")] == ["test-diagnostic/1", "test-diagnostic/1#2"]
    for path in ("/etc/x.jpg", "../x.jpg", "Images/../../x.jpg"):
        turns = [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "y"}]
        (tmp_path / "test_diagnostic.json").write_text(json.dumps([{"messages": turns, "images": [path]}]))
        with pytest.raises(ValueError, match="leaves the folder"):
            load_samples(dataset, "generation")
