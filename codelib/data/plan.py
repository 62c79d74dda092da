"""The plan of a dry run: what would be done, stage by stage, and what servers would be asked. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codelib.core.stage import Stage, is_finished, manifest_parts, pending
from codelib.core.store import Workspace
from codelib.data import audit, build, image_review, privacy_answers, teeth_review, translate_plan
from codelib.data.settings import DatasetSettings
from codelib.data.stages import Stages
from codelib.data.start import ListedBatch
from codelib.data.vault import Secret, read_codes

_MADE_FROM = {
    "records": ("ingest",),
    "images": ("records",),
    "hashes": ("images",),
    "duplicates": ("hashes",),
    "chosen": ("images", "duplicates"),
    "text": ("records",),
    "deidentified": ("text",),
    "bilingual": ("deidentified",),
    "annotated": ("bilingual",),
    "traits": ("annotated", "images", "chosen"),
    "copies": ("traits",),
    "split": ("annotated", "chosen", "traits", "copies"),
    "counted": ("deidentified", "annotated", "split"),
    "totals": ("counted",),
    "conversations": ("annotated", "split"),
    "published": ("images", "split"),
    "lines": ("annotated", "split", "conversations"),
    "samples": ("conversations", "images", "split"),
    "shards": ("samples",),
    "statistics": ("annotated", "split"),
    "figures": ("statistics",),
}


def print_plan(stages: Stages, batches: Sequence[ListedBatch], workspace: Workspace, settings: DatasetSettings) -> None:
    """Raises InputError where a file of answers cannot be read, as the run would."""
    print(
        f"input      {len(batches)} batches, {sum(b.num_visits for b in batches)} visit folders, "
        f"{sum(b.num_files for b in batches)} image files"
    )
    print(f"workspace  {workspace.public.root}")
    work = [batch.work for batch in batches]
    new = pending(stages.ingest, work, workspace.private)
    changed: set[str] = set() if is_finished(stages.ingest, work, workspace.private) else {"ingest"}
    answered = {} if changed else _answered(stages, workspace, settings)
    print(f"\n{'stage':<15}{'where':<9}{'CPUs':>5}{'GPUs':>5}  what would be done")
    for stage, is_private in stages.in_order():
        store = workspace.private if is_private else workspace.public
        name = f"stages/{stage.name}/manifest.json"
        known = store.read_json(name) if store.exists(name) else None
        if stage is stages.ingest and known is not None:
            todo = f"{new} of {len(batches)} batches" if changed else f"nothing new, {len(batches)} batches kept"
        else:
            todo = _todo(stage, known, changed, answered.get(stage.name, 0))
        print(f"{stage.name:<15}{'private' if is_private else 'public':<9}{stage.num_cpus:>5g}{stage.num_gpus:>5g}  {todo}")
    for line in translate_plan.cost_lines(settings.translate, workspace.public, "deidentified" not in changed):
        print(line)
    for line in translate_plan.second_lines(settings.annotate, settings.translate, workspace.public, "bilingual" not in changed):
        print(line)
    print("\nNothing was touched.")


def _todo(stage: Stage, known: Mapping[str, object] | None, changed: set[str], answered: int) -> str:
    """``changed``: the stages before that will have something new; this one joins them. ``answered``: its partitions that answers redo."""
    parts = known["parts"] if known is not None else ()
    assert isinstance(parts, list | tuple)
    if known is None:
        todo = "everything"
    elif known["settings"] != stage.settings or known["version"] != stage.version:
        todo = "everything: its settings changed"
    elif changed.intersection(_MADE_FROM.get(stage.name, ())):
        todo = "what depends on the change"
    elif answered:
        todo = f"{answered} of {len(parts)} partitions: answers wait to be taken up"
    else:
        return f"nothing new, {len(parts)} partitions kept"
    changed.add(stage.name)
    return todo


def _answered(stages: Stages, workspace: Workspace, settings: DatasetSettings) -> dict[str, int]:
    """How many partitions of a stage the answers of a person make anew, for stages whose input is as it was."""
    private, public = workspace.private, workspace.public
    pictures, written, decisions = (
        image_review.read_answers(private),
        privacy_answers.read_answers(private),
        teeth_review.read_answers(private),
    )
    found: dict[str, int] = {}
    if private.exists("stages/records/manifest.json"):
        records = manifest_parts(private, "records")
        found["images"] = pending(stages.images, image_review.images_work(records, pictures, private), private)
        found["text"] = pending(stages.text, teeth_review.text_work(records, decisions), private)
    if private.exists("stages/text/manifest.json") and not found.get("text"):
        keyed = Secret(private).load()
        codes = {code.visit_key: (code, keyed.shift_days(code.patient_key)) for code in read_codes(private)}
        records, text = manifest_parts(private, "records"), manifest_parts(private, "text")
        given = build.read_privacy_answers(records, text, written, decisions, settings, workspace)
        work = build.with_codes(text, codes, given)
        found["deidentified"] = pending(stages.deidentified, work, public)
    if all(public.exists(f"stages/{name}/manifest.json") for name in ("annotated", "split")) and not found.get("deidentified"):
        found["split"] = _judged(workspace)
    return found


def _judged(workspace: Workspace) -> int:
    """How many partitions hold a visit that an audit's verdict holds back now, or no more."""
    private, public = workspace.private, workspace.public
    lines, keyed = audit.read_audit(private), Secret(private).load()
    changed = 0
    for annotated, split in zip(manifest_parts(public, "annotated"), manifest_parts(public, "split"), strict=True):
        held = audit.held_back(split)
        if lines or held:
            verdicts = audit.standing(lines, annotated, keyed)
            changed += held != {checkup_id for checkup_id, verdict in verdicts.items() if verdict == "leak"}
    return changed
