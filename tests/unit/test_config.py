import pytest

from codelib.core.config import Settings, differences, load, recipe_file


class Inner(Settings):
    size: int = 1
    colour: str = "red"


class Outer(Settings):
    seed: int = 0
    inner: Inner = Inner()


def write(tmp_path, text):
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_recipe_then_overrides(tmp_path):
    recipe = write(tmp_path, "dataset:\n  seed: 3\n  inner: {size: 4}\n")
    got = load(Outer, "dataset", recipe, ["inner.size=9", "inner.colour=blue"])
    assert (got.seed, got.inner.size, got.inner.colour) == (3, 9, "blue")


def test_without_recipe_the_defaults():
    assert load(Outer, "dataset", None) == Outer()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("inner.sise=2", "inner.sise: unknown setting; did you mean size?"),
        ("sed=2", "sed: unknown setting; did you mean seed?"),
        ("inner.size=many", "inner.size='many'"),
        ("seed", "expected name=value"),
        ("seed.x=1", "seed={"),
    ],
)
def test_mistakes_are_named(override, words):
    with pytest.raises(ValueError, match=r".") as error:
        load(Outer, "dataset", None, [override])
    assert words in str(error.value)


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean paper-3b"):
        recipe_file("paper-3B")


@pytest.mark.parametrize("text", ["- a\n- b\n", "dataset: [", "dataste: {}\n", "train: {}\n"])
def test_bad_recipe_files(tmp_path, text):
    with pytest.raises(ValueError, match=r"r\.yaml"):
        load(Outer, "dataset", write(tmp_path, text))


def test_differences_name_the_place():
    assert differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 -> 3"]
