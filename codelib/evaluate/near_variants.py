"""Variants whose workspace, model or adapter an object store keeps: their files as copies on this node's disk (codelib.core.near)."""

from __future__ import annotations

from pathlib import Path

from codelib.core.near import Near, cache_folder
from codelib.core.objects import is_object_store
from codelib.core.store import Store
from codelib.evaluate.variants import Variant, resolve


def resolve_anywhere(variant: Variant, root: str) -> tuple[Variant, tuple[Near, ...], bool]:
    """The variant with real paths, the copies they lie in, and whether adapter or merged model learned from somebody who withdrew since.

    ``root``: the workspace. What is not there stays a path that does not exist, as `resolve` leaves it.
    """
    if variant.engine != "transformers":
        return variant, (), False
    if not any(map(is_object_store, (root, variant.model, variant.adapter or ""))):
        return resolve(variant, Path(root)), (), False
    model, model_copy = _place(variant.model if variant.model != "tiny" else "models/tiny", root, variant.model == "tiny")
    adapter, adapter_copy = _place(variant.adapter, root, True) if variant.adapter else (None, None)
    copies = tuple(copy for copy in (model_copy, adapter_copy) if copy)
    runs = [Store(copy.uri.rpartition("/")[0]) for copy in copies]
    retrain = any(run.exists("run.json") and bool(run.read_json("run.json").get("retrain")) for run in runs)
    return variant.model_copy(update={"model": model, "adapter": adapter}), copies, retrain


def _place(value: str, root: str, must: bool) -> tuple[str, Near | None]:
    """A path for what a variant names, and its copy. must: it is a path and no hub id, also where nothing is there."""
    uri = value if is_object_store(value) else f"{root.rstrip('/')}/{value}"
    if Path(value).is_absolute() or not is_object_store(uri):
        inside = Path(root, value)
        return (str(inside) if must or inside.exists() else value), None
    if not Store(uri).names(""):
        return (str(Path(cache_folder(), "missing", value)) if must or uri == value else value), None
    copy = Near.of(uri)
    return str(copy.ensure()), copy
