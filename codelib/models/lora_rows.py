"""LoRA adapters beside one base model, each row of a batch under its own.

    folder ── stock peft, onto a twin of the model ──> Adapter: for each linear layer its two factors
    LoraRows(model) ── using(names of the rows) ──> the model's own linear layers add each row's part

The model itself is never changed: no adapter is half loaded after an error and none is left active after an exception, which is what
peft's own way of mixing adapters in a batch does (its hooks are removed without try/finally). The factors of all adapters in use stand
side by side, so that a layer costs two products whatever their number: the first for all adapters, then what is not the row's own is
blanked out, then the second adds up what is left.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from codelib.models.loading import check_files

_VISUAL = "visual."  # in the name of every module of the vision tower, merger included


class AdapterError(ValueError):
    """An adapter that cannot stand on this model. Its requests fail, the others are answered."""


class AdapterNotFound(AdapterError):
    """No such folder, or no adapter in it."""


class AdapterUnreadable(AdapterError):
    """Its files are damaged, or hold what is no number."""


class AdapterMismatch(AdapterError):
    """It was made for another model: other modules, other shapes, or another base by name."""


class AdapterUnsupported(AdapterError):
    """It is more than LoRA on linear layers (DoRA, whole modules, embeddings, a start that changes the base, ...)."""


MERGE = "merge it: `python -m jobs.merge --model BASE --adapter DIR --to FOLDER`, and evaluate FOLDER as a model without adapter"
_CHANGES_THE_BASE = (
    "pissa",
    "olora",
    "corda",
    "loftq",
)  # of `init_lora_weights`: peft takes away of the base what the adapter starts with


@dataclass(frozen=True)
class Factors:
    """What LoRA adds to one linear layer: ``up @ down @ x`` (Hu et al., arXiv 2106.09685), the scale is in ``up``."""

    down: torch.Tensor  # (rank, inputs)
    up: torch.Tensor  # (outputs, rank)
    bias: torch.Tensor | None  # (outputs,)


@dataclass(frozen=True)
class Adapter:
    layers: dict[str, Factors]  # by the module's name in the base model

    @property
    def sees(self) -> bool:
        """It stands on the vision tower or the merger: what an image is to the model depends on it."""
        return any(_VISUAL in name for name in self.layers)


def _hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).exists()


def load_adapter(folder: str, base: str, model: Any) -> Adapter:
    """Read by stock peft, with its checks, beside the model.

    ``base``: the name that the model was loaded by. Raises AdapterError.
    """
    from peft import PeftModel
    from peft.tuners.lora import Linear

    try:
        check_files(folder, "adapter", "adapter_config.json")
    except ValueError as error:
        raise AdapterNotFound(str(error)) from None
    made_for = str(_config(folder).get("base_model_name_or_path"))
    if _hub_id(made_for) and _hub_id(base) and made_for != base:
        raise AdapterMismatch(f"adapter {folder}: made for {made_for}, the model is {base}; evaluate it with its own base")
    start = _config(folder).get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_THE_BASE):
        raise AdapterUnsupported(f"adapter {folder}: {start} changes the base's own weights, which others share; {MERGE}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peft warns of is checked below, and is an error here
            tuned = PeftModel.from_pretrained(_twin(model), folder, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    # peft raises whatever its reader, its configuration or torch raise; what they say of shapes and names is no secret
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise AdapterMismatch(f"adapter {folder}: does not fit {base} ({type(error).__name__})") from None
    except Exception as error:  # safetensors has an exception of its own, pickle has many
        raise AdapterUnreadable(f"adapter {folder}: cannot be read ({type(error).__name__})") from None
    layers: dict[str, Factors] = {}
    claimed: set[str] = set()
    for name, module in tuned.get_base_model().named_modules():
        if type(module) is Linear and not module.lora_variant:
            layers[name] = _factors(module, model)
            claimed |= {f"{name}.{part}" for part, _ in module.named_parameters() if "lora_" in part}
    # what peft added beside plain LoRA on linear layers, by whatever name
    own = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    added = {name for name, _ in tuned.get_base_model().named_parameters() if name.replace("base_layer.", "") not in own}
    if not layers or added - claimed or getattr(tuned.peft_config["default"], "bias", "none") != "none":
        raise AdapterUnsupported(f"adapter {folder}: only LoRA on linear layers is served; {MERGE}")
    if any(part.is_meta for one in layers.values() for part in (one.down, one.up)):
        raise AdapterMismatch(f"adapter {folder}: weights of some of its layers are missing; copy the whole folder again")
    if not all(bool(torch.isfinite(part).all()) for one in layers.values() for part in (one.down, one.up)):
        raise AdapterUnreadable(f"adapter {folder}: holds weights that are no numbers; its training diverged")
    return Adapter(layers)


def _twin(model: Any) -> Any:
    """A second model of the same weights, in the same memory: peft may do with its modules what it likes."""
    with torch.device("meta"):
        twin = type(model)._from_config(model.config, dtype=model.dtype)
    twin.load_state_dict(model.state_dict(), assign=True)
    return twin


def _config(folder: str) -> dict[str, Any]:
    try:
        return dict(json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError):
        raise AdapterUnreadable(f"adapter {folder}: adapter_config.json is not a JSON object") from None


def _factors(module: Any, model: Any) -> Factors:
    (name,) = module.lora_A.keys()
    up = module.lora_B[name]
    scale = module.scaling[name]
    bias = None if up.bias is None else (up.bias * scale).detach().to(model.dtype)
    return Factors(module.lora_A[name].weight.detach().to(model.dtype), (up.weight * scale).detach().to(model.dtype), bias)


@dataclass
class _Side:
    """The adapters in use on one linear layer, side by side."""

    down: torch.Tensor  # (sum of ranks, inputs)
    up: torch.Tensor  # (outputs, sum of ranks + number of biases)
    layout: tuple[tuple[str, int], ...]  # (adapter, its columns), in order


class LoraRows:
    """One model's linear layers, taught to add each row's adapter. One forward pass at a time.

    ``use`` says which adapters may come; ``using`` which rows are under which while a forward pass runs. Outside of ``using`` the model is bare.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name, self.model = name, model
        self._known: dict[str, Adapter] = {}
        self._sides: dict[str, _Side] = {}
        self._hooks: list[Any] = []
        self._rows: torch.Tensor | None = None  # (rows,) the number of each row's adapter, -1 for the bare model
        self._one: str | None = None
        self._numbers: dict[str, int] = {}
        self._owners: dict[tuple[tuple[str, int], ...], torch.Tensor] = {}
        self._blank: dict[tuple[tuple[str, int], ...], torch.Tensor] = {}

    def load(self, folder: str) -> Adapter:
        """The adapter of a folder, read once. Raises AdapterError."""
        if folder not in self._known:
            self._known[folder] = load_adapter(folder, self.name, self.model)
        return self._known[folder]

    def use(self, folders: Sequence[str]) -> None:
        """Let these adapters (loaded before), and no other, stand beside the model."""
        for hook in self._hooks:
            hook.remove()
        self._known = {folder: self._known[folder] for folder in folders}
        self._sides, self._hooks, self._owners = {}, [], {}
        self._numbers = {folder: number for number, folder in enumerate(folders)}
        modules = dict(self.model.named_modules())
        for layer in sorted({layer for adapter in self._known.values() for layer in adapter.layers}):
            held = [(folder, one.layers[layer]) for folder, one in sorted(self._known.items()) if layer in one.layers]
            self._sides[layer] = _side_by_side(held)
            self._hooks.append(modules[layer].register_forward_hook(partial(self._add, layer)))

    @contextlib.contextmanager
    def using(self, rows: Sequence[str | None]) -> Iterator[None]:
        """Row i of the batch under adapter ``rows[i]``, None: the bare model."""
        try:
            if any(rows):
                numbers = [-1 if row is None else self._numbers[row] for row in rows]
                self._rows = torch.tensor(numbers, device=self.model.device)
            yield
        finally:
            self._rows, self._blank = None, {}

    @contextlib.contextmanager
    def whole(self, folder: str | None) -> Iterator[None]:
        """Everything under one adapter: for the vision tower, whose rows are patches of many images."""
        try:
            self._one = folder
            yield
        finally:
            self._one = None

    def _add(self, layer: str, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        x = args[0]
        if self._one is not None:
            own = self._known[self._one].layers.get(layer)
            if own is None:
                return None
            return output + torch.nn.functional.linear(torch.nn.functional.linear(x, own.down), own.up, own.bias)
        if self._rows is None:
            return None
        assert len(x) == len(self._rows), f"{layer}: {len(x)} rows under {len(self._rows)} adapters"
        side = self._sides[layer]
        low = torch.nn.functional.linear(x, side.down)
        biases = side.up.shape[1] - side.down.shape[0]
        if biases:
            low = torch.cat([low, low.new_ones(*low.shape[:-1], biases)], -1)
        # blanked, not multiplied by zero: what overflows under one adapter must not reach another's rows
        foreign = self._foreign(side.layout)
        low = low.masked_fill(foreign if low.dim() == 2 else foreign[:, None], 0.0)
        return output + torch.nn.functional.linear(low, side.up)

    def _foreign(self, layout: tuple[tuple[str, int], ...]) -> torch.Tensor:
        """(rows, columns) bool: the columns that are not the row's own. The same for nearly all layers of a forward pass."""
        if layout not in self._blank:
            assert self._rows is not None
            if layout not in self._owners:
                columns = [self._numbers[folder] for folder, width in layout for _ in range(width)]
                self._owners[layout] = torch.tensor(columns, device=self.model.device)
            self._blank[layout] = self._owners[layout] != self._rows[:, None]
        return self._blank[layout]


def _side_by_side(held: Sequence[tuple[str, Factors]]) -> _Side:
    """A bias is one more column of ``up``, whose input is always 1."""
    biased = [(folder, one.bias) for folder, one in held if one.bias is not None]
    up = [one.up for _, one in held] + [bias[:, None] for _, bias in biased]
    layout = [(folder, len(one.down)) for folder, one in held] + [(folder, 1) for folder, _ in biased]
    return _Side(torch.cat([one.down for _, one in held]), torch.cat(up, 1), tuple(layout))
