"""Recall and false alarms of the identity screens on real pictures, with 95 % intervals, and what they cost.

    python -m tests.benchmarks.screens [--fonts DIR] [--skimage DIR] [--faces DIR] [--documents DIR]

Needs the real data (CODELIB_REAL_DATA). The rest makes it broader, and it says what it left out: a folder with a Chinese font
(Debian: fonts-wqy-zenhei), scikit-image's data folder, a folder of photographs each showing a face, one of document photographs.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.stats import beta

from codelib.data.image_files import first_picture
from codelib.imaging import dicom
from codelib.imaging.pixels import ImageRejected
from codelib.imaging.screens import Screens, ScreenSettings, mask
from tests.benchmarks.screens_cases import FILMS, MARKERS, WITH_WRITING, Case, burn, burned_in, card, stamp
from tests.conftest import REAL_DATA

WORKING_PX = 896  # what the images stage hands in: twice the release
RELEASE_PX = 448
FACES = ("astronaut.png", "camera.png")  # of scikit-image
NOT_CLINICAL = (
    "coffee.png",
    "chelsea.png",
    "retina.jpg",
    "coins.png",
    "cell.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "ihc.png",
)
DOCUMENTS = ("page.png", "text.png")
FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")
CHINESE_FONTS = ("wqy", "noto*cjk", "ukai", "uming", "droid*fallback")


@dataclass(frozen=True)
class Sample:
    name: str
    image: Image.Image
    kind: str
    from_dicom: bool


class Table:
    """Counts by row; a row is printed as k/n, the share and its Clopper-Pearson interval."""

    def __init__(self, title: str):
        self.title = title
        self.rows: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, row: str, hit: bool) -> None:
        self.rows[row][0] += hit
        self.rows[row][1] += 1

    def print(self) -> None:
        print(f"\n## {self.title}\n")
        for row, (hits, n) in self.rows.items():
            low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
            high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
            print(f"| {row:44} | {hits:4}/{n:<4} | {hits / n:6.1%} | {low:6.1%} - {high:6.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("fonts", "skimage", "faces", "documents"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    screens = Screens(ScreenSettings())
    real = list(_real())
    extra = {path.name: _sample(path, "photograph") for path in _skimage(given.skimage)}
    fonts = _fonts(given.fonts)
    _negatives(screens, real, [extra[name] for name in NOT_CLINICAL if name in extra])
    _burned(screens, real, fonts)
    _markers(screens, real, fonts)
    _labels(screens, real, fonts)
    _faces(
        Screens(ScreenSettings(text="off", documents="off")),
        real,
        [extra[n] for n in FACES if n in extra] + _folder(given.faces, "--faces"),
    )
    _documents(screens, real, [extra[n] for n in DOCUMENTS if n in extra] + _folder(given.documents, "--documents"))
    _cost(real)


def _negatives(screens: Screens, real: list[Sample], others: list[Sample]) -> None:
    table = Table("False alarms on real pictures without identity (as they are)")
    for sample in (s for s in real if s.name not in WITH_WRITING):
        found = _codes(screens, sample)
        group = (
            "radiographs"
            if sample.kind == "radiograph" and not sample.from_dicom
            else f"{'DICOM' if sample.from_dicom else sample.kind}s"
        )
        table.add(f"{group}: any finding", bool(found))
        for code in ("burned_in_text", "face", "screenshot", "document"):
            table.add(f"{group}: {code}", code in found)
    for sample in others:
        table.add("not clinical (scikit-image): any finding", bool(_codes(screens, sample)))
    table.print()
    table = Table("Real writing found (DICOM, the export's screenshot)")
    for sample in (s for s in real if s.name in WITH_WRITING):
        table.add("burned_in_text", "burned_in_text" in _codes(screens, sample))
    table.print()


def _burned(screens: Screens, real: list[Sample], fonts: dict[str, list[Path]]) -> None:
    size, style, half, masked = (
        Table("Text burned into real pictures: recall by letter height in the 448 px release"),
        Table("… by style, letters of 7 px and more in the release"),
        Table("… by half, 7 px and more"),
        Table("Masking (every third picture that was found)"),
    )
    for sample in _backgrounds(real):
        for number, case in enumerate(burned_in(sample.name, bool(fonts["cjk"]))):
            image, _ = burn(sample.image, case, fonts)
            px = case.fraction * image.height * RELEASE_PX / max(image.size)
            found = [f for f in screens.check(image, "radiograph", sample.from_dicom) if f.code == "burned_in_text"]
            size.add(
                f"{'under 5' if px < 5 else '5 to 7' if px < 7 else '7 to 10' if px < 10 else '10 and more'} px", bool(found)
            )
            if px >= 7:
                style.add(case.style, bool(found))
                half.add("held out" if case.held_out else "looked at while tuning", bool(found))
                half.add("all", bool(found))
                half.add("on the 7 films" if sample.name in FILMS else "on other pictures", bool(found))
            if found and number % 3 == 0:
                painted = mask(image, found)
                left = screens.check(painted, "radiograph", sample.from_dicom)
                masked.add("passes the text screen again", not any(f.code == "burned_in_text" for f in left))
                share = _covered(sample.image, image, painted)
                masked.add("99 % of the letters' pixels painted over", share >= 0.99)
                masked.add("half of them left: a part of the text stays", share < 0.5)
    for table in (size, style, half, masked):
        table.print()


def _covered(before: Image.Image, burned: Image.Image, painted: Image.Image) -> float:
    """Share of the letters' pixels that the mask changed."""
    old, new, after = (np.asarray(image.convert("RGB")).astype(int) for image in (before, burned, painted))
    letters = np.abs(new - old).max(axis=2) > 8
    return 1 - float(((after == new).all(axis=2) & letters).sum() / max(1, letters.sum()))


def _markers(screens: Screens, real: list[Sample], fonts: dict[str, list[Path]]) -> None:
    table = Table("Side, tooth and scale markers burned into real pictures: false alarms")
    for sample in _backgrounds(real):
        for text in MARKERS:
            if text.isascii() or fonts["cjk"]:
                for style in ("white", "mirror", "rot90"):
                    image, _ = burn(sample.image, Case(text, style, 0.06, False, f"{sample.name}{text}{style}"), fonts)
                    table.add(style, bool(screens.check(image, "radiograph", sample.from_dicom)))
    table.print()


def _labels(screens: Screens, real: list[Sample], fonts: dict[str, list[Path]]) -> None:
    table = Table("Labels on real photographs: recall")
    latin, cjk = (fonts[script][0] if fonts[script] else None for script in ("latin", "cjk"))
    for sample in (s for s in real if s.kind == "photograph" and s.name not in WITH_WRITING):
        cards = {"camera date": stamp(sample.image, "2022/03/05", latin)}
        cards["name card, Latin"] = card(sample.image, ("Chen Jing", "F 28"), latin)
        if cjk:
            cards["name card, Chinese"] = card(sample.image, ("陈静", "女 28岁"), cjk)
        for name, image in cards.items():
            table.add(name, bool(screens.check(image, "photograph", False)))
    table.print()


def _faces(screens: Screens, real: list[Sample], faces: list[Sample]) -> None:
    table = Table("Faces: recall on real faces (a smoke test: few, and none from a clinic)")
    for sample in faces:
        image = sample.image
        for name, view in {
            "upright": image,
            "turned 90": image.transpose(Image.Transpose.ROTATE_90),
            "turned 180": image.transpose(Image.Transpose.ROTATE_180),
            "turned 270": image.transpose(Image.Transpose.ROTATE_270),
            "mirrored": ImageOps.mirror(image),
            "dark (a quarter of the light)": image.point(lambda v: v // 4),
        }.items():
            table.add(name, "face" in _codes(screens, Sample(sample.name, view, "photograph", False)))
    for name, view in _cut(screens, faces):
        table.add(f"cut: {name}", "face" in _codes(screens, Sample("", view, "photograph", False)))
    table.print()
    table = Table("Faces: false alarms on the clinic's intraoral photographs")
    for sample in (s for s in real if s.kind == "photograph" and s.name not in WITH_WRITING):
        w, h = sample.image.size
        for name, view in {
            "as they are": sample.image,
            "mirrored": ImageOps.mirror(sample.image),
            "turned 90": sample.image.transpose(Image.Transpose.ROTATE_90),
            "turned 180": sample.image.transpose(Image.Transpose.ROTATE_180),
            "middle half": sample.image.crop((w // 4, h // 4, w - w // 4, h - h // 4)),
        }.items():
            table.add(name, "face" in _codes(screens, Sample("", view, "photograph", False)))
    table.print()


def _cut(screens: Screens, faces: list[Sample]) -> Iterator[tuple[str, Image.Image]]:
    """Parts of the large faces: boxes of the finder itself, so only how a cut changes its answer is measured."""
    for sample in faces:
        found = [f for f in screens.check(sample.image, "photograph", False) if f.code == "face"]
        if not found:
            continue
        x0, y0, x1, y1 = (v * s for v, s in zip(found[0].boxes[0], sample.image.size * 2, strict=True))
        w, h = x1 - x0, y1 - y0
        if h < 110:
            continue
        yield "forehead to nose", sample.image.crop(_ints(x0 - 0.1 * w, y0 - 0.2 * h, x1 + 0.1 * w, y0 + 0.62 * h, sample.image))
        yield "left half", sample.image.crop(_ints(x0 - 0.3 * w, y0 - 0.3 * h, x0 + 0.5 * w, y1 + 0.2 * h, sample.image))
        yield "right half", sample.image.crop(_ints(x0 + 0.5 * w, y0 - 0.3 * h, x1 + 0.3 * w, y1 + 0.2 * h, sample.image))
        yield (
            "nose to chin (false alarms)",
            sample.image.crop(_ints(x0 - 0.1 * w, y0 + 0.6 * h, x1 + 0.1 * w, y1 + 0.1 * h, sample.image)),
        )


def _ints(x0: float, y0: float, x1: float, y1: float, image: Image.Image) -> tuple[int, int, int, int]:
    return max(0, int(x0)), max(0, int(y0)), min(image.width, int(x1)), min(image.height, int(y1))


def _documents(screens: Screens, real: list[Sample], documents: list[Sample]) -> None:
    table = Table("Screenshots and documents: recall (any finding holds the picture back)")
    for sample in [s for s in real if s.name == "screenshot1.png"] + documents:
        found = _codes(screens, sample)
        table.add("any finding", bool(found))
        table.add("screenshot or document", bool(found & {"screenshot", "document"}))
    table.print()


def _cost(real: list[Sample]) -> None:
    print("\n## Milliseconds for a picture of 896 px, one thread: median and 90 % quantile\n")
    off = {"text": "off", "faces": "off", "documents": "off"}
    photographs = [s for s in real if s.kind == "photograph"][:15]
    for name, settings in {
        "writing (text and documents share it)": {"text": "reject", "documents": "reject"},
        "faces": {"faces": "reject"},
    }.items():
        screens = Screens(ScreenSettings.model_validate(off | settings))
        screens.check(photographs[0].image, "photograph", False)  # models are loaded
        took = []
        for sample in photographs:
            start = time.process_time()
            screens.check(sample.image, "photograph", False)
            took.append(1000 * (time.process_time() - start))
        print(f"| {name:44} | {np.median(took):5.0f} | {np.quantile(took, 0.9):5.0f} |", flush=True)


def _codes(screens: Screens, sample: Sample) -> set[str]:
    return {f.code for f in screens.check(sample.image, sample.kind, sample.from_dicom)}  # type: ignore[arg-type]


def _backgrounds(real: list[Sample]) -> list[Sample]:
    return [
        s
        for s in real
        if s.kind == "radiograph" and s.name not in WITH_WRITING and min(s.image.size) >= 200 and s.image.getextrema()[0][1] > 0
    ]


def _real() -> Iterator[Sample]:
    """Every picture of the clinic's export and the DICOM collection, each once (several files hold the same pixels)."""
    seen = set()
    for path in sorted((*REAL_DATA.glob("clinic-export/**/*"), *REAL_DATA.glob("dicom/**/*.dcm"))):
        if path.is_file():
            try:
                sample = _sample(path, "photograph" if "照片" in path.parts or "病历" in path.parts else "radiograph")
            except ImageRejected:
                continue
            digest = hashlib.sha256(sample.image.tobytes()).digest()
            if digest not in seen and not (seen.add(digest)):  # type: ignore[func-returns-value]
                yield sample


def _sample(path: Path, kind: str) -> Sample:
    content = path.read_bytes()
    image = first_picture(content)
    image.thumbnail((WORKING_PX, WORKING_PX), Image.Resampling.LANCZOS)
    return Sample(path.name, image, kind, dicom.looks_like_dicom(content))


def _folder(folder: Path | None, option: str) -> list[Sample]:
    if folder is None:
        print(f"left out: no folder of pictures given ({option})")
        return []
    return [_sample(path, "photograph") for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]


def _skimage(folder: Path | None) -> list[Path]:
    spec = importlib.util.find_spec("skimage") if folder is None else None
    if spec and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    wanted = [folder / name for name in (*FACES, *NOT_CLINICAL, *DOCUMENTS)] if folder else []
    if not any(path.is_file() for path in wanted):
        print("left out: scikit-image's pictures (pip install --no-deps --target DIR scikit-image; --skimage DIR/skimage/data)")
    return [path for path in wanted if path.is_file()]


def _fonts(folder: Path | None) -> dict[str, list[Path]]:
    files = [
        p
        for root in (folder, *map(Path, FONTS))
        if root
        for p in sorted(root.expanduser().rglob("*"))
        if p.suffix in (".ttf", ".ttc", ".otf")
    ]
    cjk = [p for p in files if any(p.match(f"*{part}*") or p.name.lower().startswith(part) for part in CHINESE_FONTS)]
    if not cjk:
        print("left out: Chinese text, no Chinese font found (--fonts DIR; Debian: fonts-wqy-zenhei)")
    latin = [p for p in files if p.name in ("DejaVuSans.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono.ttf")]
    return {"cjk": cjk, "latin": latin}  # no DejaVu: Pillow's own font


if __name__ == "__main__":
    main()
