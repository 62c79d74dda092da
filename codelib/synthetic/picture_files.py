"""Pictures as files of a clinic: JPEG with EXIF, GPS, owner and comment; PNG, BMP, TIFF; DICOM.

A JPEG may be stored turned, with the EXIF orientation that makes it upright again. What a file names is returned.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from codelib.synthetic.people import Person, draw

JPEG_QUALITY = 88
CAMERAS = (("Canon", "Canon EOS 60D"), ("NIKON CORPORATION", "NIKON D750"))
# the turn that undoes what EXIF orientation asks of the reader
STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
Named = list[dict[str, str]]


def write_picture(path: Path, image: Image.Image, rng: np.random.Generator, person: Person, taken: str) -> Named:
    """Write ``image`` in the format of the path's ending; returns the identifiers inside. ``taken``: as in the plan."""
    ending = path.suffix.lower()
    if ending in (".jpg", ".jpeg"):
        return _write_jpeg(path, image, rng, person, taken)
    if ending == ".dcm":
        return _write_dicom(path, image, rng, person, taken)
    if ending in (".tif", ".tiff"):
        image.save(path, format="TIFF", compression="raw")
    elif ending == ".png":
        image.save(path, format="PNG", compress_level=1)
    else:
        assert ending == ".bmp", ending
        image.save(path, format="BMP")
    return []


def write_truncated(path: Path, image: Image.Image) -> None:
    """A JPEG whose last part never arrived."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 55 // 100])


def _write_jpeg(path: Path, image: Image.Image, rng: np.random.Generator, person: Person, taken: str) -> Named:
    named: Named = []
    exif = Image.Exif()
    comment = b""
    if rng.random() < 0.6:
        orientation = int(rng.integers(1, 9)) if rng.random() < 0.6 else 1
        exif[0x0112] = orientation
        exif[0x010F], exif[0x0110] = draw(rng, CAMERAS)
        exif[0x0132] = f"{taken[:10].replace('-', ':')} {taken[11:] or '09:00'}:12"
        if orientation in STORED_AS:
            image = image.transpose(STORED_AS[orientation])
        if rng.random() < 0.35:
            exif[0x013B] = person.pinyin  # Artist
            exif.get_ifd(0x8769)[0xA430] = f"{person.pinyin} {person.phone}"  # CameraOwnerName
            named += [_named("pinyin", person.pinyin, "exif"), _named("phone", person.phone, "exif")]
        if rng.random() < 0.35:
            _add_gps(exif, rng)
    if rng.random() < 0.15:
        comment = f"exported by clinic pc {int(rng.integers(1, 9))} / {person.pinyin}".encode()
        named.append(_named("pinyin", person.pinyin, "jpeg_comment"))
    image.save(path, format="JPEG", quality=JPEG_QUALITY, exif=exif, comment=comment)
    return named


def _add_gps(exif: Image.Exif, rng: np.random.Generator) -> None:
    rational = TiffImagePlugin.IFDRational
    gps = exif.get_ifd(0x8825)
    gps[1], gps[3] = "N", "E"
    gps[2] = (rational(31), rational(int(rng.integers(60))), rational(int(rng.integers(6000)), 100))
    gps[4] = (rational(120), rational(int(rng.integers(60))), rational(int(rng.integers(6000)), 100))


def _write_dicom(path: Path, image: Image.Image, rng: np.random.Generator, person: Person, taken: str) -> Named:
    """One uncompressed frame, 8 bits; MONOCHROME1 stores the grey values inverted, as many dental sensors do."""
    inverted = rng.random() < 0.4
    pixels = np.asarray(image.convert("L"))
    if inverted:
        pixels = 255 - pixels
    # the unique id comes from the file's own drawing, so that the same seed writes the same bytes
    digest = hashlib.sha256(pixels.tobytes() + person.record_number.encode()).digest()
    uid = UID(f"2.25.{int.from_bytes(digest[:12], 'big')}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    dataset.StudyDate, dataset.StudyTime = taken[:10].replace("-", ""), (taken[11:].replace(":", "") or "0000") + "00"
    dataset.Modality, dataset.Manufacturer = "DX", "Synthetic Sensor"
    dataset.PatientName = person.pinyin.replace(" ", "^")
    dataset.PatientID = person.record_number
    dataset.PatientTelephoneNumbers = person.phone
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    raw = pixels.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset.save_as(path, enforce_file_format=True)
    return [
        _named("pinyin", str(dataset.PatientName), "dicom"),
        _named("record_number", person.record_number, "dicom"),
        _named("phone", person.phone, "dicom"),
    ]


def _named(kind: str, text: str, where: str) -> dict[str, str]:
    return {"class": kind, "text": text, "where": where}
