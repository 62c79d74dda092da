import os
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from codelib.contracts import RECORDS
from codelib.core.store import Store
from codelib.data.images import make_images
from codelib.data.pixels import ImageRejected, PixelSettings, decode
from codelib.data.vault import Keyed

KEYED = Keyed(b"k" * 32)
DATA = Path(os.environ.get("CODELIB_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def records(files, status="ok", reason=None):
    row = dict.fromkeys(RECORDS.schema.names) | {"visit_key": "v", "files": files, "status": status, "reject_reason": reason}
    return pa.Table.from_pylist([row], schema=RECORDS.schema)


def file(name, kind="photograph"):
    return {"path": name, "kind": kind, "size_bytes": 1}


def picture(path, colour):
    Image.new("RGB", (60, 40), colour).save(path)


def run(tmp_path, files, **options):
    return make_images(records(files, **options), Store(str(tmp_path)), KEYED, PixelSettings()).to_pylist()


def test_every_file_has_a_row_and_radiographs_come_first(tmp_path):
    for name, colour in (("10.png", "red"), ("2.png", "blue"), ("x.png", "grey")):
        picture(tmp_path / name, colour)
    (tmp_path / "Thumbs.db").write_bytes(b"junk")
    rows = run(
        tmp_path, [file("10.png"), file("2.png"), file("x.png", "radiograph"), file("Thumbs.db"), file("s.png", "screenshot")]
    )
    assert [(r["kind"], r["ordinal"], r["reject_reason"]) for r in rows] == [
        ("radiograph", 1, None),
        ("photograph", 2, None),  # 2.png before 10.png
        ("photograph", 3, None),
        ("photograph", 0, "images:not_an_image"),
        ("screenshot", 0, "images:record_screenshot"),  # never opened: the file is not even there
    ]


def test_of_exact_copies_the_shortest_name_stays(tmp_path):
    picture(tmp_path / "IMG_1 - copy.png", "red")
    (tmp_path / "IMG_1.png").write_bytes((tmp_path / "IMG_1 - copy.png").read_bytes())
    rows = run(tmp_path, [file("IMG_1 - copy.png"), file("IMG_1.png")])
    by_reason = {r["reject_reason"]: r["image_key"] for r in rows}
    assert set(by_reason) == {None, "images:duplicate"}
    assert by_reason[None] == KEYED.text("image", "IMG_1.png")


def test_files_of_a_rejected_visit_are_named_and_not_opened(tmp_path):
    rows = run(tmp_path, [file("gone.png"), file("s.png", "screenshot")], status="rejected", reason="ingest:incomplete_record")
    assert [r["reject_reason"] for r in rows] == ["images:visit_rejected", "images:record_screenshot"]


def test_no_source_name_in_the_table(tmp_path):
    picture(tmp_path / "zhangwei.png", "red")
    table = make_images(records([file("zhangwei.png")]), Store(str(tmp_path)), KEYED, PixelSettings())
    assert "zhangwei" not in str(table.drop_columns(["pixels"]).to_pylist())
    assert b"zhangwei" not in table["pixels"][0].as_py()


@pytest.mark.skipif(not (DATA / "dicom").is_dir(), reason="real DICOM files are not here (CODELIB_REAL_DATA)")
def test_every_real_dicom_file_is_a_picture_or_has_a_reason(caplog):
    outcome = {}
    for path in sorted((DATA / "dicom").rglob("*.dcm")):
        try:
            outcome[path.name] = decode(path.read_bytes(), PixelSettings()).size
        except ImageRejected as reason:
            outcome[path.name] = str(reason)
    assert caplog.text == ""  # what a decoder says of a file may quote it
    assert outcome["CT_small.dcm"] == (128, 128)
    assert outcome["MR_small_bigendian.dcm"] == (64, 64)
    assert outcome["MR_small_RLE.dcm"] == (64, 64)
    assert outcome["orthodontic_photo.dcm"] == (354, 448)
    assert outcome["examples_palette.dcm"] == (448, 196)
    assert outcome["reportsi.dcm"] == "dicom_without_pixels"
    assert outcome["SC_rgb_rle_2frame.dcm"] == "multi_frame"
    assert outcome["MR_truncated.dcm"] in ("damaged", "truncated", "unsupported_dicom")


def test_a_file_that_cannot_be_read_is_a_rejection_and_not_the_end(tmp_path):
    picture(tmp_path / "1.png", "red")
    (tmp_path / "2.png").symlink_to(tmp_path / "nowhere.png")
    rows = run(tmp_path, [file("1.png"), file("2.png")])
    assert [r["reject_reason"] for r in rows] == [None, "images:unreadable"]
