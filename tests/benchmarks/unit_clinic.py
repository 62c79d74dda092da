"""Exports to measure on: the synthetic clinic's records with pictures of the release's size, and files as cameras and X-ray machines write them.

The flow's clinic costs nothing to draw: each picture is another crop of a real photograph, scaled to 448 px, so that a thousand visits hold a
thousand different pictures each of which the stages may take for new.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from codelib.synthetic import drawing
from codelib.synthetic import export as synthetic
from codelib.synthetic.plan import num_photographs
from tests.benchmarks import dslr

RELEASE_PX = 448
RADIOGRAPHS_A_VISIT = 8_056 / 8_775  # the published dataset's
PHONE = (4032, 3024)  # 12 megapixels
SMALL = (1600, 1200)
PANORAMIC, PERIAPICAL = (2880, 1440), (1300, 1000)


# the flow's clinic


class Crops:
    """Endless different pictures of 448 px out of some real ones, as JPEG bytes."""

    def __init__(self, originals: list[Path]):
        self._pictures = [Image.open(path).convert("RGB") for path in originals]

    def draw(self, rng: np.random.Generator) -> bytes:
        picture = self._pictures[int(rng.integers(len(self._pictures)))]
        share = rng.uniform(0.35, 0.9)
        width, height = round(picture.width * share), round(picture.height * share)
        left, top = int(rng.integers(picture.width - width + 1)), int(rng.integers(picture.height - height + 1))
        crop = picture.crop((left, top, left + width, top + height)).rotate(rng.uniform(-25, 25))
        crop.thumbnail((RELEASE_PX, RELEASE_PX), Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        out = io.BytesIO()
        crop.save(out, "JPEG", quality=92)
        return out.getvalue()


def write_clinic(folder: Path, visits: int, originals: list[Path], seed: int = 5) -> None:
    """An export of that many visits with the published numbers of photographs and radiographs."""
    crops = Crops(originals)

    def pictures(root: Path, place: Path, rng: np.random.Generator, *args: Any, **options: Any) -> SimpleNamespace:
        for name, count in (
            ("照片", num_photographs(rng, "published")),
            ("X片", int(rng.random() < RADIOGRAPHS_A_VISIT)),
        ):
            (place / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (place / name / f"{number}.jpg").write_bytes(crops.draw(rng))
        return SimpleNamespace(rejected={}, named=[])

    with mock.patch.object(synthetic, "write_visit_folder", pictures):
        synthetic.generate(folder, visits=visits, seed=seed, pool="train")


# files as they come


@dataclass(frozen=True)
class Kind:
    """Files of one sort. ``kind`` as ingest would say it."""

    name: str
    kind: str
    ending: str
    files: tuple[bytes, ...]
    megapixels: float


def kinds(export: Path, count: int) -> Iterator[Kind]:
    """``count`` files of every sort, made of the export's real photographs or drawn."""
    for name, size, quality in (
        ("photograph 2 MP, JPEG q90", SMALL, 90),
        ("photograph 12 MP, JPEG q90", PHONE, 90),
        ("photograph 12 MP, JPEG q97", PHONE, 97),
        ("photograph 18 MP, JPEG q90", dslr.SIZE, 90),
        ("photograph 18 MP, JPEG q97", dslr.SIZE, 97),
    ):
        files = tuple(one.content for one in dslr.photographs(export, count, [quality], size))
        yield Kind(name, "photograph", ".jpg", files, size[0] * size[1] / 1e6)
    rng = np.random.default_rng(11)
    films = [_film(rng, PANORAMIC) for _ in range(count)]
    megapixels = PANORAMIC[0] * PANORAMIC[1] / 1e6
    yield Kind("panoramic PNG", "radiograph", ".png", tuple(_png(film) for film in films), megapixels)
    yield Kind("panoramic DICOM", "radiograph", ".dcm", tuple(_dicom(film, rng) for film in films), megapixels)
    small = tuple(_jpeg(_film(rng, PERIAPICAL)) for _ in range(count))
    yield Kind("periapical JPEG", "radiograph", ".jpg", small, PERIAPICAL[0] * PERIAPICAL[1] / 1e6)


def _film(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A drawn radiograph of this size with a sensor's noise, 0 to 1."""
    drawn = drawing.radiograph(rng, None).convert("L").resize(size, Image.Resampling.BICUBIC)
    light = np.asarray(drawn, np.float32) / 255
    return np.clip(light + rng.normal(0, 0.012, light.shape).astype(np.float32), 0, 1)


def _grey(film: np.ndarray) -> Image.Image:
    return Image.fromarray((film * 255 + 0.5).astype(np.uint8))


def _png(film: np.ndarray) -> bytes:
    out = io.BytesIO()
    _grey(film).save(out, "PNG")
    return out.getvalue()


def _jpeg(film: np.ndarray) -> bytes:
    out = io.BytesIO()
    _grey(film).save(out, "JPEG", quality=90)
    return out.getvalue()


def _dicom(film: np.ndarray, rng: np.random.Generator) -> bytes:
    """Uncompressed, 12 of 16 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.10.{int(rng.integers(1, 10**9))}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.Modality, header.PatientID = "PX", "0"
    header.Rows, header.Columns = film.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelData = (film * 4095).astype("<u2").tobytes()
    out = io.BytesIO()
    header.save_as(out, enforce_file_format=True)
    return out.getvalue()
