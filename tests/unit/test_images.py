"""The images stage on one visit: what a clinic puts into its folders, and what becomes of every file."""

import io
import os
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from codelib.contracts import RECORDS
from codelib.core.sandbox import Limits, Sandbox
from codelib.core.store import Store
from codelib.data.image_settings import ImageSettings
from codelib.data.images import image_key, make_images
from codelib.data.vault import Keyed
from tests.pictures import VIEWS, burned_in, cbct_slices, dicom, jpeg, photograph, radiograph, zipped

KEYED = Keyed(b"k" * 32)
SCREENS_OFF = {"text": "off", "faces": "off", "documents": "off"}
PLAIN = ImageSettings.model_validate({"screens": SCREENS_OFF})
SCREENED = ImageSettings()


class Visit:
    """A visit's folder under construction, and the rows that the stage makes of it."""

    def __init__(self, folder: Path):
        self.folder, self.files = folder, []

    def add(self, name: str, content: bytes, kind: str = "photograph") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files.append({"path": name, "kind": kind, "size_bytes": len(content)})
        return name

    def table(self, settings=PLAIN, answers=None, sandbox=None, status="ok", reason=None) -> pa.Table:
        row = dict.fromkeys(RECORDS.schema.names) | {"visit_key": "v", "patient": "患者1", "files": self.files}
        records = pa.Table.from_pylist([row | {"status": status, "reject_reason": reason}], schema=RECORDS.schema)
        return make_images(records, Store(str(self.folder)), KEYED, settings, answers, sandbox)

    def rows(self, *args, **options) -> list[dict]:
        rows = self.table(*args, **options).to_pylist()
        keys = {image_key(KEYED, f["path"]): f["path"] for f in self.files}
        assert set(keys) == {source for row in rows for source in row["sources"]}  # every file is in a row
        assert len({row["image_key"] for row in rows}) == len(rows)
        for row in rows:
            row["paths"] = [keys[source] for source in row["sources"]]
            assert (row["pixels"] is None) == (row["status"] != "ok")
        return rows

    def reasons(self, *args, **options) -> dict[str, str | None]:
        return {f"{row['paths'][0]} {row['part']}".strip(): row["reject_reason"] for row in self.rows(*args, **options)}


@pytest.fixture
def visit(tmp_path):
    return Visit(tmp_path)


def test_every_file_has_a_row_and_radiographs_come_first(visit):
    visit.add("10.png", jpeg(photograph(1)))
    visit.add("2.png", jpeg(photograph(2)))
    visit.add("x.jpg", jpeg(photograph(3)), "radiograph")
    visit.add("Thumbs.db", b"junk")
    visit.files.append({"path": "s.png", "kind": "screenshot", "size_bytes": 1})  # never opened: it is not even there
    visit.files.append({"path": "gone.png", "kind": "photograph", "size_bytes": 1})
    assert [(r["paths"][0], r["ordinal"], r["reject_reason"]) for r in visit.rows()] == [
        ("x.jpg", 1, None),
        ("2.png", 2, None),  # 2.png before 10.png
        ("10.png", 3, None),
        ("gone.png", 0, "images:unreadable"),
        ("Thumbs.db", 0, "images:not_an_image"),
        ("s.png", 0, "images:record_screenshot"),
    ]


def test_copies_of_a_picture_go_and_the_best_stays(visit):
    image = photograph(1, (1200, 800))
    visit.add("IMG_1 - copy.jpg", jpeg(image))
    visit.add("IMG_1.jpg", jpeg(image))
    visit.add("wechat.jpg", jpeg(image.resize((300, 200)), 60))
    visit.add("IMG_1 cut.jpg", jpeg(image.crop((30, 20, 1180, 790))))
    visit.add("other.jpg", jpeg(photograph(2, (1200, 800))))
    assert visit.reasons() == {
        "IMG_1.jpg": None,
        "IMG_1 - copy.jpg": "images:duplicate",
        "wechat.jpg": "images:near_duplicate",
        "IMG_1 cut.jpg": "images:near_duplicate",  # as large in the release: the shorter name stays
        "other.jpg": None,
    }
    assert [r["preview"] is not None for r in visit.rows() if r["reject_reason"] == "images:near_duplicate"] == [True, True]


def test_junk_has_its_reason(visit):
    visit.add("icon.png", jpeg(photograph(1, (90, 200))))
    visit.add("cap.jpg", jpeg(Image.new("RGB", (300, 200), (4, 4, 4))))
    visit.add("wall.jpg", jpeg(Image.new("RGB", (300, 200), (180, 180, 180))))
    assert visit.reasons() == {"icon.png": "images:too_small", "cap.jpg": "images:near_black", "wall.jpg": "images:blank"}


def test_files_of_a_rejected_visit_are_named_and_not_opened(visit):
    visit.files = [
        {"path": "gone.png", "kind": "photograph", "size_bytes": 1},
        {"path": "s.png", "kind": "screenshot", "size_bytes": 1},
    ]
    reasons = [r["reject_reason"] for r in visit.rows(status="rejected", reason="ingest:incomplete_record")]
    assert reasons == ["images:visit_rejected", "images:record_screenshot"]


def test_no_source_name_in_the_released_columns(visit):
    visit.add("zhangwei.png", jpeg(photograph(1)))
    visit.add("zhangwei.dcm", dicom(np.asarray(radiograph(1).convert("L"))), "radiograph")
    table = visit.table()
    assert "zhang" not in str(table.drop_columns(["pixels", "likeness", "preview"]).to_pylist()).lower()
    assert all(b"zhang" not in pixels.lower() for pixels in table["pixels"].to_pylist())


def test_the_pages_of_a_file_are_pictures_of_their_own(visit):
    out = io.BytesIO()
    photograph(1).save(out, "TIFF", save_all=True, append_images=[photograph(2), photograph(3)])
    visit.add("scan.tif", out.getvalue())
    rows = visit.rows()
    assert [(r["part"], r["ordinal"]) for r in rows] == [("page 1", 1), ("page 2", 2), ("page 3", 3)]
    assert {tuple(r["sources"]) for r in rows} == {(image_key(KEYED, "scan.tif"),)}


# volumes and archives


def test_a_folder_of_slices_becomes_fifteen_pictures(visit):
    names = [visit.add(f"X片/CBCT/{99 - i}.dat", content, "radiograph") for i, content in enumerate(cbct_slices())]
    visit.add("X片/pa.jpg", jpeg(radiograph(4)), "radiograph")
    rows = visit.rows()
    views = [r for r in rows if len(r["sources"]) > 1]
    assert sorted(r["part"] for r in views) == sorted(VIEWS)
    assert all(sorted(r["paths"]) == sorted(names) for r in views)
    assert len(rows) == 16
    assert {r["status"] for r in rows} == {"ok"}
    assert sorted(r["ordinal"] for r in rows) == list(range(1, 17))


def test_the_same_slices_as_a_zip_give_the_same_pictures(visit, tmp_path):
    slices = cbct_slices()
    for index, content in enumerate(slices):
        visit.add(f"X片/CBCT/{index}", content, "radiograph")
    zipped = Visit(tmp_path / "zipped")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, content in enumerate(reversed(slices)):
            archive.writestr(f"张伟/IM{index:04d}", content)
        archive.writestr("__MACOSX/junk", b"x")
    zipped.add("X片/cbct.zip", out.getvalue(), "radiograph")
    folder_rows, zip_rows = visit.rows(), zipped.rows()
    assert [r["pixels"] for r in folder_rows] == [r["pixels"] for r in zip_rows]
    assert {tuple(r["paths"]) for r in zip_rows} == {("X片/cbct.zip",)}


def test_the_same_volume_in_two_folders_is_one_volume(visit):
    """Names of different length in the other folder: dropping slices one by one as copies would leave two halves."""
    slices = cbct_slices()
    for index, content in enumerate(slices):
        visit.add(f"X片/CBCT/IM{index}", content, "radiograph")
        visit.add(f"X片/B/{'IM' if index < 12 else 'I'}{index:03d}", content, "radiograph")
    visit.add("X片/part.zip", zipped(**{f"{i}": content for i, content in enumerate(slices[:15])}), "radiograph")
    rows = visit.rows()
    assert sorted(r["part"] for r in rows if r["status"] == "ok") == sorted(VIEWS)
    assert {len(r["sources"]) for r in rows if r["status"] == "ok"} == {24}
    assert {r["reject_reason"] for r in rows if r["status"] != "ok"} == {"images:duplicate"}


def test_a_volume_that_would_give_no_picture_is_a_setting_that_cannot_be():
    with pytest.raises(ValueError, match="leave at least one"):
        ImageSettings.model_validate({"volume": {"axial": 0, "coronal": 0, "sagittal": 0, "mip": 0}})


def test_a_volume_with_a_hole_is_rejected_slice_by_slice(visit):
    for index, content in enumerate(cbct_slices(gap_after=10)):
        visit.add(f"X片/CBCT/{index}", content, "radiograph")
    assert set(visit.reasons().values()) == {"images:volume_missing_slices"}
    assert len(visit.reasons()) == 24


def test_a_broken_slice_is_named_and_its_volume_misses_it(visit):
    slices = cbct_slices()
    for index, content in enumerate(slices):
        visit.add(f"X片/CBCT/{index}", content[: len(content) // 2] if index == 12 else content, "radiograph")
    reasons = visit.reasons()
    assert reasons.pop("X片/CBCT/12") in ("images:truncated", "images:damaged")
    assert set(reasons.values()) == {"images:volume_missing_slices"}


def test_a_zip_of_anything_is_opened_and_every_member_named(visit):
    inner = zipped(a=jpeg(photograph(7)))
    visit.add("photos.zip", zipped(a=jpeg(photograph(1)), b=jpeg(photograph(2)), c=jpeg(photograph(1)), d=b"text", e=inner))
    assert visit.reasons() == {
        "photos.zip a": None,
        "photos.zip b": None,
        "photos.zip c": "images:duplicate",
        "photos.zip d": "images:not_an_image",
        "photos.zip e": "images:nested_archive",
    }


def test_members_whose_names_could_be_taken_for_another_are_all_there(visit):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for seed, name in enumerate(("a", " a", "a", "a (2)", "", "9" * 5000)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile warns of the second "a"
                archive.writestr(zipfile.ZipInfo(name), jpeg(photograph(seed)))
        archive.writestr("s.tif page 1", jpeg(photograph(7)))
        pages = io.BytesIO()
        photograph(8).save(pages, "TIFF", save_all=True, append_images=[photograph(9)])
        archive.writestr("s.tif", pages.getvalue())
    visit.add("z.zip", out.getvalue())
    rows = visit.rows()
    assert [r["status"] for r in rows] == ["ok"] * 9
    assert sorted(r["ordinal"] for r in rows) == list(range(1, 10))


def test_near_copies_inside_a_zip_go_too(visit):
    image = photograph(1, (900, 600))
    visit.add("z.zip", zipped(a=jpeg(image), b=jpeg(image.resize((300, 200)))))
    assert visit.reasons() == {"z.zip a": None, "z.zip b": "images:near_duplicate"}


def test_a_member_that_cannot_be_unpacked_is_damaged(visit):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", jpeg(photograph(1)))
    content = bytearray(out.getvalue())
    content[60:200] = bytes(140)
    visit.add("lzma.zip", bytes(content))
    assert visit.reasons() == {"lzma.zip a": "images:damaged"}


def test_archives_that_cannot_be_opened_have_a_reason(visit):
    good = zipped(a=jpeg(photograph(1)))
    visit.add("empty.zip", zipped())
    visit.add("cut.zip", good[: len(good) // 2])
    visit.add("old.rar", b"Rar!\x1a\x07\x00" + b"\0" * 100)
    bomb = zipped(a=b"\0" * 50_000_000)
    visit.add("bomb.zip", bomb)
    limits = PLAIN.model_copy(update={"limits": PLAIN.limits.model_copy(update={"archive_gb": 0.01})})
    reasons = visit.reasons(limits)
    assert reasons["cut.zip"] == "images:damaged"
    assert reasons["old.rar"] == "images:unsupported_archive"
    assert reasons["bomb.zip"] == "images:archive_too_large"
    assert reasons["empty.zip"] in ("images:empty_archive", "images:not_an_image")


def test_a_member_that_lies_about_its_size_is_damaged(visit):
    content = bytearray(zipped(a=b"\0" * 1_000_000))
    true, false = (1_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    visit.add("liar.zip", bytes(content).replace(true, false))
    assert visit.reasons() == {"liar.zip a": "images:damaged"}


# files that never end, or end the process


def test_a_pipe_in_the_export_does_not_hang_the_stage(visit):
    visit.add("1.jpg", jpeg(photograph(1)))
    os.mkfifo(visit.folder / "pipe.jpg")
    visit.files.append({"path": "pipe.jpg", "kind": "photograph", "size_bytes": 0})
    (visit.folder / "loop.jpg").symlink_to("loop.jpg")
    visit.files.append({"path": "loop.jpg", "kind": "photograph", "size_bytes": 0})
    assert visit.reasons() == {"1.jpg": None, "pipe.jpg": "images:not_a_file", "loop.jpg": "images:unreadable"}


def test_a_film_among_the_photographs_is_not_read(visit):
    visit.add("1.jpg", jpeg(photograph(1)))
    visit.files.append({"path": "film.mp4", "kind": "photograph", "size_bytes": 3 << 30})  # not there: nobody looks
    assert visit.reasons() == {"1.jpg": None, "film.mp4": "images:file_too_large"}


class Stuck(Store):
    """A storage on which one file never arrives."""

    def __reduce__(self):
        return (Stuck, (self.root,))

    def read(self, name: str) -> bytes:
        if name == "stuck.jpg":
            time.sleep(600)
        return super().read(name)


def test_a_file_that_never_arrives_is_named_and_no_other_is_blamed(visit):
    for seed in range(3):
        visit.add(f"{seed}.jpg", jpeg(photograph(seed)))
    visit.add("stuck.jpg", jpeg(photograph(9)))
    visit.add("z-after.jpg", jpeg(photograph(10)))
    child = Sandbox(Limits(cpu_s=60, wall_s=8, memory_bytes=4 << 30))
    try:
        row = dict.fromkeys(RECORDS.schema.names) | {"visit_key": "v", "patient": "1", "files": visit.files, "status": "ok"}
        table = make_images(
            pa.Table.from_pylist([row], schema=RECORDS.schema), Stuck(str(visit.folder)), KEYED, PLAIN, None, child
        )
    finally:
        child.close()
    assert table["reject_reason"].to_pylist() == [None, None, None, "images:too_slow", None]


def test_in_the_sandbox_the_same_rows_come_out(visit):
    visit.add("1.jpg", jpeg(photograph(1)))
    visit.add("broken.jpg", jpeg(photograph(2))[:-200])
    visit.add("d.dcm", dicom(np.asarray(radiograph(1).convert("L"))), "radiograph")
    child = Sandbox(PLAIN.limits.sandbox())
    try:
        assert visit.table(sandbox=child).equals(visit.table())
    finally:
        child.close()


def test_a_file_too_large_for_the_memory_is_rejected_and_the_others_are_not(visit):
    visit.add("1.jpg", jpeg(photograph(1)))
    out = io.BytesIO()
    Image.new("L", (16_000, 16_000), 90).save(out, "PNG")
    visit.add("huge.png", out.getvalue())
    limits = PLAIN.limits.model_copy(update={"memory_gb": 2.0})
    child = Sandbox(limits.sandbox())
    try:
        reasons = visit.reasons(PLAIN.model_copy(update={"limits": limits}), sandbox=child)
    finally:
        child.close()
    assert reasons["1.jpg"] is None
    assert reasons["huge.png"] in ("images:too_much_memory", "images:blank")


# a person's answers


def answered(visit: Visit, row: dict, answer: str) -> dict[str, dict[str, str]]:
    return {"v": {row["picture_key"]: answer}}


def test_burned_in_text_waits_with_its_place_and_the_answers_are_followed(visit):
    visit.add("a.jpg", jpeg(radiograph(1)), "radiograph")
    visit.add("b.jpg", burned_in(), "radiograph")
    visit.add("c.jpg", jpeg(radiograph(3)), "radiograph")
    first, waiting, last = visit.rows(SCREENED)
    assert waiting["reject_reason"] == "images:burned_in_text"
    assert waiting["preview"]
    (finding,) = waiting["findings"]
    assert finding["boxes"]
    assert "ZHANG" not in str(waiting["findings"])
    assert [first["ordinal"], waiting["ordinal"], last["ordinal"]] == [1, 2, 3]

    accepted = visit.rows(SCREENED, answered(visit, waiting, "accept"))
    assert [(r["status"], r["ordinal"]) for r in accepted] == [("ok", 1), ("ok", 2), ("ok", 3)]
    refused = visit.rows(SCREENED, answered(visit, waiting, "reject"))
    assert [(r["reject_reason"], r["ordinal"]) for r in refused] == [(None, 1), ("images:rejected_by_person", 2), (None, 3)]
    masked = visit.rows(SCREENED, answered(visit, waiting, "mask"))
    assert [r["status"] for r in masked] == ["ok"] * 3
    assert masked[1]["pixels"] != accepted[1]["pixels"]
    again = Visit(visit.folder / "again")
    again.add("m.jpg", masked[1]["pixels"], "radiograph")
    assert again.reasons(SCREENED) == {"m.jpg": None}  # nothing is left to read

    # a person may also refuse what no screen saw
    refused = visit.rows(SCREENED, answered(visit, first, "reject"))
    assert [r["reject_reason"] for r in refused][0::2] == ["images:rejected_by_person", None]
    assert [r["ordinal"] for r in refused] == [1, 2, 3]


def test_a_copy_of_what_was_refused_is_not_released_in_its_place_and_no_name_changes(visit):
    image = photograph(1, (1200, 800))
    visit.add("1.jpg", jpeg(image))
    visit.add("2.jpg", jpeg(image.resize((300, 200)), 60))
    visit.add("3.jpg", jpeg(photograph(2)))
    first, _, last = visit.rows(PLAIN)
    rows = visit.rows(PLAIN, answered(visit, first, "reject"))
    assert [r["reject_reason"] for r in rows] == ["images:rejected_by_person", "images:near_duplicate", None]
    assert rows[2]["ordinal"] == last["ordinal"]


def test_of_copies_the_one_that_is_screened_more_strictly_counts(visit):
    """As a photograph two letters would be no label; among the radiographs any writing counts."""
    content = burned_in("WX")
    visit.add("X片/aaaaaa.jpg", content, "radiograph")
    visit.add("照片/a.jpg", content)
    assert visit.reasons(SCREENED) == {"X片/aaaaaa.jpg": "images:burned_in_text", "照片/a.jpg": "images:duplicate"}


def test_an_answer_holds_for_the_content_and_not_for_the_name(visit):
    visit.add("b.jpg", burned_in(), "radiograph")
    (waiting,) = visit.rows(SCREENED)
    visit.files.clear()
    visit.add("b.jpg", burned_in("LI NA 2021-01-02"), "radiograph")
    (other,) = visit.rows(SCREENED, answered(visit, waiting, "accept"))
    assert other["reject_reason"] == "images:burned_in_text"


def test_masking_by_setting(visit):
    visit.add("b.jpg", burned_in(), "radiograph")
    settings = ImageSettings.model_validate({"screens": {"text": "mask"}})
    (row,) = visit.rows(settings)
    assert row["status"] == "ok"
    assert row["findings"]


def test_a_dicom_header_that_tells_of_burned_in_text_is_believed(visit):
    pixels = np.asarray(radiograph(1).convert("L"))
    visit.add("a.dcm", dicom(pixels, BurnedInAnnotation="YES"), "radiograph")
    (row,) = visit.rows(SCREENED)
    assert row["reject_reason"] == "images:burned_in_text"
    (row,) = visit.rows(SCREENED, answered(visit, row, "mask"))
    assert row["reject_reason"] == "images:burned_in_text"  # nothing was seen, so nothing can be painted over
    (row,) = visit.rows(SCREENED, answered(visit, row, "accept"))
    assert row["status"] == "ok"


def test_same_files_same_bytes(visit):
    for seed in range(4):
        visit.add(f"{seed}.jpg", jpeg(photograph(seed, (1500, 1000))))
    assert visit.table().equals(visit.table())
