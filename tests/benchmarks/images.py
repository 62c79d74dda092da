"""How fast photographs become release images: `python -m tests.benchmarks.images`.

One core, one thread each, the same files for all, repetitions interleaved; the time is from the file's bytes in memory to the release's
RGB pixels, without the JPEG encoding, which is the same for all and given apart. The ratios are medians of ratios within one repetition of one
file, so that a slow moment of the machine strikes both sides. Then the stage through Ray (images_stage). Ends with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from codelib.imaging.likeness import likeness
from codelib.imaging.pixels import PixelSettings, decode, encode, fit, pictures
from tests.benchmarks import images_stage
from tests.benchmarks.dslr import Photograph, photographs
from tests.conftest import REAL_DATA

SETTINGS = PixelSettings()
LONGEST = SETTINGS.longest_px
WORKING = 2 * LONGEST  # what the screens for text and faces look at

OURS, SCREENED, PUBLISHED, OPENCV, DRAFT, VIPS, FLOOR = (
    "this pipeline: the release alone",
    "this pipeline: the release and the screens' image of twice its size",
    "published: Pillow, full decode + Lanczos",
    "OpenCV, full decode + area",
    "Pillow draft at 2x + Lanczos",
    "libvips thumbnail",
    "floor: libjpeg-turbo at 1/8, nothing else",
)
# rival -> what the ratio rival/ours must reach at each quality; issue 3
TARGETS = {
    PUBLISHED: {90: 6.0, 97: 3.0},
    OPENCV: {90: 2.5, 97: 1.5},
    VIPS: {90: 1.0, 97: 1.0},
    FLOOR: {90: 1 / 1.5, 97: 1 / 1.5},
}
QUALITIES = (90, 97)
MIN_PSNR = 45.0


def ways() -> dict[str, Callable[[bytes], object]]:
    """Every way from a file's bytes to pixels that is installed, each on one thread."""
    found: dict[str, Callable[[bytes], object]] = {OURS: released, SCREENED: screened, PUBLISHED: full_decode}
    try:
        import cv2

        cv2.setNumThreads(1)
        found[OPENCV] = lambda content: cv2.resize(
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), release_size(content), interpolation=cv2.INTER_AREA
        )
    except ImportError:
        print("opencv-python-headless is not installed: its rows are missing")
    found[DRAFT] = drafted
    try:
        os.environ["VIPS_CONCURRENCY"] = "1"  # read when the library is loaded
        import pyvips

        pyvips.cache_set_max(0)
        found[VIPS] = lambda content: pyvips.Image.thumbnail_buffer(content, LONGEST).write_to_memory()
    except ImportError:
        print("pyvips and pyvips-binary are not installed: their rows are missing")
    found[FLOOR] = lambda content: simplejpeg.decode_jpeg(content, "RGB", min_width=1, min_height=1, strict=False)
    return found


def released(content: bytes) -> Image.Image:
    return decode(content, SETTINGS)


def screened(content: bytes) -> Image.Image:
    """What the images stage does: one decode serves the screens and the release."""
    [picture] = pictures(content, SETTINGS, WORKING)
    assert picture.image is not None
    return fit(picture.image, LONGEST)


def release_size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        longest = max(image.size)
        return round(image.width * LONGEST / longest), round(image.height * LONGEST / longest)


def full_decode(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        return image.resize(release_size(content), Image.Resampling.LANCZOS)


def drafted(content: bytes) -> Image.Image:
    size = release_size(content)
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (2 * size[0], 2 * size[1]))
        return image.resize(size, Image.Resampling.LANCZOS)


def parts() -> dict[str, Callable[[bytes], object]]:
    """What the release path consists of, and what comes after it: a part that starts from an image has it made beforehand."""
    return {
        "decode to the screens' size": lambda content: pictures(content, SETTINGS, WORKING),
        "fit": prepared(lambda content: pictures(content, SETTINGS, WORKING)[0].image, lambda image: fit(image, LONGEST)),
        "encode": prepared(lambda content: decode(content, SETTINGS), lambda image: encode(image, SETTINGS.quality)),
        "hash and thumbnail": prepared(lambda content: decode(content, SETTINGS), likeness),
    }


class prepared:
    """A part whose input is computed once for each file, outside the clock."""

    def __init__(self, prepare: Callable[[bytes], object], run: Callable[[object], object]):
        self.prepare, self.run = prepare, run


def seconds(way: Callable[[bytes], object] | prepared, content: bytes) -> float:
    argument = way.prepare(content) if isinstance(way, prepared) else content
    run = way.run if isinstance(way, prepared) else way
    start = time.perf_counter()
    run(argument)
    return time.perf_counter() - start


def psnr(way: Callable[[bytes], Image.Image], content: bytes) -> float:
    """Of the release's pixels before encoding, against full decode + Lanczos. dB."""
    error = np.asarray(way(content), dtype=np.float64) - np.asarray(full_decode(content), dtype=np.float64)
    return 10 * math.log10(255**2 / max(float(np.mean(error**2)), 1e-9))


def measured(files: list[Photograph], repetitions: int) -> dict[tuple[int, str], list[float]]:
    """(quality, way) -> seconds of each repetition of each file, in the same order for all ways."""
    timed = {**ways(), **parts()}
    times: dict[tuple[int, str], list[float]] = {}
    for repetition in range(-1, repetitions):  # the first round warms up and is not counted
        for file in files:
            for name, way in timed.items():
                taken = seconds(way, file.content)
                if repetition >= 0:
                    times.setdefault((file.quality, name), []).append(taken)
    return times


def report(files: list[Photograph], times: dict[tuple[int, str], list[float]]) -> bool:
    """Prints the tables; whether every target is reached."""
    sizes = {q: statistics.median(len(f.content) for f in files if f.quality == q) / 1e6 for q in QUALITIES}
    print(f"{len(files)} files of 5184 x 3456; median size " + ", ".join(f"{sizes[q]:.1f} MB at quality {q}" for q in QUALITIES))
    print("\n| milliseconds an image, one thread | " + " | ".join(f"quality {q}" for q in QUALITIES) + " |")
    print("|---|" + "---|" * len(QUALITIES))
    for name in dict.fromkeys(name for _, name in times):
        print(f"| {name} | " + " | ".join(f"{1000 * statistics.median(times[q, name]):.1f}" for q in QUALITIES) + " |")
    print("\n| times as fast as | quality | the release alone | with the screens' image | wanted | |")
    print("|---|---|---|---|---|---|")
    passed = True
    for rival, wanted in TARGETS.items():
        for quality in QUALITIES:
            if (quality, rival) in times:
                reached = [ratio(times[quality, rival], times[quality, ours]) for ours in (OURS, SCREENED)]
                passed &= row(rival, quality, reached, wanted[quality], ".2f")
    for quality in QUALITIES:
        same = [file.content for file in files if file.quality == quality]
        worst = [min(psnr(way, content) for content in same) for way in (released, screened)]
        passed &= row("(PSNR of the worst file, dB)", quality, worst, MIN_PSNR, ".1f")
    return passed


def ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def row(name: str, quality: int, reached: list[float], wanted: float, form: str) -> bool:
    passed = [value >= wanted for value in reached]
    verdict = "pass" if all(passed) else "MISS"
    print(f"| {name} | {quality} | " + " | ".join(f"{value:{form}}" for value in reached) + f" | {wanted:{form}} | {verdict} |")
    return all(passed)


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0] if lines else model
    names = ("pillow", "simplejpeg", "opencv-python-headless", "pyvips-binary", "numpy")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} cores{load}; Python {platform.python_version()}, " + ", ".join(versions)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=4, metavar="N", help="scenes, each at both qualities (default 4)")
    parser.add_argument("--repetitions", type=int, default=7, metavar="N", help="rounds over all files and ways (default 7)")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="rounds of the stage through Ray (default 5; 0: leave it out)"
    )
    args = parser.parse_args()
    export = REAL_DATA / "clinic-export"
    if not export.is_dir():
        print(f"no real photographs at {export}: set CODELIB_REAL_DATA", file=sys.stderr)
        return 2
    print(machine())
    files = list(photographs(export, args.photographs, list(QUALITIES)))
    good = report(files, measured(files, args.repetitions))
    if args.rounds:
        good &= images_stage.report(*images_stage.camera_files(), images=400, memory_images=[400, 4000], rounds=args.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
