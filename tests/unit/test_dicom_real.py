"""Real DICOM files: every one of them shown as it should be, or rejected by its reason."""

import numpy as np
import pytest
from PIL import Image

from codelib.imaging.dicom import looks_like_dicom, read, shown_frames
from tests.dicom_files import grey, real, reason, shown

# Each line was checked by eye against the picture, or against what SOURCE.md, the headers and pydicom's README say of the file
REAL = {
    "orthodontic_photo.dcm": (409, 517, 1),
    "charset/chrFrenMulti.dcm": (32, 32, 1),
    "charset/chrH31.dcm": (32, 32, 1),
    "charset/chrI2.dcm": (32, 32, 1),
    "charset/chrX1.dcm": (32, 32, 1),
    "pydicom/CT_small.dcm": (128, 128, 1),
    "pydicom/JPEG2000.dcm": (256, 1024, 1),
    "pydicom/JPGExtended.dcm": (256, 1024, 1),  # 12 bit, the bone scan of JPEG2000.dcm
    "pydicom/MR_small.dcm": (64, 64, 1),
    "pydicom/MR_small_RLE.dcm": (64, 64, 1),
    "pydicom/MR_small_bigendian.dcm": (64, 64, 1),
    "pydicom/MR_small_implicit.dcm": (64, 64, 1),
    "pydicom/MR_small_jp2klossless.dcm": (64, 64, 1),
    "pydicom/MR_small_jpeg_ls_lossless.dcm": (64, 64, 1),
    "pydicom/MR_truncated.dcm": "truncated",
    "pydicom/SC_rgb_jpeg_dcmtk.dcm": (100, 100, 1),
    "pydicom/SC_rgb_jpeg_gdcm.dcm": (100, 100, 1),
    "pydicom/SC_rgb_rle_2frame.dcm": (100, 100, 2),
    "pydicom/SC_rgb_small_odd.dcm": (3, 3, 1),
    "pydicom/SC_ybr_full_422_uncompressed.dcm": (100, 100, 1),
    "pydicom/badVR.dcm": "dicom_not_a_picture",  # a dose grid
    "pydicom/examples_palette.dcm": (800, 350, 1),
    "pydicom/examples_ybr_color.dcm": (320, 240, 30),
    "pydicom/image_dfl.dcm": (512, 512, 1),
    "pydicom/nested_priv_SQ.dcm": "damaged",  # pixel data, and nothing that describes it
    "pydicom/priv_SQ.dcm": "dicom_without_pixels",
    "pydicom/reportsi.dcm": "dicom_without_pixels",
    "pydicom/rtdose.dcm": "dicom_not_a_picture",
    "pydicom/test-SR.dcm": "dicom_without_pixels",
    "pydicom/waveform_ecg.dcm": "dicom_without_pixels",
    "pydicom-data/693_J2KR.dcm": (512, 512, 1),
    "pydicom-data/HTJ2K_08_RGB.dcm": (640, 480, 1),
    "pydicom-data/JLSL_16_15_1_1F.dcm": (128, 128, 1),
    "pydicom-data/JPGLosslessP14SV1_1s_1f_8b.dcm": (1024, 768, 1),
    "pydicom-data/MR-SIEMENS-DICOM-WithOverlays.dcm": (484, 484, 1),
    "pydicom-data/OBXXXX1A_rle_2frame.dcm": (800, 600, 2),
    "pydicom-data/RG1_J2KI.dcm": (1841, 1955, 1),
    "pydicom-data/bad_sequence.dcm": (512, 512, 1),
    "pydicom-data/emri_small.dcm": (64, 64, 10),
    "pydicom-data/emri_small_RLE.dcm": (64, 64, 10),
    "pydicom-data/mlut_18.dcm": (512, 512, 1),
    "LICENSE": None,
    "SOURCE.md": None,
    "pydicom/README.txt": None,
    "pydicom-data/LICENSE": None,
    "pydicom-data/SOURCE.md": None,
}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file(real_data, name, capfd):
    content, expected = (real_data / "dicom" / name).read_bytes(), REAL[name]
    assert looks_like_dicom(content) == (expected is not None)
    if isinstance(expected, str):
        assert reason(content) == expected
    elif expected:
        width, height, num_frames = expected
        dicom = read(content)
        parts = [part for part, _ in shown_frames(dicom, 3)]
        assert (dicom.columns, dicom.rows, dicom.num_frames) == expected
        assert parts == (
            [""] if num_frames == 1 else [f"frame {n}" for n in {2: (1, 2), 10: (1, 5, 10), 30: (1, 15, 30)}[num_frames]]
        )
        for picture in shown(content, 3):
            assert picture.shape == (height, width, 3) and picture.std() > 5
    assert capfd.readouterr() == ("", "")


def test_no_real_file_is_missing_from_the_table(real_data):
    found = {str(p.relative_to(real_data / "dicom")) for p in (real_data / "dicom").rglob("*") if p.is_file()}
    assert found == set(REAL)


def test_one_picture_in_six_syntaxes_is_one_picture(real_data):
    family = [
        "MR_small",
        "MR_small_RLE",
        "MR_small_bigendian",
        "MR_small_implicit",
        "MR_small_jp2klossless",
        "MR_small_jpeg_ls_lossless",
    ]
    assert len({grey(real(real_data, f"pydicom/{name}.dcm")).tobytes() for name in family}) == 1


def test_enhanced_frames_are_the_same_in_two_syntaxes(real_data):
    plain, packed = (shown(real(real_data, f"pydicom-data/{name}.dcm"), 10) for name in ("emri_small", "emri_small_RLE"))
    assert np.array_equal(plain, packed)


def test_colour_bars_are_the_same_in_four_encodings(real_data):
    bars = [
        shown(real(real_data, f"pydicom/SC_{name}.dcm"))[0].astype(int)
        for name in ("rgb_rle_2frame", "rgb_jpeg_gdcm", "rgb_jpeg_dcmtk", "ybr_full_422_uncompressed")
    ]
    assert bars[0][5, 50].tolist() == [255, 0, 0] and bars[0][95, 50].tolist() == [255, 255, 255]
    assert all(np.abs(other - bars[0]).max() <= 6 for other in bars[1:])  # two of them lossy


def test_twelve_bit_jpeg_is_the_picture_of_its_lossy_twin(real_data):
    twelve, twin = (
        np.asarray(Image.fromarray(grey(real(real_data, f"pydicom/{name}.dcm"))).reduce(8), float)
        for name in ("JPGExtended", "JPEG2000")
    )
    assert np.corrcoef(twelve.ravel(), twin.ravel())[0, 1] > 0.9


def test_a_chest_radiograph_has_dark_lungs(real_data):
    chest = grey(real(real_data, "pydicom-data/RG1_J2KI.dcm")).astype(float)  # MONOCHROME1
    lungs, spine = chest[500:800, 400:700].mean(), chest[500:800, 870:970].mean()
    assert lungs + 20 < spine


def test_brain_window(real_data):
    head = grey(real(real_data, "pydicom-data/693_J2KR.dcm"))  # window 40/100 HU, padding -2000
    assert head[:10, :10].max() == 0  # outside the scanned circle
    assert 80 < np.median(head[200:300, 220:300]) < 200
