"""The machines that a plan may name: those of cluster/*.yaml and of slurm/, with what they have and cost (machines.yaml)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from codelib.core.config import Settings, nearest

Market = Literal["on_demand", "spot"]
T = TypeVar("T", bound=Settings)


class Machine(Settings):
    """One type. Prices are of an hour; None: the authors could not ground one, give yours."""

    name: str
    cloud: Literal["aws", "gcp", "aliyun", "hpc"]
    vcpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    network_gbits: float | None = Field(None, gt=0)
    disk_gb: float | None = Field(None, gt=0)  # what cluster/*.yaml asks for
    gpu: str | None = None  # as in codelib/train/gpus.json
    gpus: int = Field(0, ge=0)
    currency: Literal["USD", "CNY"] = "USD"
    on_demand: float | None = Field(None, gt=0)
    spot: float | None = Field(None, gt=0)
    price_source: str = ""
    as_of: str = ""

    def price(self, market: Market) -> float | None:
        return self.on_demand if market == "on_demand" else self.spot


class Bandwidth(Settings):
    """Of a GPU's memory, as its data sheet says."""

    gpu: str
    gb_per_s: float = Field(gt=0)


class Machines(Settings):
    note: str
    machines: tuple[Machine, ...]
    bandwidths: tuple[Bandwidth, ...]

    def named(self, name: str) -> Machine:
        """Raises ValueError with the nearest name."""
        for one in self.machines:
            if one.name == name:
                return one
        raise ValueError(f"{name}: unknown machine; {nearest(name, (one.name for one in self.machines))}")

    def bandwidth(self, gpu: str) -> float | None:
        return next((one.gb_per_s for one in self.bandwidths if one.gpu == gpu), None)

    def with_prices(self, given: Mapping[str, float]) -> Machines:
        """The same with a user's own prices an hour in USD, which stand for either market."""
        for name in given:
            try:
                self.named(name)
            except ValueError as error:
                raise ValueError(f"--price {error}") from None
        own = {"currency": "USD", "price_source": "given on the command line", "as_of": ""}
        changed = tuple(
            one.model_copy(update={"on_demand": given[one.name], "spot": given[one.name], **own}) if one.name in given else one
            for one in self.machines
        )
        return self.model_copy(update={"machines": changed})


def read(path: Path) -> Machines:
    """Raises ValueError naming file, place and value."""
    return parsed(Machines, path)


def parsed(model: type[T], path: Path) -> T:
    """A YAML file as a model. Raises ValueError."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{path.name}: not YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    except ValidationError as error:
        raise ValueError(f"{path.name}: {'; '.join(_said(one) for one in error.errors()[:3])}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: not UTF-8") from None


def _said(fault: Any) -> str:
    """Place, value where it is short (of a field that is missing it would be all that stands around it), and what is wrong."""
    value = fault.get("input")
    short = "" if fault["type"] == "missing" or isinstance(value, dict | list | tuple) else f"={str(value)[:60]!r}"
    return f"{'.'.join(map(str, fault['loc'])) or 'the file'}{short}: {fault['msg'].removeprefix('Value error, ')}"


@cache
def known() -> Machines:
    return read(Path(__file__).with_name("machines.yaml"))


def prices(given: Iterable[str]) -> dict[str, float]:
    """NAME=USD pairs of a command line. Raises ValueError."""
    found: dict[str, float] = {}
    for pair in given:
        name, equals, value = pair.rpartition("=")
        try:
            price = float(value)
        except ValueError:
            price = -1.0
        if not equals or not 0 < price < float("inf"):
            raise ValueError(f"--price {pair}: give a machine's name and its price an hour, for example c7i.16xlarge=1.05")
        found[name] = price
    return found
