"""A synthetic jaw, asymmetrical in all three axes, written as DICOM in many ways: every way must give the same pictures."""

import io
import itertools
import random
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from codelib.imaging.dicom import read
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.volume import Group, VolumeSettings, group, views

CT, ENHANCED_CT, INTRAORAL = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.1.3"
SETTINGS = VolumeSettings()
PARTS = (
    [f"axial {n}" for n in range(1, 9)]
    + [f"coronal {n}" for n in (1, 2, 3)]
    + [f"sagittal {n}" for n in (1, 2, 3)]
    + ["axial mip"]
)
TEETH = (16, 28)  # levels from the feet up
S, P, L = 0, 1, 2


def jaw():
    """Grey values [level from the feet up, row from the front back, column from the patient's right to his left], 1 mm voxels."""
    levels, rows, columns = 44, 56, 64
    z, y, x = np.mgrid[:levels, :rows, :columns].astype(float)
    volume = np.zeros((levels, rows, columns), np.int16)
    volume[((z - 22) / 21) ** 2 + ((y - 28) / 27) ** 2 + ((x - 32) / 31) ** 2 < 1] = 1000
    radius = np.hypot((x - 32) / 20, (y - 30) / 22)
    arch = (radius > 0.8) & (radius < 1) & (y < 34) & (z >= TEETH[0]) & (z < TEETH[1])
    volume[arch] = 2700
    volume[32:36, 40:46, 18:24] = 1800  # high, at the back, on the patient's right
    volume[8:11, 12:15, 40:48] = 600  # low, in front, on his left
    texture = np.random.default_rng(0).integers(0, 600, volume.shape)  # no two planes are alike
    return np.where(volume > 0, volume + texture * (volume > 2000) + texture // 6, 0).astype(np.int16)


JAW = jaw()
WHITE = np.percentile(JAW, 99.5)


def base(sop_class=CT, modality="CT", syntax=ExplicitVRLittleEndian, series="1.2.3.1", study="1.2.3", **elements):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4.5"
    data.Modality, data.PatientName = modality, "Secret^Name"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, "1.2.3.9"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def file_of(data):
    out = io.BytesIO()
    syntax = data.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(
        out, data, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
    )
    return out.getvalue()


def acquired(volume, order=(S, P, L), signs=(1, 1, 1), spacing=(1.0, 1.0, 1.0)):
    """The slices of a scanner that runs along ``order`` = patient axes of (slice, row, column): [(position, plane)], orientation."""
    unit = {S: (0, 0, 1), P: (0, 1, 0), L: (1, 0, 0)}
    turned = volume.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    orientation = [signs[2] * v for v in unit[order[2]]] + [signs[1] * v for v in unit[order[1]]]
    start = [0 if sign > 0 else volume.shape[axis] - 1 for axis, sign in zip(order, signs, strict=True)]
    planes = []
    for index, plane in enumerate(turned):
        at = [start[0] + signs[0] * index, start[1], start[2]]
        voxel = dict(zip(order, at, strict=True))
        planes.append(([-40 + voxel[L] * spacing[L], -30 + voxel[P] * spacing[P], 500 + voxel[S] * spacing[S]], plane))
    return planes, orientation, (spacing[order[1]], spacing[order[2]])


def series(volume=JAW, order=(S, P, L), signs=(1, 1, 1), spacing=(1.0, 1.0, 1.0), compress=None, **elements):
    """One file for each slice."""
    planes, orientation, pixel = acquired(volume, order, signs, spacing)
    files = []
    for number, (position, plane) in enumerate(planes):
        big = elements.get("syntax") == ExplicitVRBigEndian
        data = base(
            **{
                "Rows": plane.shape[0],
                "Columns": plane.shape[1],
                "PixelSpacing": list(pixel),
                "ImagePositionPatient": position,
                "ImageOrientationPatient": orientation,
                "InstanceNumber": number * 7 % 13,  # says nothing true
            }
            | elements
        )
        data.PixelData = plane.astype(">i2" if big else "<i2").tobytes()
        if compress:
            data.compress(compress)
        files.append(file_of(data))
    return files


def multi_frame(volume=JAW, spacing=(1.0, 1.0, 1.0), shuffled=None, geometry=True):
    planes, orientation, pixel = acquired(volume, spacing=spacing)
    if shuffled is not None:
        random.Random(shuffled).shuffle(planes)
    data = base(ENHANCED_CT, NumberOfFrames=len(planes), Rows=volume.shape[1], Columns=volume.shape[2])

    def item(macro, **elements):
        group_item, inner = Dataset(), Dataset()
        for keyword, value in elements.items():
            setattr(inner, keyword, value)
        setattr(group_item, macro, [inner])
        return group_item

    if geometry:
        shared = item("PixelMeasuresSequence", PixelSpacing=list(pixel), SliceThickness=1)
        shared.update(item("PlaneOrientationSequence", ImageOrientationPatient=orientation))
        data.SharedFunctionalGroupsSequence = [shared]
        data.PerFrameFunctionalGroupsSequence = [item("PlanePositionSequence", ImagePositionPatient=p) for p, _ in planes]
    data.PixelData = b"".join(plane.astype("<i2").tobytes() for _, plane in planes)
    return file_of(data)


def items_of(files):
    return [(f"file {number}", read(content)) for number, content in enumerate(files)]


def pictures(files, chosen=SETTINGS):
    items = items_of(files)
    (volume,) = group([(key, dicom.without_pixels()) for key, dicom in items], chosen)
    assert volume.kind == "volume", volume.reason
    return list(views(volume, dict(items).__getitem__, chosen))


def same(first, second):
    assert [p for p, _ in first] == [p for p, _ in second]
    return all(a.size == b.size and a.tobytes() == b.tobytes() for (_, a), (_, b) in zip(first, second, strict=True))


def reasons(files, chosen=SETTINGS):
    return sorted({g.reason or g.kind for g in group(items_of(files), chosen)})


@pytest.fixture(scope="module")
def expected():
    return pictures(series())


def test_parts_are_in_a_fixed_order(expected):
    assert [part for part, _ in expected] == PARTS
    assert {image.mode for _, image in expected} == {"RGB"}


def grey(image):
    return np.asarray(image.convert("L")).astype(float)


def plane_of(image, planes, white=WHITE):
    """Which of the planes a picture shows."""
    stretched = np.clip(planes / white, 0, 1) * 255
    return int(np.abs(stretched - grey(image)).mean(axis=(1, 2)).argmin())


def test_axial_slices_go_through_the_teeth_head_first_front_up(expected):
    levels = [plane_of(image, JAW) for part, image in expected if part.startswith("axial ") and part != "axial mip"]
    assert levels == sorted(levels, reverse=True) and len(set(levels)) == 8
    assert TEETH[0] <= levels[-1] and levels[0] < TEETH[1]
    assert levels[0] >= TEETH[1] - 3 and levels[-1] <= TEETH[0] + 2  # the whole band
    axial = grey(dict(expected)["axial 4"])
    assert axial[:20].max() > 200 > axial[40:].max()  # the arch opens to the back: front teeth are at the top


def test_coronal_slices_have_the_head_up_and_the_patients_right_at_the_left(expected):
    planes = JAW[::-1].transpose(1, 0, 2)
    rows = [plane_of(image, planes) for part, image in expected if part.startswith("coronal")]
    assert rows == sorted(set(rows)) and rows[0] >= 8 and rows[-1] < 36


def test_sagittal_slices_have_the_head_up_and_the_front_at_the_left(expected):
    planes = JAW[::-1].transpose(2, 0, 1)
    columns = [plane_of(image, planes) for part, image in expected if part.startswith("sagittal")]
    assert columns == sorted(set(columns)) and 12 <= columns[0] < 26 and 38 < columns[-1] < 53


def test_the_projection_is_the_brightest_of_the_band(expected):
    arch = grey(dict(expected)["axial mip"])
    assert np.abs(arch - np.clip(JAW[TEETH[0] : TEETH[1]].max(axis=0) / WHITE * 255, 0, 255)).mean() < 8


@pytest.mark.parametrize("order", list(itertools.permutations((S, P, L))))
def test_whatever_way_it_was_acquired_the_pictures_are_the_same(expected, order):
    for signs in itertools.product((1, -1), repeat=3):
        assert same(pictures(series(order=order, signs=signs)), expected), (order, signs)


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_of_the_files_gives_identical_bytes(expected, chance):
    files = series()
    chance.shuffle(files)
    assert same(pictures(files), expected)


@pytest.mark.parametrize("shuffled", [None, 1])
def test_a_multi_frame_object_is_a_volume(expected, shuffled):
    assert same(pictures([multi_frame(shuffled=shuffled)]), expected)


@pytest.mark.parametrize(
    "written",
    [
        {"syntax": ExplicitVRBigEndian},
        {"compress": RLELossless},
        {"compress": JPEGLSLossless},
        {"modality": "OT"},
        {"RescaleSlope": 2, "RescaleIntercept": -1000},
    ],
    ids=str,
)
def test_whatever_way_it_was_written_the_pictures_are_the_same(expected, written):
    assert same(pictures(series(**written)), expected)


def test_a_rescale_for_each_slice_is_applied(expected):
    files = []
    for number, content in enumerate(series()):
        data = pydicom.dcmread(io.BytesIO(content))
        data.RescaleSlope, data.RescaleIntercept = 1, 10 * number
        data.PixelData = (data.pixel_array - 10 * number).astype("<i2").tobytes()
        files.append(file_of(data))
    assert same(pictures(files), expected)


def test_a_small_tilt_is_kept(expected):
    tilted = [np.cos(0.1), np.sin(0.1), 0, -np.sin(0.1), np.cos(0.1), 0]
    assert same(pictures(series(ImageOrientationPatient=[f"{v:.6f}" for v in tilted])), expected)


def test_millimetres_per_pixel_are_equal():
    found = dict(pictures(series(JAW[::2], spacing=(2.0, 1.0, 0.5))))
    assert found["axial 1"].size == (64, 112)
    assert found["coronal 1"].size == (64, 22 * 4)
    assert found["sagittal 1"].size == (56, 22 * 2)


def test_padding_is_shown_as_air(expected):
    padded = JAW.copy()
    outside = padded == 0
    outside[:, :, 32:] = False
    padded[outside] = -2000
    assert same(pictures(series(padded, PixelPaddingValue=-2000)), expected)


def test_inverted_grey_values_are_turned(expected):
    found = pictures(series((4000 - JAW).astype(np.int16), PhotometricInterpretation="MONOCHROME1"))
    difference = [np.abs(grey(a) - grey(b)).max() for (_, a), (_, b) in zip(found, expected, strict=True)]
    assert max(difference) <= 1


def test_band_and_window_can_be_set():
    chosen = VolumeSettings(axial=2, coronal=0, sagittal=0, mip=0, band=(0.0, 0.5), window=(1500.5, 3001))
    levels = [plane_of(image, JAW, 3000) for _, image in pictures(series(), chosen)]
    assert levels == [43 - 5, 43 - 16]
    shown = grey(pictures(series(), chosen)[1][1])
    assert abs(np.median(shown[shown > 0]) - 1050 / 3000 * 255) <= 2
    rescaled = grey(pictures(series((JAW + 1000).astype(np.int16), RescaleSlope=1, RescaleIntercept=-1000), chosen)[1][1])
    assert np.array_equal(rescaled, shown)


def test_where_nothing_is_denser_the_fixed_band_is_taken():
    noise = np.random.default_rng(1).integers(0, 1000, JAW.shape).astype(np.int16)
    gathered = pictures(series(noise), VolumeSettings(axial=4, coronal=0, sagittal=0, mip=0, fallback_band=(0.4, 0.6)))
    assert len(gathered) == 4


def test_slices_are_loaded_one_by_one_in_order_of_position():
    items = items_of(series()[::-1])
    (volume,) = group([(key, dicom.without_pixels()) for key, dicom in items], SETTINGS)
    asked = []
    list(views(volume, lambda key: asked.append(key) or dict(items)[key], SETTINGS))
    assert asked == list(volume.keys) == [f"file {n}" for n in range(len(items))][::-1]


@pytest.mark.parametrize("band", [(0.5, 0.5), (0.7, 0.2), (-0.1, 0.5), (0.2, 1.1)])
def test_a_band_is_two_rising_fractions(band):
    with pytest.raises(ValueError, match="two fractions"):
        VolumeSettings(band=band)


# --- reasons


def test_a_missing_slice_has_its_reason():
    files = series()
    for gone in (1, 20, len(files) - 2):
        assert reasons(files[:gone] + files[gone + 1 :]) == ["volume_missing_slices"]


def test_two_spacings_have_their_reason():
    first, second = series(JAW[:20]), series(JAW[20:], spacing=(1.5, 1, 1))
    moved = []
    for content in second:
        data = pydicom.dcmread(io.BytesIO(content))
        data.ImagePositionPatient = [*data.ImagePositionPatient[:2], data.ImagePositionPatient[2] + 20]
        moved.append(file_of(data))
    assert reasons(first + moved) == ["volume_missing_slices"]


@pytest.mark.parametrize("decimals", [2, 3])
def test_rounded_positions_are_no_gap(decimals):
    rounded = []
    for content in series(spacing=(0.125, 0.3, 0.3)):
        data = pydicom.dcmread(io.BytesIO(content))
        data.ImagePositionPatient = [f"{float(v):.{decimals}f}" for v in data.ImagePositionPatient]
        rounded.append(file_of(data))
    assert reasons(rounded) == ["volume"]


def test_duplicate_positions_have_their_reason():
    files = series()
    assert reasons([*files, files[7]]) == ["volume_duplicate_positions"]
    assert reasons(files + files) == ["volume_duplicate_positions"]


@pytest.mark.parametrize(
    "change",
    [
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
        {"PixelSpacing": [1, 1.1]},
        {"FrameOfReferenceUID": "1.2.3.10"},
        {"Rows": 64, "Columns": 56},
    ],
    ids=str,
)
def test_a_series_that_disagrees_with_itself_has_its_reason(change):
    files = series()
    data = pydicom.dcmread(io.BytesIO(files[3]))
    for keyword, value in change.items():
        setattr(data, keyword, value)
    assert reasons([*files[:3], file_of(data), *files[4:]]) == ["volume_mixed_series"]


def test_several_studies_in_one_folder_have_their_reason():
    assert reasons(series() + series(study="1.2.4", series="1.2.4.1")) == ["volume_mixed_series"]


@pytest.mark.parametrize(
    "change", [{"ImagePositionPatient": None}, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, {"PixelSpacing": [0, 0]}], ids=str
)
def test_slices_without_geometry_have_their_reason(change):
    assert reasons(series(**change)) == ["volume_without_geometry"]


def test_a_multi_frame_object_without_geometry_is_shown_frame_by_frame():
    (found,) = group([("key", read(multi_frame(geometry=False)))], VolumeSettings())
    assert found.kind == "single"


def test_a_tilted_gantry_has_its_reason():
    sheared = []
    for number, content in enumerate(series()):
        data = pydicom.dcmread(io.BytesIO(content))
        data.ImagePositionPatient = [0, 0.3 * number, number]
        sheared.append(file_of(data))
    assert reasons(sheared) == ["volume_sheared"]


def test_a_volume_over_the_bound_has_its_reason():
    assert reasons(series(), VolumeSettings(max_bytes=JAW.size * 2 - 1)) == ["volume_too_large"]
    assert reasons(series(), VolumeSettings(max_bytes=JAW.size * 2)) == ["volume"]


def test_a_slice_that_cannot_be_decoded_has_its_reason():
    items = dict(items_of(series(compress=RLELossless)))
    broken = items["file 5"]
    items["file 5"] = replace(broken, pixels=replace(broken.pixels, data=bytes(len(broken.pixels.data))))
    (volume,) = group(list(items.items()), SETTINGS)
    with pytest.raises(ImageRejected, match=r"^damaged$"):
        list(views(volume, items.__getitem__, SETTINGS))


def test_what_the_storage_answers_is_not_the_pictures_fault():
    (volume,) = group(items_of(series()), SETTINGS)

    def gone(key):
        raise FileNotFoundError(key)

    with pytest.raises(FileNotFoundError):
        list(views(volume, gone, SETTINGS))


# --- what stays a picture


def periapical(series_uid):
    data = base(INTRAORAL, "IO", series=series_uid, Rows=20, Columns=30, PixelRepresentation=0)
    data.PixelData = bytes(1200)
    return file_of(data)


def kinds(groups: list[Group]):
    return [(g.kind, len(g.keys)) for g in groups]


def test_a_scout_and_periapical_images_beside_a_series_stay_pictures():
    scout = series(JAW, order=(P, S, L), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[30]
    other_scout = series(JAW, order=(L, S, P), series="1.2.3.7")[30]
    files = [scout, *series(), other_scout, *(periapical("1.2.3.5") for _ in range(14))]
    assert kinds(group(items_of(files), SETTINGS)) == [("volume", len(JAW))] + [("single", 1)] * 16


def test_two_series_of_a_study_are_two_volumes_in_whatever_order_they_come():
    first, second = series(), series(JAW[:30], series="1.2.3.2")
    assert sorted(kinds(group(items_of(first + second), SETTINGS))) == [("volume", 30), ("volume", 44)]
    assert kinds(group(items_of(first + second), SETTINGS)) == kinds(group(items_of(second + first), SETTINGS))


def test_two_multi_frame_objects_are_two_volumes():
    assert kinds(group(items_of([multi_frame(), multi_frame(JAW[:20])]), SETTINGS)) == [("volume", 1)] * 2


def test_fewer_slices_than_the_setting_are_pictures():
    assert kinds(group(items_of(series(JAW[:9])), SETTINGS)) == [("single", 1)] * 9
    assert kinds(group(items_of(series(JAW[:10])), SETTINGS)) == [("volume", 10)]
    assert group([], SETTINGS) == []


def test_every_key_is_in_exactly_one_group():
    files = (
        series() + series(JAW[::2], series="1.2.3.2")[:6] + [periapical("1.2.3.5")] + series(JAW[:12], series="1.2.3.3")[:11:2]
    )
    items = items_of(files)
    assert sorted(k for g in group(items, SETTINGS) for k in g.keys) == sorted(k for k, _ in items)
