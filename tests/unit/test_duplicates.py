"""The search for the same picture in two visits, against all pairs compared one by one."""

import io
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from codelib.contracts import HASHES, IMAGES
from codelib.core.stage import Part
from codelib.core.store import Store
from codelib.data import duplicate_search, duplicates
from codelib.data.duplicate_search import DUPLICATE, search
from codelib.data.duplicates import REFUSED, choose, chosen_work, hashes_work, near_bits, search_work
from codelib.data.image_review import ACROSS, Answers
from codelib.imaging.likeness import HASH_BYTES, are_alike, hash_of, likeness, similarity
from tests import former_search


def picture(seed: int, size=(300, 200)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 18, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = rng.integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse, dtype=int) + fine, 0, 255).astype(np.uint8))


def copies(image: Image.Image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    yield Image.open(buffer).convert("RGB")
    yield image.resize((image.width // 2, image.height // 2))
    yield ImageEnhance.Brightness(image).enhance(1.2)
    w, h = image.size
    yield image.crop((int(0.04 * w), int(0.04 * h), int(0.96 * w), int(0.96 * h)))


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_alike_and_others_are_not(seed):
    value = likeness(picture(seed))
    for copy in copies(picture(seed)):
        assert similarity(value, likeness(copy)) >= 0.96
        assert are_alike(likeness(copy), value, 0.96)
    assert not are_alike(value, likeness(picture(seed + 100)), 0.96)
    assert similarity(value, likeness(picture(seed + 100))) < 0.8


def row(name: str, patient: str, visit: str, value: bytes, content: str | None = None, time: str = "2022-01-01") -> dict:
    return {
        "image_key": name,
        "picture_key": content or f"{abs(hash(name)):032x}"[:32],
        "patient_key": patient,
        "visit_key": visit,
        "checkup_time": time,
        "likeness": value,
        "hash": hash_of(value),
        "held": False,
    }


def committed(store: Store, rows: list[dict], files: int = 1) -> list[Part]:
    parts = []
    for index in range(files):
        table = pa.Table.from_pylist(rows[index::files], schema=HASHES.schema)
        part = Part(f"p{index}", "hashes", store.root, table.num_rows, {})
        store.commit_table(part.name, table)
        parts.append(part)
    return parts


def found(parts: list[Part], threshold: float = 0.96) -> dict[tuple[str, str], dict]:
    rows: dict[tuple[str, str], dict] = {}
    for work in search_work(parts):
        for pair in search(threshold, *work.inputs, work.extra).to_pylist():
            assert (pair["image_key"], pair["other_key"]) not in rows
            rows[pair["image_key"], pair["other_key"]] = pair
    return rows


def test_an_exact_copy_in_a_later_visit_goes_and_one_of_two_patients_waits(tmp_path):
    a, b, c = (likeness(picture(i)) for i in range(3))
    rows = [
        row("a1", "p", "v1", a, "0a" * 16, "2022-01-01"),
        row("a2", "p", "v2", a, "0a" * 16, "2023-01-01"),
        row("b1", "p", "v1", b, "0b" * 16),
        row("b2", "q", "w1", b, "0b" * 16),
        row("b3", "r", "x1", b, "0b" * 16),
        row("c1", "q", "w1", c, "0c" * 16),
    ]
    verdicts = {key[0]: pair["verdict"] for key, pair in found(committed(Store(str(tmp_path)), rows)).items()}
    assert verdicts == {"a2": DUPLICATE, "b1": ACROSS, "b2": ACROSS, "b3": ACROSS}


def test_near_copies_across_visits_are_reported_and_stay(tmp_path):
    originals = [(f"a{i}", picture(i)) for i in range(5)]
    rows = [row(name, "p", "v", likeness(image)) for name, image in originals]
    rows += [row(f"{name}-copy", "q", "w", likeness(next(copies(image)))) for name, image in originals]
    pairs = found(committed(Store(str(tmp_path)), rows, files=3))
    assert {frozenset(key) for key in pairs} == {frozenset((name, f"{name}-copy")) for name, _ in originals}
    for pair in pairs.values():
        assert pair["verdict"] is None
        assert not pair["same_patient"]
        assert not pair["exact"]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_hashes_within_six_bits_always_meet(tmp_path_factory, data):
    """Against all pairs: near hashes with one thumbnail are found whatever the tables and prefixes."""
    thumb = likeness(picture(0))[HASH_BYTES:]
    base = data.draw(st.integers(0, 2**64 - 1))
    hashes = [base]
    for _ in range(data.draw(st.integers(1, 4))):
        bits = data.draw(st.sets(st.integers(0, 63), max_size=6))
        hashes.append(base ^ sum(1 << bit for bit in bits))
    rows = [row(f"i{n}", f"p{n}", f"v{n}", value.to_bytes(8, "big") + thumb) for n, value in enumerate(hashes)]
    pairs = {frozenset(key) for key in found(committed(Store(str(tmp_path_factory.mktemp("h"))), rows, files=2))}
    near = {
        frozenset((f"i{m}", f"i{n}"))
        for (m, x), (n, y) in itertools.combinations(enumerate(hashes), 2)
        if (x ^ y).bit_count() <= 6
    }
    assert near <= pairs


def test_the_tables_and_prefixes_of_a_large_export_give_the_same_pairs(tmp_path, monkeypatch):
    rows = []
    for seed in range(12):
        image = picture(seed)
        rows.append(row(f"a{seed}", f"p{seed}", f"v{seed}", likeness(image)))
        rows.append(row(f"b{seed}", f"q{seed}", f"w{seed}", likeness(image.resize((150, 100)))))
    rows.append(row("x", "p0", "v99", likeness(picture(0)), rows[0]["picture_key"]))
    parts = committed(Store(str(tmp_path)), rows, files=4)
    small = found(parts)
    monkeypatch.setattr(duplicates, "_PICTURES_A_TASK", 30)
    monkeypatch.setattr(duplicates, "_PICTURES_A_PREFIX", 7)
    assert len(search_work(parts)) > 20
    assert found(parts) == small


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_columns_give_what_rows_gave(tmp_path_factory, data):
    """Every task's table is the one that the search by rows made, to the byte: copies, held ones, visits of one time, groups cut into blocks."""
    draw = data.draw
    thumbs = [likeness(picture(0))[HASH_BYTES:], likeness(picture(1))[HASH_BYTES:]]
    base, rows = draw(st.integers(0, 2**64 - 1)), []
    for number in range(draw(st.integers(0, 14))):
        flipped = sum(1 << bit for bit in draw(st.sets(st.integers(0, 63), max_size=9)))
        visit, content = draw(st.integers(0, 3)), draw(st.integers(0, 5))
        value = (base ^ flipped).to_bytes(8, "big") + thumbs[draw(st.integers(0, 1))]
        made = row(f"i{draw(st.integers(0, 99)):02}-{number}", f"p{visit // 2}", f"v{visit}", value, f"{content:02x}" * 16)
        time = draw(st.sampled_from([None, "2022-01-01", "2023-01-01"]))
        rows.append(made | {"checkup_time": time, "held": draw(st.booleans()) and draw(st.booleans())})
    parts = committed(Store(str(tmp_path_factory.mktemp("c"))), rows, files=2)
    neighbours, of = draw(st.sampled_from([1, 2, 20])), draw(st.integers(1, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicate_search, "_NEIGHBOURS", neighbours)
        patch.setattr(duplicate_search, "_SMALL", draw(st.sampled_from([1, 3, 128])))
        patch.setattr(duplicate_search, "_COMPARED", draw(st.sampled_from([1, 5, 4_000_000])))
        patch.setattr(former_search, "_NEIGHBOURS", neighbours)
        for prefix in range(of):
            extra = {"tables": list(range(29)), "prefix": prefix, "of": of, "bits": draw(st.integers(6, 20))}
            assert search(0.9, *parts, extra).equals(former_search.search(0.9, *parts, extra))


def test_the_more_pictures_the_nearer_their_hashes_must_be():
    sizes = [10**n for n in range(13)]
    bits = [near_bits(size) for size in sizes]
    assert bits == sorted(bits, reverse=True) and bits[-1] == 6  # within six bits they meet for certain: never less
    assert near_bits(58_000) == 20  # the published clinic's pictures
    assert near_bits(6_600_000) < 15
    for size, most in zip(sizes, bits, strict=True):  # random hashes that meet in a table, and are near enough
        chance = 28 * size / 2**16 * sum(math.comb(48, k) for k in range(most + 1)) / 2**48
        assert chance <= 4 or most == 6


def test_a_search_compares_what_its_work_says(tmp_path):
    thumb = likeness(picture(0))[HASH_BYTES:]
    rows = [row(f"i{n}", f"p{n}", f"v{n}", (0b1111111111 * n).to_bytes(8, "big") + thumb) for n in range(2)]  # ten bits apart
    parts = committed(Store(str(tmp_path)), rows)
    (work,) = search_work(parts)
    assert "bits" not in work.extra  # of few pictures: the work that it always was
    assert search(0.96, *parts, work.extra).num_rows == 1
    assert search(0.96, *parts, work.extra | {"bits": 10}).num_rows == 1
    assert search(0.96, *parts, work.extra | {"bits": 9}).num_rows == 0


def test_a_logo_in_many_visits_gives_rows_and_not_pairs(tmp_path):
    value = likeness(picture(1))
    rows = [row(f"i{n}", f"p{n}", f"v{n}", value, "0d" * 16) for n in range(300)]
    assert len(found(committed(Store(str(tmp_path)), rows))) == 300


def test_a_copy_of_a_picture_that_waits_is_not_released_in_its_place(tmp_path):
    value = likeness(picture(1))
    rows = [
        row("held", "p", "v1", value, "0f" * 16) | {"held": True},
        row("later", "p", "v2", value, "0f" * 16, "2023-01-01"),
        row("other", "q", "w1", value, "0f" * 16),
    ]
    verdicts = {key[0]: pair["verdict"] for key, pair in found(committed(Store(str(tmp_path / "a")), rows)).items()}
    assert verdicts["later"] == verdicts["other"] == ACROSS
    verdicts = {key[0]: pair["verdict"] for key, pair in found(committed(Store(str(tmp_path / "b")), rows[:2])).items()}
    assert verdicts == {"later": DUPLICATE}


@given(st.lists(st.integers(0, 90_000), max_size=600))
def test_a_file_of_hashes_holds_no_more_than_a_task_can(rows):
    parts = [Part(str(number), "images", "", count, {}) for number, count in enumerate(rows)]
    files = [work.inputs for work in hashes_work(parts)]
    assert [part for file in files for part in file] == parts  # each once, in order
    assert all(len(file) <= 256 for file in files)
    assert all(len(file) == 1 or sum(part.rows for part in file) <= 60_000 for file in files)
    if all(count < 230 for count in rows):  # partitions of the usual size: as many files as ever
        assert len(files) == -(-len(rows) // 256)


def test_nothing_to_search_is_no_work():
    assert search_work([]) == []


def test_verdicts_reach_their_partitions_and_accepted_ones_do_not(tmp_path):
    store = Store(str(tmp_path))
    value = likeness(picture(1))
    rows = [row("a", "p", "v1", value, "0e" * 16), row("b", "q", "v2", value, "0e" * 16)]
    pairs = search(0.96, *committed(store, rows), {"tables": list(range(29)), "prefix": 0, "of": 1})
    store.commit_table("stages/duplicates/d.parquet", pairs)
    images = []
    for entry in rows:
        image = dict.fromkeys(IMAGES.schema.names) | {
            "image_key": entry["image_key"],
            "visit_key": entry["visit_key"],
            "picture_key": entry["picture_key"],
            "status": "ok",
        }
        part = Part(entry["image_key"], "images", store.root, 1, {})
        store.commit_table(part.name, pa.Table.from_pylist([image], schema=IMAGES.schema))
        images.append(part)
    pairs_found = [Part("d", "duplicates", store.root, 2, {})]
    work = chosen_work(images, pairs_found, Answers(owner={"v1": {"0e" * 16: "reject"}, "v2": {"0e" * 16: "accept"}}))
    assert [w.extra for w in work] == [{"a": REFUSED}, None]
    # what is accepted for what it shows is not accepted for whose it is; what is refused is refused in every visit
    work = chosen_work(images, pairs_found, Answers(content={"v2": {"0e" * 16: "accept"}}))
    assert [w.extra for w in work] == [{"a": ACROSS}, {"b": ACROSS}]
    work = chosen_work(images, [], Answers(content={"v9": {"0e" * 16: "reject"}}))
    assert [w.extra for w in work] == [{"a": REFUSED}, {"b": REFUSED}]
    table = store.read_table(images[0].name)
    assert choose(table, work[0].extra)["reject_reason"].to_pylist() == [REFUSED]
    assert choose(table)["status"].to_pylist() == ["ok"]


def test_the_hash_stands_first_in_a_likeness():
    value = likeness(picture(2, (64, 640)))
    assert hash_of(value) == int.from_bytes(value[:8], "big")
    assert (value[8], value[9]) == (8, 64)
    assert len(value) == 10 + 8 * 64
