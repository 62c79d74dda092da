"""What a plan is made for: how many visits, of what, on which machines."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from codelib.core.config import Settings
from codelib.sizing.machines import Machine, Machines, Market

_MOST_IMAGES = 20_000_000_000


class Clinic(Settings):
    """An export. Defaults are the published dataset's: 5.7 photographs and 0.92 radiographs a visit, DSLR JPEGs of 6 MB."""

    visits: int = Field(ge=1, le=1_000_000_000)
    photographs_per_visit: float = Field(5.7, ge=0, le=1000)
    photograph_megapixels: float = Field(18.0, gt=0, le=500)
    photograph_megabytes: float = Field(6.0, gt=0, le=1000)
    radiographs_per_visit: float = Field(0.92, ge=0, le=1000)
    radiograph: str = "panoramic PNG"
    screens: bool = True
    chars_per_visit: float = Field(500.0, gt=0, le=1_000_000)  # Chinese, of all fields

    @model_validator(mode="after")
    def _shows_something(self) -> Clinic:
        if self.images_per_visit <= 0:
            raise ValueError("a visit without an image is not released: give photographs or radiographs")
        if self.images > _MOST_IMAGES:  # tasks of the search are counted one by one
            raise ValueError(
                f"{self.images:,} images: a plan is made for {_MOST_IMAGES:,} at most; give fewer visits, or fewer images a visit"
            )
        return self

    @property
    def images_per_visit(self) -> float:
        return self.photographs_per_visit + self.radiographs_per_visit

    @property
    def images(self) -> int:
        return max(1, round(self.visits * self.images_per_visit))


class Nodes(Settings):
    """Machines of one type."""

    machine: Machine
    count: int = Field(ge=1, le=100_000)
    market: Market = "on_demand"

    @property
    def cpus(self) -> int:
        return self.count * self.machine.vcpus

    @property
    def gpus(self) -> int:
        return self.count * self.machine.gpus

    @property
    def said(self) -> str:
        return f"{self.count} x {self.machine.name}"


class Assumed(Settings):
    """What was not measured, or hangs on the reader's cluster."""

    # of a full machine: two hyperthreads share a core, all share memory; Ray's own part is in it
    efficiency: float = Field(0.7, gt=0, le=1, description="share of a measured core that one vCPU gives")
    mfu: float = Field(0.4, gt=0, le=1, description="share of a GPU's peak reached in training and in reading prompts")
    decoding: float = Field(0.5, gt=0, le=1, description="share of its memory's bandwidth reached in writing answers")
    rows: int = Field(16, ge=1, le=4096, description="answers written side by side on one GPU")
    usd_per_gb_month: float | None = Field(None, ge=0, description="price of keeping the workspace")
    usd_per_million_puts: float | None = Field(None, ge=0, description="price of writes to an object store")
    usd_per_million_gets: float | None = Field(None, ge=0, description="price of reads from an object store")


class Translate(Settings):
    """A service that is asked; none: the glossary, offline."""

    model: str | None = None
    batch: bool = False
    repeats: float = Field(0.0, ge=0, lt=1)  # share of the characters that stand in a text that was asked before
    tokens_per_minute: int | None = Field(None, ge=1)

    @field_validator("model")
    @classmethod
    def _priced(cls, model: str | None) -> str | None:
        if model is not None and not model.strip():
            raise ValueError("name a model, or leave the option out")
        return model


def nodes(pair: list[str], machines: Machines, market: Market, option: str) -> Nodes:
    """``[20, c7i.16xlarge]`` of a command line. Raises ValueError."""
    count, name = pair
    if not count.isdigit() or not 1 <= int(count) <= 100_000:
        raise ValueError(f"{option} {count} {name}: give a number of machines from 1 to 100,000, then their type")
    try:
        machine = machines.named(name)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None
    return Nodes(machine=machine, count=int(count), market=market)
