"""What is compared: a YAML list of variants, each a model and a way of asking it.

variants.yaml  ->  load_variants(path or shipped name)  ->  tuple[Variant, ...]

defaults:                     # what every variant has unless it says otherwise; may be left out, and the file is a list then
  model: tiny                 # hub id, path, or `tiny` = WORKSPACE/models/tiny
variants:
  - name: tuned
    adapter: train/demo/adapter  # LoRA adapter; relative to the workspace
  - name: tuned, images shuffled
    adapter: train/demo/adapter
    images: shuffled          # the control: does it look at the images?

Every field: docs/evaluation.md.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PlainValidator, ValidationError, model_validator

from codelib.core.config import nearest
from codelib.models.engine import Decoding
from codelib.models.prompt import PixelPolicy
from codelib.models.remote_settings import ANSWERS_ALIKE, ServerFields

CLASSIFICATION = "classification"
GENERATION = "generation"
SPECTRUM = "spectrum"
BENCHMARKS: tuple[str, ...] = (CLASSIFICATION, GENERATION, SPECTRUM)
ANSWER_TOKENS = {CLASSIFICATION: 32, GENERATION: 768, SPECTRUM: 256}  # most that an answer needs
Benchmark = Literal["classification", "generation", "spectrum"]
_MOST_TOKENS = 8192
MISSING = "missing"  # fingerprint of a model or adapter that is not there
UNCACHED = "uncached"  # in place of the commit of a hub model of which nothing is on this machine
NUM_EXEMPLARS = 3  # few-shot without a number: the paper shows three example checkups


def _decoding_names(given: Any) -> Any:
    """pydantic takes a dataclass's unknown fields for none; a misspelt temperature would be greedy in silence."""
    if isinstance(given, Mapping):
        known = [field.name for field in fields(Decoding)]
        for name in given:
            if name not in known:
                raise ValueError(f"unknown field {name}; {nearest(str(name), known)}")
    return given


def _limits(given: Any) -> Any:
    """max_new_tokens: a union's own errors name its branches, and nobody wrote those."""
    limits = given if isinstance(given, Mapping) else {} if given is None else {"": given}
    for name, limit in limits.items():
        if isinstance(given, Mapping) and name not in BENCHMARKS:
            raise ValueError(f"unknown benchmark {name}; {nearest(str(name), BENCHMARKS)}")
        if type(limit) is not int or not 1 <= limit <= _MOST_TOKENS:
            raise ValueError(f"{limit!r} is no number of tokens from 1 to {_MOST_TOKENS:,}")
    return given


class Variant(ServerFields):
    """One row of the report's table. Frozen; unknown fields are refused. The fields of a server are for engine openai alone."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    engine: Literal["transformers", "openai"] = "transformers"
    model: Annotated[str, Field(min_length=1)]
    adapter: str | None = None
    benchmarks: Annotated[tuple[Benchmark, ...], Field(min_length=1)] = ("classification", "generation")

    # how it is asked
    prompting: Literal["zero-shot", "few-shot"] = "zero-shot"
    k: Annotated[int | None, Field(ge=1, le=16)] = None  # exemplars shown; few-shot only
    language: Literal["en", "zh"] | None = None  # None: as the test set has it
    modalities: Literal["both", "images", "text"] = "both"  # images: nothing of the record; text: no image
    images: Literal["as_is", "shuffled"] = "as_is"
    max_pixels: int | None = None  # of one image; None: the project's pixel policy
    min_pixels: int | None = None

    # how it answers
    # one limit, or one for each benchmark; where there is none, ANSWER_TOKENS
    max_new_tokens: Annotated[int | dict[str, int] | None, PlainValidator(_limits)] = None
    decoding: Annotated[Decoding, BeforeValidator(_decoding_names)] = Decoding()
    constrained: bool = False  # classification: the likeliest of the six classes as well, in a column of its own
    batch_size: Annotated[int | None, Field(ge=1, le=256)] = None  # None: as many as the engine finds good; of a server 4

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.prompting == "few-shot" and set(self.benchmarks) != {GENERATION}:
            raise ValueError("prompting few-shot is for generation only; write `benchmarks: [generation]` beside it")
        if self.k is not None and self.prompting != "few-shot":
            raise ValueError("k is the number of few-shot exemplars; write `prompting: few-shot` or take k away")
        if self.modalities == "text" and self.images == "shuffled":
            raise ValueError("images: shuffled has nothing to shuffle where `modalities: text` shows none")
        if self.decoding.temperature == 0 and (self.decoding.top_p != 1 or self.decoding.seed != 0):
            raise ValueError("decoding: top_p and seed choose among tokens; give `temperature` above 0 beside them")
        self._check_engine()
        self.pixels()  # raises where the two limits do not fit
        return self

    def _check_engine(self) -> None:
        """Raises ValueError for a field that the engine would not use."""
        if self.engine == "openai":
            if self.constrained:
                raise ValueError(
                    "constrained needs the likelihood of given answers, which servers do not tell; engine transformers"
                )
        else:
            for name, known in ServerFields.model_fields.items():
                if getattr(self, name) != known.default:
                    raise ValueError(f"{name} is for engine openai")
        if self.constrained and CLASSIFICATION not in self.benchmarks:
            raise ValueError("constrained weighs the six classes; write `benchmarks: [classification]` or take it away")

    def pixels(self) -> PixelPolicy:
        given = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return PixelPolicy(**{name: value for name, value in given.items() if value is not None})

    @property
    def num_exemplars(self) -> int:
        return (self.k or NUM_EXEMPLARS) if self.prompting == "few-shot" else 0

    def answer_length(self, benchmark: str) -> int:
        """Most tokens an answer may have."""
        limits = self.max_new_tokens
        return (limits if isinstance(limits, int) else dict(limits or {}).get(benchmark)) or ANSWER_TOKENS[benchmark]

    def twin(self, *but: str) -> str:
        """Equal for two variants that differ in nothing but name and ``but`` (images): a variant and its shuffled control."""
        left_out = {"name", "batch_size", "benchmarks", *ANSWERS_ALIKE, *(but or ("images",))}
        return json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)


def _resolve_path(value: str, workspace: Path) -> str:
    inside = workspace / value
    return str(inside) if not Path(value).is_absolute() and inside.exists() else value


def resolve(variant: Variant, workspace: Path) -> Variant:
    """The variant with `tiny` and the paths that exist under the workspace made real paths; a hub id stays as it is."""
    if variant.engine != "transformers":
        return variant
    model = str(workspace / "models" / "tiny") if variant.model == "tiny" else _resolve_path(variant.model, workspace)
    # an adapter is always a path: a missing one is named where it was looked for
    adapter = str(workspace / variant.adapter) if variant.adapter else None
    return variant.model_copy(update={"model": model, "adapter": adapter})


def _one_sentence(error: ValidationError) -> str:
    # a misspelt name first: the field that it should have been is then missing, which alone would be a riddle
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown field {field}; {nearest(field, Variant.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error":
        choices = message.split("'")[1::2]
        message = f"{first['input']!r} is unknown; {nearest(str(first['input']), choices)}"
    elif first["type"] == "missing":
        message = "missing; every variant needs one, or the file's defaults (docs/evaluation.md has all fields)"
    elif first["type"] == "tuple_type":
        message = f"expected a list, [{first['input']}]"
    return f"{field}: {message}" if field else message


def _defaults(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{place}, defaults: expected fields such as `model: tiny`, found {_kind(given)}")
    for name in given:
        if name not in Variant.model_fields:
            raise ValueError(f"{place}, defaults: unknown field {name}; {nearest(str(name), Variant.model_fields)}")
    if "name" in given:
        raise ValueError(f"{place}, defaults: every variant needs a name of its own; take `name` away")
    return given


def _over(defaults: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The row's fields over the defaults; of ``decoding``, which is a group, field by field."""
    merged = {**defaults, **row}
    common, own = defaults.get("decoding"), row.get("decoding")
    if isinstance(common, dict) and isinstance(own, dict):
        merged["decoding"] = {**common, **own}
    return merged


def _kind(value: Any) -> str:
    return {dict: "a group of fields", list: "a list", str: "a word", type(None): "nothing"}.get(
        type(value), type(value).__name__
    )


def parse_variants(tree: Any, place: str) -> tuple[Variant, ...]:
    """The variants of a parsed YAML document: a list, or ``variants`` with ``defaults`` beside it. Raises ValueError naming place, variant
    and field."""
    rows, defaults = tree, {}
    if isinstance(tree, dict) and tree:
        for name in tree:
            if name not in ("defaults", "variants"):
                hint = "a single variant is a list of one: write `- ` before it" if name in Variant.model_fields else ""
                raise ValueError(f"{place}: unknown part {name}; {hint or nearest(str(name), ('defaults', 'variants'))}")
        rows, defaults = tree.get("variants"), _defaults(tree.get("defaults") or {}, place)
    if not isinstance(rows, list) or not rows:
        found = "the list is empty" if rows == [] else f"found {_kind(rows)}"
        raise ValueError(f"{place}: expected a list of variants, each with at least `name` and `model`; {found}")
    variants: list[Variant] = []
    for number, row in enumerate(rows, start=1):
        label = f"{place}, variant {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{label}: expected fields such as `name: base`, found {_kind(row)}")
        label += f" ({row['name']})" if isinstance(row.get("name"), str) else ""
        try:
            variant = Variant.model_validate(_over(defaults, row))
        except ValidationError as error:
            raise ValueError(f"{label}: {_one_sentence(error)}") from None
        if any(variant.name == other.name for other in variants):
            raise ValueError(f"{label}: the name stands twice; every variant needs a name of its own")
        variants.append(variant)
    return tuple(variants)


class _NoTwice(yaml.SafeLoader):
    """YAML in which a field that stands twice is an error: plain YAML takes the last one and says nothing."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # here, where merge keys are not yet filled in
        node = super().compose_mapping_node(anchor)
        assert node is not None
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node


def variants_file(given: str, beside: Path | None = None) -> Path:
    """A file as given (from here, else from the folder ``beside``), or a name in jobs/variants. Raises ValueError naming the nearest."""
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        folder = Path(str(files("jobs"))) / "variants"
        shipped = folder / f"{given}.yaml"
        if not shipped.is_file():
            names = (p.stem for p in folder.glob("*.yaml"))
            raise ValueError(f"--variants {given}: neither a .yaml file nor a list of jobs/variants; {nearest(given, names)}")
        return shipped
    if not path.is_file() and beside is not None and (beside / path).is_file():
        return beside / path
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1, cutoff=0.4)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ValueError(f"--variants {path}: no such file{hint}")
    return path


def load_variants(given: str | Path, beside: Path | None = None) -> tuple[Variant, ...]:
    """Read a variants file (see `variants_file`). Raises ValueError with the way out where it is missing, not YAML or not valid."""
    path = variants_file(str(given), beside)
    place = f"--variants {given}"
    try:
        tree = yaml.load(path.read_text(encoding="utf-8-sig"), _NoTwice)  # a SafeLoader
    except UnicodeDecodeError:
        raise ValueError(f"{place}: not UTF-8; save it again as UTF-8") from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        at = f" at line {mark.line + 1}" if mark else ""
        raise ValueError(f"{place}: not YAML{at}{f': {problem}' if problem else ''}") from None
    return parse_variants(tree, place)


def files_digest(path: Path) -> str:
    """SHA-256 over names and bytes of a file or of all files of a folder: what makes one model another."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        digest.update(f"{file.relative_to(path) if file != path else file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hub_revision(model: str) -> str:
    """Commit of a hub model in the local cache; `uncached` where nothing of it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "config.json")
    except ValueError:  # not a repository name either (HFValidationError): the engine will say so
        return MISSING
    return Path(found).parent.name if isinstance(found, str) else UNCACHED


def fingerprint(variant: Variant) -> dict[str, str]:
    """What the answers of a resolved variant depend on, beside its prompts: model and adapter by content.

    A hub id counts by its cached commit, a server by its address and model name; a path that is not there is `missing`.
    """
    if variant.engine == "openai":
        # the address as a hash: fingerprints stand in the report, and a cluster's inner addresses have no business there
        # the client's own default; a server that a launcher starts anew for each job lies elsewhere each time and is known by its model
        url = variant.base_url or os.environ.get("CODELIB_SERVED") or os.environ.get("OPENAI_BASE_URL")
        server = hashlib.sha256(url.encode()).hexdigest()[:12] if url else "default"
        model = f"openai:{variant.model}, server {server}"
    elif Path(variant.model).exists():
        model = f"sha256:{files_digest(Path(variant.model))}"
    elif Path(variant.model).is_absolute():
        model = MISSING
    else:
        model = f"{variant.model}@{hub_revision(variant.model)}"
    prints = {"model": model}
    if variant.adapter and variant.engine == "openai":
        prints["adapter"] = f"LoRA module {variant.adapter}"
    elif variant.adapter:
        adapter = Path(variant.adapter)
        prints["adapter"] = f"sha256:{files_digest(adapter)}" if adapter.exists() else MISSING
    return prints
