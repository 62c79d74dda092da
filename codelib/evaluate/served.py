"""Has the model behind an address been changed since its answers were kept? A server's answers are known by address and name alone.

    before a run ── GET /v1/models ──> what the server says that these names are ──┬── as when the kept answers were made: go on
                                                                                   └── otherwise: ValueError with the ways out

Looked at is what stays over a restart of the same model: vLLM says the folder or hub id of weights and modules (``root``, ``parent``), others
sizes (``meta``) or a digest. Times are those of the start, limits are options: neither is looked at. A server that says nothing of all this is
believed, and other weights in the same folder are not seen; OpenAI and Azure name their snapshot in each answer. What was said lies in
``evaluate/served/``, as hashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from codelib.core.stage import digest
from codelib.core.store import Store
from codelib.evaluate.plan import Plan
from codelib.evaluate.variants import Variant
from codelib.models.remote_client import Server, list_models
from codelib.models.remote_settings import server_of

_FOLDER = "served"
_TELLING = ("root", "parent", "meta", "fingerprint", "digest", "revision", "sha")


def check_served(plan: Plan, store: Store) -> None:
    """Note what the servers of this plan say of its models. Raises ValueError where one says otherwise than when answers were kept."""
    kept = {name.rsplit("/", 1)[-1].removesuffix(".json") for name in store.names("answers")}
    by_server: dict[Server, list[Variant]] = {}
    for variant in plan.variants:
        if variant.engine == "openai":
            by_server.setdefault(_server(variant), []).append(variant)
    for server, variants in by_server.items():
        if not server.must_name_its_snapshot:
            said = asyncio.run(list_models(server))
            for variant in variants:
                _compare(variant, plan, store, said, kept)


def _server(variant: Variant) -> Server:
    return server_of(variant, variant.model, f"variant {variant.name}")


def _compare(variant: Variant, plan: Plan, store: Store, said: dict[str, dict[str, Any]], kept: set[str]) -> None:
    known = {name: _telling(said[name]) for name in (variant.model, variant.adapter) if name is not None and name in said}
    now = {name: told for name, told in known.items() if told}
    if not now:
        return
    name = f"{_FOLDER}/{digest(plan.fingerprints[variant.name])}.json"
    before = store.read_json(name) if store.exists(name) else {}
    num_kept = len(kept & set(_keys(plan, variant)))
    # a name that a server says something of at times only (a module that it loads when it is asked for) says nothing of a change
    changed = sorted({field for one in now.keys() & before.keys() for field in _differing(now[one], before[one])})
    if changed and num_kept:
        raise ValueError(
            f"variant {variant.name}: the server says of {variant.adapter or variant.model} another {', '.join(changed)} than when "
            f"{num_kept} kept answers were made, so they may be another model's. Nothing was asked. Serve the former model again; or "
            "serve this one under another name and name that in the variant; or use another --workspace. Where it is the same model, "
            f"delete {store.root}/{name}"
        )
    if before | now != before:
        store.commit_json(name, before | now)


def _telling(entry: dict[str, Any]) -> dict[str, str]:
    """As hashes: a folder of the server's machine may name accounts and clinics."""
    return {field: digest(entry[field]) for field in _TELLING if entry.get(field) not in (None, "", {})}


def _differing(one: dict[str, str], other: dict[str, str]) -> Iterable[str]:
    return (field for field in {*one, *other} if one.get(field) != other.get(field))


def _keys(plan: Plan, variant: Variant) -> Iterable[str]:
    """Of the answers to all that this variant asks, by whichever variant they were put first."""
    for work in plan.work:
        asks = work.extra["asks"]
        yield from (asks[row["ask"]]["key"] for row in work.extra["rows"] if row["variant"] == variant.name)
