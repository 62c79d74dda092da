"""Every file of the public clinic export, screens on: the size it is released with, or the reason why not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from codelib.core.sandbox import Mark
from codelib.core.store import Store
from codelib.data.image_settings import ImageSettings
from codelib.data.images import visit_rows
from codelib.data.vault import Keyed

EXPECTED = {
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/X片/zhangwei_pano.jpg": (448, 215),  # 2914 x 1397
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/照片/IMG_0101.JPG": (448, 212),  # 1897 x 897
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/照片/IMG_0102 - 副本.JPG": (448, 211),  # 1822 x 860
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/照片/IMG_0102.JPG": (448, 211),  # 1822 x 860
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/照片/Thumbs.db": "not_an_image",
    "第一批_2022/患者0001-35-男/2022-03-05 09.30/病历/screenshot1.png": "screenshot",  # as if it lay among the photographs
    "第一批_2022/患者0001-35-男/2022-09-18 14：05/照片/1.jpg": (448, 242),  # 1838 x 991
    "第一批_2022/患者0001-35-男/2022-09-18 14：05/照片/2.jpg": (448, 392),  # 1400 x 1226
    "第一批_2022/患者0001-35-男/2022-09-18 14：05/照片/broken.jpg": "truncated",
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/X片/opg.jpg": (448, 213),  # 2938 x 1399
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/X片/photo.dcm": (
        354,
        448,
    ),  # 409 x 517, a drawing of a profile: released, or images:face
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/照片/ortho0.jpeg": (448, 243),  # 1824 x 989
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/照片/ortho1.jpeg": (448, 272),  # 1853 x 1125
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/照片/ortho2.jpeg": (448, 277),  # 1841 x 1137
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/照片/ortho3.jpeg": (448, 309),  # 1674 x 1153
    "第一批_2022/患者0002-12-女/2022.4.2 10：15/照片/ortho4.jpeg": (448, 309),  # 1897 x 1310
    "第一批_2022/患者0003-44-女/2022-05-11 16：40——复诊/X片/cr.dcm": (422, 448),  # a chest radiograph, misfiled
    "第一批_2022/患者0003-44-女/2022-05-11 16：40——复诊/X片/pa.tif": (448, 448),  # 800 x 800
    "第一批_2022/患者0003-44-女/2022-05-11 16：40——复诊/照片/a.jpg": (448, 305),  # 1967 x 1341
    "第一批_2022/患者0003-44-女/2022-05-11 16：40——复诊/照片/b.jpg": (448, 289),  # 1151 x 743
    "第一批_2022/患者0003-44-女/2022-05-11 16：40——复诊/照片/c.png": (448, 336),  # 960 x 720
    "第一批_2022/患者0004-61-男/2022-06-30 11.00/X片/pano.jpg": (448, 240),  # 2747 x 1469
    "第一批_2022/患者0004-61-男/2022-06-30 11.00/照片/x1.bmp": (448, 299),  # 900 x 600
    "第一批_2022/患者0004-61-男/2022-06-30 11.00/照片/x2.jpg": (448, 251),  # 1062 x 594
    "第一批_2022/患者0006-29-男/2022-07-08 09-00/照片/only.jpg": (398, 448),  # 852 x 960
    "第一批_2022/患者0007-50-女/2022-08-01 10-00/照片/nofile.jpg": (448, 255),  # 1646 x 936
    "第一批_2022/患者0008-33-女/说明.txt": "not_an_image",
    "第二批_2023/患者0011-23-女/2023-02-14 15-20/X片/pa_11.jpg": (448, 329),  # 604 x 444
    "第二批_2023/患者0011-23-女/2023-02-14 15-20/照片/t1.jpg": (448, 206),  # 1280 x 590
    "第二批_2023/患者0011-23-女/2023-02-14 15-20/照片/t2.jpg": (448, 302),  # 808 x 545
    "第二批_2023/患者0011-23-女/2023-02-14 15-20/照片/t3.jpg": (448, 242),  # 1035 x 559
    "第二批_2023/患者0012-7-男/2023-03-01 08-50/照片/D1.JPEG.bak": "not_an_image",
    "第二批_2023/患者0012-7-男/2023-03-01 08-50/照片/d1.jpeg": (448, 447),  # 1374 x 1370
    "第二批_2023/患者0012-7-男/2023-03-01 08-50/照片/d2.jpeg": (448, 348),  # 1782 x 1385
    "第二批_2023/患者0012-7-男/2023-03-01 08-50/照片/d3.jpeg": (448, 317),  # 1890 x 1337
    "第二批_2023/患者0013-31-男/2023-03-09 17-05/X片/pano.jpg": (448, 252),  # 2359 x 1329
    "第二批_2023/患者0013-31-男/2023-03-09 17-05/照片/w1.jpg": (448, 228),  # 1899 x 967
    "第二批_2023/患者0013-31-男/2023-03-09 17-05/照片/w2.jpg": (448, 309),  # 1152 x 794
}
FACE_OR_NOT = "photo.dcm"


def row_of(real_data, name: str) -> dict:
    kind = "radiograph" if "/X片/" in name else "photograph"
    path = real_data / "clinic-export" / name
    files = [{"path": name, "kind": kind, "size_bytes": path.stat().st_size}]
    visit = {"visit_key": "v", "patient": "1", "checkup_time": "", "files": files}
    (row,) = visit_rows(Mark({}), visit, Store(str(real_data / "clinic-export")), Keyed(b"k" * 32), ImageSettings(), {})
    return row


def test_the_table_names_every_file(real_data):
    found = {str(p.relative_to(real_data / "clinic-export")) for p in (real_data / "clinic-export").rglob("*") if p.is_file()}
    assert {name for name in found if not name.endswith("牙科病历.xlsx")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_released_as_it_should_be_or_rejected_for_the_right_reason(real_data, name):
    row, expected = row_of(real_data, name), EXPECTED[name]
    if name.endswith(FACE_OR_NOT) and row["reject_reason"] == "images:face":
        return
    if isinstance(expected, str):
        assert row["reject_reason"] is not None
        assert expected in (row["reject_reason"].removeprefix("images:"), *(f["code"] for f in row["findings"] or ()))
        return
    assert row["reject_reason"] is None
    assert (row["width"], row["height"]) == expected
    with Image.open(io.BytesIO(row["pixels"])) as released:
        assert released.size == expected
        assert set(released.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        if not name.endswith(".dcm"):
            assert psnr(released, full(real_data / "clinic-export" / name, expected)) > 30  # JPEG quality 90 in it


def full(path, size) -> Image.Image:
    """The slow and plain way: everything decoded, then Lanczos."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB").resize(size, Image.Resampling.LANCZOS)


def psnr(one: Image.Image, other: Image.Image) -> float:
    error = np.mean((np.asarray(one, dtype=float) - np.asarray(other, dtype=float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
