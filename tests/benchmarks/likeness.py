"""How well near-duplicates are told from different pictures: python -m tests.benchmarks.likeness

Every real picture of the clinic export in eleven altered copies (must be alike) and against every other (must not); and the synthetic clinic's
drawings of one visit, which resemble each other more than photographs do.
"""

from __future__ import annotations

import io
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from PIL import Image, ImageEnhance

from codelib.data.duplicate_search import BYTE_PAIRS
from codelib.data.duplicates import near_bits
from codelib.data.image_settings import ImageSettings
from codelib.imaging.likeness import are_alike, hash_of, likeness, similarity
from codelib.synthetic.export import generate

DATA = Path(os.environ.get("CODELIB_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
THRESHOLD = ImageSettings().near_duplicate
_SIZES = (60_000, 600_000, 6_600_000)  # pictures: the more, the nearer hashes must be


def pictures(folder: Path) -> list[tuple[Path, Image.Image]]:
    found = []
    for path in sorted(folder.rglob("*")):
        if (
            path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".tif")
            and "副本" not in path.name
            and "病历" not in path.parent.name
        ):
            try:
                image = Image.open(path).convert("RGB")
            except OSError:
                continue
            image.thumbnail((448, 448))
            found.append((path, image))
    return found


def copies(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    width, height = image.size
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    yield "JPEG quality 40", Image.open(buffer).convert("RGB")
    yield "half the size", image.resize((width // 2, height // 2))
    for share in (0.01, 0.02, 0.04, 0.06):
        left, top = width * share, height * share
        yield f"crop {share:.0%} of each side", image.crop((int(left), int(top), int(width - left), int(height - top)))
        yield f"crop {2 * share:.0%} of one side", image.crop((int(2 * left), 0, width, height))
    yield "brightness +20 %", ImageEnhance.Brightness(image).enhance(1.2)
    yield "contrast +30 %", ImageEnhance.Contrast(image).enhance(1.3)


def main() -> None:
    if not (DATA / "clinic-export").is_dir():
        raise SystemExit(f"no real data here ({DATA}; set CODELIB_REAL_DATA)")
    real = pictures(DATA / "clinic-export")
    values = [likeness(image) for _, image in real]
    print(f"{len(real)} real pictures; alike from {THRESHOLD}\n")
    print(
        f"{'copy':<26}{'found in a visit':>18}{'lowest':>8}{'median':>8}   found across the visits of a clinic of so many pictures"
    )
    print(
        " " * 60
        + "".join(f"{size:>12,}" for size in _SIZES)
        + "\n"
        + " " * 55
        + "bits:"
        + "".join(f"{near_bits(n):>12}" for n in _SIZES)
    )
    altered: dict[str, list[bytes]] = {}
    for _, image in real:
        for name, copy in copies(image):
            altered.setdefault(name, []).append(likeness(copy))
    for name, found in altered.items():
        scores = [similarity(a, b) for a, b in zip(values, found, strict=True)]
        inside = sum(are_alike(a, b, THRESHOLD) for a, b in zip(values, found, strict=True))
        across = [
            sum(s >= THRESHOLD and meet(a, b, near_bits(size)) for s, a, b in zip(scores, values, found, strict=True))
            for size in _SIZES
        ]
        print(
            f"{name:<26}{f'{inside}/{len(real)}':>18}{min(scores):>8.3f}{median(scores):>8.3f}"
            + "".join(f"{f'{n}/{len(real)}':>12}" for n in across)
        )
    started_s = time.perf_counter()
    pairs = [(similarity(a, b), are_alike(a, b, THRESHOLD)) for a, b in itertools.combinations(values, 2)]
    cost_ms = (time.perf_counter() - started_s) / len(pairs) * 1000
    print(
        f"\ndifferent real pictures: {sum(p[1] for p in pairs)} of {len(pairs)} pairs taken for copies, highest {max(pairs)[0]:.3f}"
    )
    print(f"{cost_ms:.2f} ms a pair")
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "clinic", visits=60, seed=3)
        visits: dict[Path, list[bytes]] = {}
        for path, image in pictures(Path(folder) / "clinic"):
            visits.setdefault(path.parents[1], []).append(likeness(image))
    drawn = [similarity(a, b) for found in visits.values() for a, b in itertools.combinations(found, 2)]
    print(
        f"drawings of one visit: {sum(s >= THRESHOLD for s in drawn)} of {len(drawn)} pairs taken for copies, highest {max(drawn):.3f}"
    )


def meet(a: bytes, b: bytes, most_bits: int) -> bool:
    """Whether the search across visits brings the two together."""
    same = [not (hash_of(a) ^ hash_of(b)) >> 8 * i & 255 for i in range(8)]
    near = (hash_of(a) ^ hash_of(b)).bit_count() <= most_bits
    return near and any(same[x] and same[y] for x, y in BYTE_PAIRS)


if __name__ == "__main__":
    main()
