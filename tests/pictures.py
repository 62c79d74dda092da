"""Picture files as tests need them: generated photographs, radiographs, DICOM objects, volumes, archives."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

VIEWS = [
    *(f"axial {i}" for i in range(1, 9)),
    *(f"{plane} {i}" for plane in ("coronal", "sagittal") for i in (1, 2, 3)),
    "axial mip",
]


def photograph(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (10, 15, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.integers(-15, 15, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse, dtype=int) + noise, 0, 255).astype(np.uint8))


def radiograph(seed: int, size: tuple[int, int] = (900, 600)) -> Image.Image:
    """Soft grey arches, as little like text as can be."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 200, (4, 6), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return coarse.convert("RGB")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def dicom(pixels: np.ndarray, **values) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PatientName = "DX", "Zhang^Wei"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelData = pixels.tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def cbct_slices(count: int = 24, gap_after: int | None = None, seed: int = 0) -> list[bytes]:
    """Axial slices of an arch of teeth in a block of softer matter."""
    rng = np.random.default_rng(seed)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    y, x = np.mgrid[:160, :160]
    found = []
    for index in range(count):
        plane = np.where((x - 80) ** 2 + (y - 80) ** 2 < 70**2, 1000, 0).astype(np.int32)
        arch = np.abs(np.hypot(x - 80, y - 100) - 45) < 6
        plane[arch & (y < 100) & (x % 14 < 9)] = 2800 if count // 3 < index < 2 * count // 3 else 1100
        plane += rng.integers(0, 30, plane.shape)
        z = index * 1.5 + (4.0 if gap_after is not None and index > gap_after else 0)
        found.append(
            dicom(
                plane.astype(np.uint16),
                SOPClassUID=CTImageStorage,
                Modality="CT",
                SeriesInstanceUID=series,
                StudyInstanceUID=study,
                FrameOfReferenceUID=frame,
                ImagePositionPatient=[0, 0, z],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[1.0, 1.0],
                RescaleSlope=1,
                RescaleIntercept=-1000,
            )
        )
    return found


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def burned_in(text: str = "ZHANG WEI 2022-03-05") -> bytes:
    image = radiograph(5)
    ImageDraw.Draw(image).text((40, 40), text, fill="white", font=ImageFont.load_default(48))
    return jpeg(image, 95)
