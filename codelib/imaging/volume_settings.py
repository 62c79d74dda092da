"""What is taken of a volume."""

from __future__ import annotations

from pydantic import Field, model_validator

from codelib.core.config import Settings


class VolumeSettings(Settings):
    axial: int = Field(8, ge=0, le=64)  # evenly spaced through the dental band, head first
    coronal: int = Field(3, ge=0, le=64)  # evenly spaced through the dental arch, front first
    sagittal: int = Field(3, ge=0, le=64)  # evenly spaced through the dental arch, patient's right first
    mip: int = Field(1, ge=0, le=1)  # maximum intensity along the body's axis over the dental band
    min_slices: int = Field(10, ge=3)  # fewer are single pictures
    band: tuple[float, float] | None = None  # of the height, from the head down; None: where the densest voxels lie
    fallback_band: tuple[float, float] = (0.3, 0.7)  # where the densest voxels do not gather
    max_bytes: int = Field(2 << 30, ge=1)  # of the volume in memory
    window: tuple[float, float] | None = None  # centre and width in rescaled values; None: 0.5-99.5 percentile of the volume

    @model_validator(mode="after")
    def _check(self) -> VolumeSettings:
        for name in ("band", "fallback_band"):
            band = getattr(self, name)
            if band is not None and not 0 <= band[0] < band[1] <= 1:
                raise ValueError(f"{name}={list(band)}: two fractions of the height, 0 (head) <= first < second <= 1")
        if not self.axial + self.coronal + self.sagittal + self.mip:
            raise ValueError("axial, coronal, sagittal and mip are all 0: a volume would give no picture; leave at least one")
        if self.window is not None and self.window[1] <= 1:
            raise ValueError(f"window={list(self.window)}: centre and width, with a width over 1")
        return self
