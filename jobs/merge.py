"""Make one model of a base and an adapter, in a folder of its own: for adapters that are more than LoRA, and for servers without adapters.

    python -m jobs.merge --model BASE --adapter DIR --to FOLDER [--dtype bfloat16]

BASE is a folder or a hub id on this machine. FOLDER is then a model like any other: `model: FOLDER` in a variants file, `vllm serve FOLDER`.
Its `merged.json` says where it comes from: base and adapter by content, the run that trained the adapter, versions; no paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from codelib import __version__
from codelib.core.cli import Parser, leave, run_job
from codelib.core.objects import is_object_store
from codelib.evaluate.variants import files_digest, hub_revision
from codelib.evaluate.withdrawn import is_to_retrain, retrain_note
from codelib.models.loading import check_files
from codelib.train.merging import merge


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m jobs.merge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="the base that the adapter was made for: a folder or a hub id")
    parser.add_argument("--adapter", required=True, help="folder with adapter_config.json and the adapter's weights")
    parser.add_argument("--to", required=True, help="a folder that is not there yet")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="of the weights that are written")
    args = parser.parse_args(argv)
    check_files(args.model, "--model", "config.json")
    check_files(args.adapter, "--adapter", "adapter_config.json")
    if is_object_store(args.to):
        raise ValueError(f"--to {args.to}: a folder of this machine; copy it to the store afterwards")
    if Path(args.to).exists():
        raise ValueError(f"--to {args.to}: is there already; name a folder that is not")
    merge(args.model, args.adapter, args.to, args.dtype, _origin(args.model, args.adapter, args.dtype))
    print(f"  merged: {args.to}")
    if is_to_retrain(args.adapter):  # a merged model lies in no run: nobody says it later
        print(f"  note: {retrain_note(args.to)}")
    return 0


def _origin(model: str, adapter: str, dtype: str) -> dict[str, Any]:
    """What merged.json says. ``run``: of the training that the adapter lies in; null for one that was not trained here."""
    base = f"sha256:{files_digest(Path(model))}" if Path(model).exists() else f"{model}@{hub_revision(model)}"
    about = Path(adapter).parent / "run.json"
    run = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else None
    return {
        "base": base,
        "adapter": f"sha256:{files_digest(Path(adapter))}",
        "run": run and {key: run.get(key) for key in ("name", "data_sha256", "code_version", "toy")},
        "dtype": dtype,
        "retrain": is_to_retrain(adapter),
        "versions": {"codelib": __version__} | {name: version(name) for name in ("torch", "transformers", "peft")},
    }


if __name__ == "__main__":
    leave(run_job(main))
