"""DICOM objects made for tests, and what is shown of them."""

import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from codelib.imaging.dicom import DicomSettings, read, shown_frames
from codelib.imaging.pixels import ImageRejected

SECRET = "Geheim"
SC, US_FRAMES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.3.1"


def dataset(pixels=None, syntax=ExplicitVRLittleEndian, sop_class=SC, bits=16, signed=False, **elements):
    """A secondary capture of an array: (rows, columns), (rows, columns, 3) or a list of them."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.Modality, data.StudyInstanceUID, data.SeriesInstanceUID = "OT", "1.2.3", "1.2.3.1"
    if pixels is not None:
        frames = pixels if isinstance(pixels, list) else [pixels]
        data.Rows, data.Columns = frames[0].shape[:2]
        data.SamplesPerPixel = 3 if frames[0].ndim == 3 else 1
        data.PhotometricInterpretation = "RGB" if frames[0].ndim == 3 else "MONOCHROME2"
        if frames[0].ndim == 3:
            data.PlanarConfiguration = 0
        data.BitsAllocated, data.BitsStored = frames[0].dtype.itemsize * 8, min(bits, frames[0].dtype.itemsize * 8)
        data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(signed)
        if len(frames) > 1:
            data.NumberOfFrames = len(frames)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        raw = b"".join(f.astype(f.dtype.newbyteorder(order)).tobytes() for f in frames)
        data.PixelData = raw + bytes(len(raw) % 2)
        data["PixelData"].VR = "OB" if frames[0].dtype.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def file_of(data, compress=None):
    if compress:
        data.compress(compress)
    out = io.BytesIO()
    syntax = data.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(
        out, data, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
    )
    return out.getvalue()


def encapsulated(codestreams, syntax, **elements):
    data = dataset(**elements)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = pydicom.encaps.encapsulate(codestreams)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return file_of(data)


def shown(content, max_frames=4):
    return [np.asarray(image) for _, image in shown_frames(read(content), max_frames)]


def grey(content):
    (picture,) = shown(content)
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
    return picture[..., 0]


def reason(content, **chosen):
    with pytest.raises(ImageRejected) as caught:
        shown_frames(read(content, DicomSettings(**chosen)), 3)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    return str(caught.value)


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
COLOURS = np.random.default_rng(3).integers(0, 256, (15, 20, 3), dtype=np.uint8)


def real(real_data, name):
    return (real_data / "dicom" / name).read_bytes()


def bare(content, meta=True):
    """Without preamble, and without meta group unless asked for."""
    if meta:
        return content[132:]
    length = struct.unpack("<I", content[140:144])[0]
    return content[144 + length :]


def jpeg(array, **options):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", quality=100, subsampling=0, **options)
    return out.getvalue()


def without_app0(stream):
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def lut(first, bits, values, packed=False):
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.asarray(values, "u1" if packed else "<u2").tobytes())
    return [item]


SMOOTH = np.asarray(Image.fromarray(COLOURS[:4, :4]).resize((64, 48), Image.Resampling.BICUBIC))
