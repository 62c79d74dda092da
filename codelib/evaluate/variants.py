"""What is compared: a YAML list of variants, each a model and a way of asking it.

variants.yaml  ->  load_variants(path)  ->  tuple[Variant, ...]

- name: tuned
  engine: transformers        # transformers (on this cluster) | openai (any compatible server)
  model: tiny                 # hub id, path, or `tiny` = WORKSPACE/models/tiny
  adapter: train/demo/adapter  # LoRA adapter; relative to the workspace
- name: tuned, images shuffled
  model: tiny
  adapter: train/demo/adapter
  images: shuffled            # the control: does it look at the images?
"""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from codelib.core.config import Settings, nearest
from codelib.models.prompt import PixelPolicy

CLASSIFICATION = "classification"
GENERATION = "generation"
BENCHMARKS: tuple[str, ...] = (CLASSIFICATION, GENERATION)
MISSING = "missing"  # fingerprint of a model or adapter that is not there
NUM_EXEMPLARS = 3  # few-shot without a number: the paper shows three example checkups


class Variant(Settings):
    """One row of the report's table. Frozen; unknown fields are refused."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    engine: Literal["transformers", "openai"] = "transformers"
    model: Annotated[str, Field(min_length=1)]
    adapter: str | None = None
    benchmarks: Annotated[tuple[Literal["classification", "generation"], ...], Field(min_length=1)] = (
        "classification",
        "generation",
    )
    prompting: Literal["zero-shot", "few-shot"] = "zero-shot"
    k: Annotated[int | None, Field(ge=1, le=16)] = None  # exemplars shown; few-shot only
    images: Literal["as_is", "shuffled"] = "as_is"
    max_new_tokens: Annotated[int | None, Field(ge=1, le=8192)] = None  # None: 32 to classify, 768 to write a report
    base_url: str | None = None  # openai only; None: the client's own default
    max_pixels: int | None = None  # of one image; None: the project's pixel policy
    min_pixels: int | None = None
    batch_size: Annotated[int, Field(ge=1, le=256)] = 4

    @model_validator(mode="after")
    def _consistent(self) -> Variant:
        if self.prompting == "few-shot" and CLASSIFICATION in self.benchmarks:
            raise ValueError("prompting few-shot is for generation only; write `benchmarks: [generation]` beside it")
        if self.k is not None and self.prompting != "few-shot":
            raise ValueError("k is the number of few-shot exemplars; write `prompting: few-shot` or take k away")
        if self.engine == "openai" and self.adapter is not None:
            raise ValueError("adapter is for engine transformers; a server loads its own adapters")
        if self.engine != "openai" and self.base_url is not None:
            raise ValueError("base_url is for engine openai")
        self.pixels()  # raises where the two limits do not fit
        return self

    def pixels(self) -> PixelPolicy:
        given = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return PixelPolicy(**{name: value for name, value in given.items() if value is not None})

    @property
    def num_exemplars(self) -> int:
        return (self.k or NUM_EXEMPLARS) if self.prompting == "few-shot" else 0

    def answer_length(self, benchmark: str) -> int:
        """Most tokens an answer may have."""
        return self.max_new_tokens or (32 if benchmark == CLASSIFICATION else 768)

    def twin(self) -> tuple[Any, ...]:
        """Equal for two variants that differ in nothing but name and images: a variant and its shuffled control."""
        fields = self.model_dump(exclude={"name", "images", "batch_size", "benchmarks"})
        return tuple(fields[name] for name in sorted(fields))


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
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown field {field}; {nearest(field, Variant.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error":
        choices = message.split("'")[1::2]
        message = f"{first['input']!r} is unknown; {nearest(str(first['input']), choices)}"
    return f"{field}: {message}" if field else message


def parse_variants(rows: Any, place: str) -> tuple[Variant, ...]:
    """The variants of a parsed YAML document. Raises ValueError naming place, variant and field."""
    if isinstance(rows, dict) and set(rows) == {"variants"}:
        rows = rows["variants"]
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{place}: expected a list of variants, each with at least `name` and `model`")
    variants: list[Variant] = []
    for number, row in enumerate(rows, start=1):
        label = f"{place}, variant {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{label}: expected fields such as `name: base`, found {type(row).__name__}")
        label += f" ({row['name']})" if isinstance(row.get("name"), str) else ""
        try:
            variant = Variant.model_validate(row)
        except ValidationError as error:
            raise ValueError(f"{label}: {_one_sentence(error)}") from None
        if any(variant.name == other.name for other in variants):
            raise ValueError(f"{label}: the name stands twice; every variant needs a name of its own")
        variants.append(variant)
    return tuple(variants)


def load_variants(path: str | Path) -> tuple[Variant, ...]:
    """Read a variants file. Raises ValueError with the way out where it is missing, not YAML or not valid."""
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")], n=1, cutoff=0.4)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise ValueError(f"--variants {path}: no such file{hint}")
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"--variants {path}: not YAML" + (f" at line {mark.line + 1}" if mark else "")) from None
    return parse_variants(rows, f"--variants {path}")


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


def _hub_revision(model: str) -> str:
    """Commit of a hub model in the local cache; `uncached` where nothing of it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, "config.json")
    except ValueError:  # not a repository name either (HFValidationError): the engine will say so
        return MISSING
    return Path(found).parent.name if isinstance(found, str) else "uncached"


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
        model = f"{variant.model}@{_hub_revision(variant.model)}"
    prints = {"model": model}
    if variant.adapter:
        adapter = Path(variant.adapter)
        prints["adapter"] = f"sha256:{files_digest(adapter)}" if adapter.exists() else MISSING
    return prints
