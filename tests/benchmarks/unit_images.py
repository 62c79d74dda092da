"""What one file costs on its way to the release: whole, and by its parts. Each sort of file in a process of its own, so that memory is its own.

file ─ decode (to the screens' size) ─ fit to 448 px ─ screens: writing, faces ─ likeness ─ encode       CPU milliseconds an image, medians
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from codelib.core.sandbox import Mark
from codelib.core.store import Store
from codelib.data.image_files import first_picture
from codelib.data.image_settings import ImageSettings
from codelib.data.images import visit_rows
from codelib.data.vault import Keyed
from codelib.imaging.likeness import likeness
from codelib.imaging.pixels import encode, fit
from codelib.imaging.screens import Screens, ScreenSettings
from tests.benchmarks.unit_clinic import Kind
from tests.benchmarks.unit_flow import peak_mb

OFF = {"text": "off", "faces": "off", "documents": "off"}
_KEYED = Keyed(b"k" * 32)


@dataclass
class FileCost:
    """CPU seconds of one file. ``screened_cpu_s`` and ``unscreened_cpu_s``: the whole stage function with and without the screens."""

    kind: str
    megapixels: float
    file_bytes: float
    released_bytes: float
    screened_cpu_s: float
    unscreened_cpu_s: float
    peak_mb: float  # of the process that decodes, screens' models included
    parts_cpu_s: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def measure(kind: Kind, repetitions: int) -> FileCost:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, kind, repetitions).result()


def _measured(kind: Kind, repetitions: int) -> FileCost:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        visits = []
        for number, content in enumerate(kind.files):
            path = f"{number}/file{kind.ending}"
            store.commit(path, content)
            files = [{"path": path, "kind": kind.kind, "size_bytes": len(content)}]
            visits.append({"visit_key": f"v{number}", "patient": str(number), "checkup_time": "2022-01-01", "files": files})

        def whole(settings: ImageSettings) -> Callable[[int], Any]:
            return lambda number: visit_rows(Mark({}), visits[number], store, _KEYED, settings, {})

        def with_screens(**on: str) -> ImageSettings:
            return ImageSettings.model_validate({"screens": {**OFF, **on}})

        plain, screened = whole(with_screens()), whole(ImageSettings())
        [row] = plain(0)
        assert row["status"] == "ok", row["reject_reason"]
        unscreened_cpu_s = _median_s(plain, len(visits), repetitions)
        # the screens reject a part of the pictures (a drawing may look like anything); what they cost does not hang on it
        screened_cpu_s = _median_s(screened, len(visits), repetitions)
        parts = _parts(kind, repetitions)
        released = statistics.mean(len(plain(n)[0]["pixels"]) for n in range(len(visits)))
    return FileCost(
        kind=kind.name,
        megapixels=kind.megapixels,
        file_bytes=statistics.mean(len(content) for content in kind.files),
        released_bytes=released,
        screened_cpu_s=screened_cpu_s,
        unscreened_cpu_s=unscreened_cpu_s,
        peak_mb=peak_mb(),
        parts_cpu_s=parts,
    )


def _parts(kind: Kind, repetitions: int) -> dict[str, float]:
    settings = ImageSettings()
    pictures = [first_picture(content) for content in kind.files]
    small = [fit(picture, settings.longest_px) for picture in pictures]
    writing, faces = Screens(ScreenSettings(faces="off")), Screens(ScreenSettings(text="off", documents="off"))
    where = "radiograph" if kind.kind == "radiograph" else "photograph"
    ways: dict[str, Callable[[int], Any]] = {
        "decode": lambda n: first_picture(kind.files[n]),
        "fit to 448 px": lambda n: fit(pictures[n], settings.longest_px),
        "screen: writing": lambda n: writing.check(pictures[n], where, False),  # type: ignore[arg-type]
        "screen: faces": lambda n: faces.check(pictures[n], where, False),  # type: ignore[arg-type]
        "likeness": lambda n: likeness(small[n]),
        "encode": lambda n: encode(small[n], settings.quality),
    }
    return {name: _median_s(way, len(kind.files), repetitions) for name, way in ways.items()}


def _median_s(way: Callable[[int], Any], count: int, repetitions: int) -> float:
    """CPU seconds of one: the median over all files and repetitions, after one that warms up."""
    way(0)
    taken = []
    for _ in range(repetitions):
        for number in range(count):
            before = time.process_time()
            way(number)
            taken.append(time.process_time() - before)
    return statistics.median(taken)
