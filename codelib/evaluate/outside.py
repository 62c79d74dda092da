"""Before text and pixels go to a server: whether they may, what that will cost, and what to do about an error that came back.

plan, dataset, settings ──┬─ check_servers   ValueError before anything is asked
                          ├─ cost_lines      for --dry-run
                          └─ advice          for the last line of a run
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codelib.core.store import Store
from codelib.evaluate.plan import EvaluateSettings, Plan
from codelib.evaluate.variants import Variant
from codelib.models.conversation import Dataset
from codelib.models.prompt import image_size
from codelib.models.remote_budget import Budget, Limits, spent_before
from codelib.models.remote_client import KeyMissing, Server, key_of
from codelib.models.remote_prices import OVERHEAD_TOKENS, Price, image_tokens, tokens_of
from codelib.models.remote_settings import price_for, server_of

_SUMS = "SHA256SUMS"
_BLOCK = 1 << 20


def check_servers(plan: Plan, dataset: Dataset, settings: EvaluateSettings) -> None:
    """Raises ValueError where data that is no verified release would go to a server outside without anybody having said so, where a budget
    in money is set for a model whose price nobody knows, and where a service is asked for somebody's LoRA module."""
    served = [(variant, _server(variant)) for variant in plan.variants if variant.engine == "openai"]
    for variant, server in served:
        if variant.adapter is not None and server.must_name_its_snapshot:
            raise ValueError(
                f"variant {variant.name}: adapter={variant.adapter} is the name of a LoRA module of one's own server; this one has none. "
                "Give base_url, or name a tuned model in `model`"
            )
    outside = [variant for variant, server in served if server.outside]
    unasked = [variant for variant in outside if not (settings.allow_remote or variant.allow_remote)]
    if unasked and (reason := _unverified(dataset, plan)):
        given = f"--dataset {dataset.folder}" if dataset.files else "the file of --test"
        raise ValueError(
            f"variant {unasked[0].name}: asks a server outside, and {given} is no verified release ({reason}): what is "
            "in it may name people. Make a release of it (jobs.dataset); or, where it is yours to send, say so with --set "
            "allow_remote=true or `allow_remote: true` in the variant. Each text is looked through for identifiers all the same"
        )
    for variant in outside:
        if settings.budget_usd is not None and price_for(variant, variant.model) is None:
            raise ValueError(
                f"budget_usd={settings.budget_usd:g}: no price is known for {variant.model} (variant {variant.name}); give "
                "usd_per_million_input and usd_per_million_output in the variant, or budget_tokens"
            )


def _server(variant: Variant) -> Server:
    return server_of(variant, variant.model, f"variant {variant.name}")


def _unverified(dataset: Dataset, plan: Plan) -> str | None:
    """Why what is asked is not what a release was made with; None where it is. Only the files that are sent from are looked at."""
    if not dataset.files:  # its images may stand in a release: the questions do not
        return "a file of one's own"
    sums = dataset.folder / _SUMS
    if not sums.is_file() or not (dataset.folder / "manifest.json").is_file():
        return f"it has no {_SUMS} and manifest.json"
    lines = (line.split("  ", 1) for line in sums.read_text(encoding="utf-8").splitlines() if "  " in line)
    known = {name: digest for digest, name in lines}
    images = {name for samples in plan.questions.values() for sample in samples for name in sample.images}
    files = {*dataset.files.values(), *dataset.folder.glob("*.csv")}
    for name in sorted({path.relative_to(dataset.folder).as_posix() for path in files} | images):
        path = dataset.folder / name
        if name not in known:
            return f"{Path(name).name} is not in its {_SUMS}"
        if path.is_file() and _sha256(path) != known[name]:
            return f"{Path(name).name} is not what its {_SUMS} says"
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


# what it costs


@dataclass
class _Cost:
    """What is still to be asked of a variant. ``least``: with answers as long as the references; ``most``: as long as they may be."""

    price: Price | None
    num_requests: int = 0
    tokens_in: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def __str__(self) -> str:
        tokens = f"{_round(self.tokens_in)} tokens in, {_round(self.least)} to {_round(self.most)} out"
        if self.price is None:
            return f"{self.num_requests:,} requests, {tokens}; no price is known"
        low, high = (self.price.usd(self.tokens_in, out) for out in (self.least, self.most))
        return f"{self.num_requests:,} requests, about {low:.2f} USD and at most {high:.2f} USD ({tokens}; {self.price.as_of})"


def cost_lines(plan: Plan, dataset: Dataset, settings: EvaluateSettings, store: Store) -> list[str]:
    """Lines for the plan; none where no server is asked. Tokens are guessed: text by its characters, images by the model's own rule."""
    variants = [variant for variant in plan.variants if variant.engine == "openai"]
    if not variants:
        return []
    costs = {variant.name: _Cost(price_for(variant, variant.model)) for variant in variants}
    named = {variant.name: variant for variant in variants}
    sizes: dict[str, tuple[int, int] | None] = {}
    for variant, benchmark, question, reference in _to_ask(plan, named, {Path(name).stem for name in store.names("answers")}):
        cost, longest = costs[variant.name], variant.answer_length(benchmark)
        cost.num_requests += 1
        cost.tokens_in += sum(tokens_of(text) + OVERHEAD_TOKENS for _, text in question["messages"])
        cost.tokens_in += sum(_image(name, variant, dataset, sizes) for name in question["images"])
        cost.least += min(tokens_of(reference), longest)
        cost.most += longest
    lines = [f"  {variant.name}: {costs[variant.name]}{_missing_key(variant)}" for variant in variants]
    spent = spent_before(store)
    limits = Limits(settings.budget_usd, settings.budget_tokens).named()
    lines.append(
        f"  spent in this workspace so far: {spent.usd:.2f} USD, {spent.tokens:,.0f} tokens; budget: "
        f"{limits or 'none (--set budget_usd=..., budget_tokens=...)'}"
    )
    return lines


def _to_ask(plan: Plan, named: dict[str, Variant], known: set[str]) -> Iterator[tuple[Variant, str, dict[str, Any], str]]:
    """Variant, benchmark, question and reference of each answer that servers have still to give; one that two variants share is one."""
    for work in plan.work:
        references = {row["ask"]: row["reference"] for row in work.extra["rows"]}
        for number, ask in enumerate(work.extra["asks"]):
            if ask["variant"] in named and ask["key"] not in known:
                question = work.extra["questions"][ask["question"]]
                yield named[ask["variant"]], ask["benchmark"], question, references.get(number, "")


def _image(name: str, variant: Variant, dataset: Dataset, sizes: dict[str, tuple[int, int] | None]) -> int:
    """0 for an image that cannot be shown: its question is not asked."""
    if name not in sizes:
        try:
            sizes[name] = image_size(dataset.folder / name)
        except ValueError:
            sizes[name] = None
    size = sizes[name]
    try:
        return image_tokens(variant.model, size, variant.pixels()) if size else 0
    except ValueError:
        return 0


def _missing_key(variant: Variant) -> str:
    try:
        key_of(_server(variant))
    except KeyMissing:
        return f"   {_server(variant).key_env} NOT SET"
    return ""


def _round(tokens: float) -> str:
    """Two digits: it is a guess."""
    return f"{float(f'{tokens:.2g}'):,.0f}"


# what came back

_WAYS_OUT = {
    "ModelNotFound": "no such folder, and no such hub model on the machine that asks: check model, or fetch it with `hf download`",
    "AdapterNotFound": "no such folder: check adapter, whose path starts from the workspace; jobs.train makes one",
    "AdapterMismatch": "the adapter was made for another base, or files are missing: give its own base as model, or copy the folder again",
    "AdapterUnreadable": "the adapter's files are damaged, or its training diverged: copy the folder again, or train it again",
    "AdapterUnsupported": "the adapter is more than LoRA on linear layers (DoRA, PiSSA, OLoRA, whole modules, ...): make one model of it, "
    "`python -m jobs.merge --model BASE --adapter DIR --to FOLDER`, and give FOLDER as model, without adapter",
    "AdapterWithoutEffect": "its answers are the bare model's: check that it is the adapter of this model, and its training",
    "OutOfMemoryError": "not enough memory for one question: lower max_pixels, k or max_new_tokens, or take a larger GPU",
    "NoCuda": "Ray gave a GPU that torch does not see: NVIDIA's driver there is older than torch's CUDA wants (13: 580), or torch is a build "
    "for CPUs",
    "image_missing": "images that questions show are not there: `python -m jobs.release --verify DATASET` names them",
    "KeyMissing": "the variable that api_key_env names is not set on the machine that asks",
    "AuthenticationError": "the server refused the key: check the variable that api_key_env names",
    "PermissionDeniedError": "the key may not use this model",
    "NotFoundError": "the server has no such model, LoRA module or deployment: check model, adapter, base_url",
    "Redirected": "the server sends requests on to another address, which is not followed: check base_url",
    "NoCredit": "the account has no credit left",
    "WrongSnapshot": "another snapshot answered than the one named: name that one, or point the deployment at this one",
    "APIConnectionError": "the server cannot be reached: check base_url, and that it runs",
    "APITimeoutError": "the server answers too late: raise timeout_s, or lower batch_size",
    "BadReply": "what the server answers is no chat completion: check base_url, which usually ends in /v1",
    "ContextTooLong": "the prompt is longer than the server takes: raise its --max-model-len, or lower k or max_pixels",
    "ContentFilter": "the service refused to answer; such a question is asked again by each run",
    "IdentifierFound": "a text looks as if it named somebody and was not sent",
    "NotScanned": "nobody looks through the texts for identifiers: run jobs.evaluate",
}


def advice(reasons: Iterable[str], settings: EvaluateSettings, store: Store) -> str:
    """What to do about these errors (``evaluate:<class>``); "" where nothing more is to be said."""
    names = sorted({reason.removeprefix("evaluate:") for reason in reasons})
    told = [f"{name}: {_WAYS_OUT[name]}" for name in names if name in _WAYS_OUT]
    if "BudgetReached" in names:
        told.insert(0, Budget(Limits(settings.budget_usd, settings.budget_tokens), store).sentence())
    return "; ".join(told)
