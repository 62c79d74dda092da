"""What one visit, image, sample or question costs, as it was measured (unit_costs.yaml, written by `python -m tests.benchmarks.unit_costs`).

CPU seconds are those of one busy core of the machine that the file names; bytes and requests are those asked of storage.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from codelib.core.config import Settings, nearest
from codelib.sizing.machines import parsed

Per = Literal["visit", "image", "search"]


class Measured(Settings):
    """Where and when."""

    machine: str
    cores: int
    load: float
    python: str
    commit: str
    date: str
    repeat: str  # the command


class StageCost(Settings):
    """Of a stage of jobs.dataset, for one of what it counts. ``search``: a row read by one table of a search over all of them."""

    name: str
    per: Per
    cpu_s: float = Field(ge=0)
    fixed_cpu_s: float = Field(0.0, ge=0)  # of a run, however large
    read_bytes: float = Field(ge=0)
    written_bytes: float = Field(ge=0)
    reads: float = Field(ge=0)
    writes: float = Field(ge=0)


class FileCost(Settings):
    """Of opening one file and bringing it to the release's size; screens apart."""

    name: str
    kind: Literal["photograph", "radiograph"]
    megapixels: float = Field(gt=0)
    file_mb: float = Field(gt=0)
    released_kb: float = Field(gt=0)
    cpu_s: float = Field(ge=0)
    screens_cpu_s: float = Field(ge=0)
    peak_mb: float | None = Field(None, gt=0)  # of the process that decodes, screens' models in it; None: not measured


class Photograph(Settings):
    """CPU seconds of a JPEG photograph: fixed + megapixels + megabytes, fitted to the photographs among ``files``."""

    fixed_s: float = Field(ge=0)
    per_megapixel_s: float = Field(ge=0)
    per_megabyte_s: float = Field(ge=0)
    worst: float = Field(ge=0)  # of the fit, as a share of a file's cost

    def cpu_s(self, megapixels: float, megabytes: float) -> float:
        return self.fixed_s + self.per_megapixel_s * megapixels + self.per_megabyte_s * megabytes


class Workers(Settings):
    """Resident MB of one Ray worker: of the text stages, and of the images stage with the child that decodes, screens on or off."""

    text_mb: float = Field(gt=0)
    images_mb: float = Field(gt=0)
    screened_mb: float = Field(gt=0)


class Driver(Settings):
    """Of jobs.dataset's driver: what it holds and does alone, and what handing out a task costs it."""

    base_mb: float = Field(gt=0)
    kb_per_visit: float = Field(ge=0)
    cpu_s_per_visit: float = Field(ge=0)
    seconds_per_task: float = Field(gt=0)
    item_bytes_per_visit: float = Field(ge=0)  # JSON that it hands to workers, all stages


class Kept(Settings):
    """Bytes that lie in the workspace at the end."""

    per_visit: float = Field(ge=0)
    per_image: float = Field(ge=0)  # stages' tables, release/Images
    shard_bytes_per_image: float = Field(ge=0)  # release/parquet: an image lies there once for each of its visit's conversations
    release_text_per_visit: float = Field(ge=0)


class Translation(Settings):
    """Of a translating service, for one visit of ``chars`` Chinese characters."""

    chars: float = Field(gt=0)
    distinct_chars: float = Field(gt=0)
    requests: float = Field(gt=0)  # for the distinct texts
    tokens_in: float = Field(gt=0)
    tokens_out: float = Field(gt=0)


class Training(Settings):
    samples_per_visit: float = Field(gt=0)
    tokenise_cpu_s_per_sample: float = Field(ge=0)  # its images decoded once in it
    load_cpu_s_per_image: float = Field(ge=0)  # at each epoch: decode, cut into patches
    text_tokens_per_sample: float = Field(gt=0)
    answer_tokens_per_sample: float = Field(gt=0)
    example_bytes_per_sample: float = Field(ge=0)
    driver_kb_per_sample: float = Field(ge=0)  # conversations are read on the driver


class Question(Settings):
    """Of one benchmark. ``text_tokens`` without its images."""

    name: str
    prepare_cpu_s: float = Field(ge=0)
    text_tokens: float = Field(gt=0)
    answer_tokens: float = Field(gt=0)


class UnitCosts(Settings):
    measured: Measured
    images_per_visit: float = Field(gt=0)  # of the clinic that the stages were measured on
    partition_visits: int = Field(ge=1)
    stages: tuple[StageCost, ...]
    files: tuple[FileCost, ...]
    photograph: Photograph
    workers: Workers
    driver: Driver
    kept: Kept
    translation: Translation
    training: Training
    questions: tuple[Question, ...]
    metrics_cpu_s_per_answer: float = Field(ge=0)

    @model_validator(mode="after")
    def _whole(self) -> UnitCosts:
        if len({one.name for one in self.stages}) != len(self.stages):
            raise ValueError("stages: a name stands twice")
        return self

    def file(self, name: str) -> FileCost:
        """Raises ValueError with the nearest name."""
        found = {one.name: one for one in self.files}
        if name not in found:
            raise ValueError(f"{name}: no such sort of file was measured; {nearest(name, found)}")
        return found[name]


def read(path: Path) -> UnitCosts:
    """Raises ValueError naming file, place and value."""
    return parsed(UnitCosts, path)


@cache
def shipped() -> UnitCosts:
    return read(Path(__file__).with_name("unit_costs.yaml"))
