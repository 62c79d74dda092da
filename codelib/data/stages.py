"""The stages of the dataset, each with its contract, its function and its numbers for Ray.

    ingest ─ records ─┬─ images ─┬─ hashes ─ duplicates ─┬─ chosen ─────┬─ traits ─ copies ─┐
                      │          └───────────────────────┘              │                   │
                      └─ text ─ deidentified ─ bilingual ─ annotated ───┴───────────────────┴─ split ─ conversations ─ release
       private rooms: ingest, records, images, hashes, duplicates, chosen, text, traits, copies
       beside them: translations, second_answers (asking), asked, pruned (what answers are for), counted, joined, totals (reports),
       statistics, figures (pictures of counts), lines, ordered_lines, samples, ordered_samples (the release's files in their order)

To add one: a contract in `codelib.contracts`, a function in a module beside this one, an entry here, a line in `jobs/dataset.py`, a test.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa

from codelib.contracts import (
    ANNOTATED,
    BILINGUAL,
    CHOSEN,
    CONVERSATIONS,
    COPIES,
    DEIDENTIFIED,
    DUPLICATES,
    HASHES,
    IMAGES,
    RECORDS,
    SPLIT,
    TEXT,
    TEXT_FIELDS,
    TRAITS,
)
from codelib.core.sandbox import shared
from codelib.core.stage import Stage, digest
from codelib.core.store import Store, Workspace
from codelib.data import (
    annotate_ask,
    annotate_second,
    clinic_names,
    figures_counts,
    split_reports,
    split_traits,
    teeth_review,
)
from codelib.data.annotate_second import Annotator, Questions
from codelib.data.answer_prune import prune_stage
from codelib.data.consent import Consent
from codelib.data.deidentify import DeidentifySettings, deidentify
from codelib.data.duplicate_search import search
from codelib.data.duplicates import PARTS_A_FILE, choose, hashes
from codelib.data.figures import make_figure
from codelib.data.image_settings import ImageSettings, screen_models
from codelib.data.images import make_images
from codelib.data.ingest import ingest
from codelib.data.ordering import piece
from codelib.data.partition import cut
from codelib.data.privacy_review import Review
from codelib.data.release import FILES, LINES, assemble, publish, release_store
from codelib.data.settings import DatasetSettings
from codelib.data.shards import SAMPLES, SHARDS, shard, weigh
from codelib.data.sharegpt import ANNOTATED_COLUMNS, SPLIT_COLUMNS, make_conversations
from codelib.data.sheets import Mapping
from codelib.data.split import make_split
from codelib.data.split_traits import traits
from codelib.data.tallies import counting_stages
from codelib.data.teeth import TeethSettings, normalise_teeth
from codelib.data.translate import AnswerCache, asked, make_bilingual
from codelib.data.translate_cache import FOLDER as ANSWERS
from codelib.data.translate_cache import SECOND_PASS
from codelib.data.translate_fill import translations_stage
from codelib.data.translate_prompt import prompt_digest
from codelib.data.unanswered import ASKED
from codelib.data.vault import Secret
from codelib.models import words

_CODES = pa.schema(
    [("visit_key", pa.string()), ("checkup_id", pa.string()), ("patient_id", pa.string()), ("date_shift_days", pa.int32())]
)


class Stages:
    """All stages of one run."""

    def __init__(self, workspace: Workspace, export: Store, settings: DatasetSettings, excluded: frozenset[str]):
        # excluded: the keyed hashes of a Consent
        secret = Secret(workspace.private)
        release = release_store(workspace)
        answers = AnswerCache(Store(f"{workspace.public.root}/{ANSWERS}"))
        group = settings.fingerprint()
        self.release_store = release
        self.ingest = Stage(
            "ingest",
            2,
            RECORDS,
            partial(_ingest, export, secret, settings.mapping, excluded),
            settings={"mapping": group["mapping"], "excluded": digest(sorted(excluded))},
            unit="visits",
        )
        self.records = Stage("records", 1, RECORDS, cut, ok_only=False, unit="visits")
        self.images = Stage(
            "images",
            2,
            IMAGES,
            partial(_images, export, secret, settings.images),
            settings={**group["images"], "models": screen_models()},
            columns=(("visit_key", "patient", "checkup_time", "files", "status"),),
            ok_only=False,
            unit="images",
        )
        self.hashes = Stage(
            "hashes",
            1,
            HASHES,
            hashes,
            columns=((*(n for n in HASHES.schema.names if n not in ("hash", "held")), "status", "reject_reason"),) * PARTS_A_FILE,
            ok_only=False,
            unit="images",
        )
        self.duplicates = Stage(
            "duplicates",
            1,
            DUPLICATES,
            partial(search, settings.images.near_duplicate),
            settings={"near_duplicate": settings.images.near_duplicate},
            lazy=True,
            unit="pairs",
        )
        self.chosen = Stage(
            "chosen",
            1,
            CHOSEN,
            choose,
            columns=(tuple(CHOSEN.schema.names),),
            ok_only=False,
            conserve="image_key",
            unit="images",
        )
        self.text = Stage(
            "text", 5, TEXT, partial(_teeth, settings.teeth), settings=group["teeth"], conserve="visit_key", unit="visits"
        )
        self.lists = settings.deidentify.lists()
        self._secret, self._deidentify_settings = secret, settings.deidentify
        self.deidentified = self._deidentified()
        # the server is asked by one task, for the whole cluster; what it answered is then read by as many workers as there are
        asks = settings.translate.engine == "openai"
        self.translations = translations_stage(settings.translate, workspace.public) if asks else None
        self.bilingual = Stage(
            "bilingual",
            2,
            BILINGUAL,
            make_bilingual(settings.translate, answers),
            settings=settings.translate.answer_settings(),
            conserve="checkup_id",
            unit="visits",
        )
        second = settings.annotate.second_pass.engine != "none"
        self.second_answers = (
            annotate_ask.answers_stage(settings.annotate, settings.translate, workspace.public) if second else None
        )
        kept = AnswerCache(Store(f"{workspace.public.root}/{SECOND_PASS}"))
        self.annotated = Stage(
            "annotated",
            5,
            ANNOTATED,
            Annotator(settings.annotate, kept),
            settings=annotate_second.identity(settings.annotate),
            conserve="checkup_id",
            unit="visits",
        )
        # which answers of servers all of this hangs on
        self.asked = Stage(
            "asked",
            1,
            ASKED,
            partial(asked, settings=settings.translate),
            settings={"model": settings.translate.model, "prompt": prompt_digest()},
            columns=(("checkup_id", "visit_key", *(f"{name}_cn" for name in TEXT_FIELDS), "translations", "status"),),
            unit="texts",
        )
        self.asked_second = Stage(
            "asked_second",
            1,
            ASKED,
            partial(annotate_second.asked, questions=Questions(settings.annotate)),
            settings=annotate_second.identity(settings.annotate),
            columns=(("checkup_id", "visit_key", "diagnosis_cn", "teeth", "unanswered", "status"),),
            unit="strings",
        )
        self.pruned = prune_stage(workspace.public)
        self.traits = Stage(
            "traits",
            1,
            TRAITS,
            traits,
            columns=(split_traits.ANNOTATED_COLUMNS, split_traits.IMAGE_COLUMNS, split_traits.CHOSEN_COLUMNS),
            conserve="checkup_id",
            unit="visits",
        )
        copied = settings.split.audit
        self.copies = Stage(
            "copies",
            1,
            COPIES,
            partial(split_reports.search, copied.report_min_chars, copied.report_similarity),
            settings={"min_chars": copied.report_min_chars, "similarity": copied.report_similarity},
            lazy=True,
            unit="pairs",
        )
        self.split = Stage(
            "split",
            2,
            SPLIT,
            make_split,
            settings={"seed": settings.seed, **settings.split.drawn_by()},
            columns=(("checkup_id", "patient_id", "visit_key", "status"), ("visit_key", "kind", "ordinal", "status")),
            conserve="checkup_id",
            unit="visits",
        )
        self.conversations = Stage(
            "conversations",
            3,
            CONVERSATIONS,
            partial(make_conversations, settings=settings.sharegpt, seed=settings.seed, labels=settings.annotate),
            settings={"seed": settings.seed, **group["sharegpt"], "words": words.fingerprint()},
            columns=(ANNOTATED_COLUMNS, SPLIT_COLUMNS),
            unit="conversations",
        )
        self.counted, self.joined, self.totals = counting_stages(settings.annotate, settings.k_anonymity)
        self.publish = Stage("published", 1, FILES, partial(publish, release=release), unit="files")
        self.assemble = Stage("lines", 4, LINES, assemble, lazy=True, unit="lines")
        self.ordered_lines = Stage("ordered_lines", 1, LINES, piece, lazy=True, unit="lines")
        self.samples = Stage("samples", 1, SAMPLES, weigh, lazy=True, unit="conversations")
        self.ordered_samples = Stage("ordered_samples", 1, SAMPLES, piece, lazy=True, unit="conversations")
        self.shards = Stage("shards", 3, SHARDS, partial(shard, release=release), lazy=True, unit="shards")
        self.statistics = Stage(
            "statistics",
            1,
            figures_counts.STATISTICS,
            partial(figures_counts.count, min_patients=settings.figures.min_patients),
            settings={"min_patients": settings.figures.min_patients},
            columns=(figures_counts.COLUMNS, figures_counts.SPLIT_COLUMNS),
            unit="counts",
        )
        self.figures = Stage("figures", 1, FILES, partial(make_figure, release=release), unit="files")

    def _deidentified(self) -> Stage:
        # before a workspace's first run there is no key to hash the lists under, and nothing that was made with them
        known = bool(self.lists) and self._secret.store.exists("key")
        lists_key = self.lists.key(self._secret.load()) if known else ""
        return Stage(
            "deidentified",
            6,
            DEIDENTIFIED,
            partial(_deidentify, self._secret, self._deidentify_settings, lists_key),
            settings=self._deidentify_settings.stage_settings(lists_key),
            conserve="visit_key",
            unit="visits",
        )

    def hand_over_lists(self) -> None:
        """Put the clinic's own lists where the workers find them. To be called once the workspace has its key, and under its lock."""
        clinic_names.hand_over(self.lists, self._secret.store, self._secret.load())
        self.deidentified = self._deidentified()

    def in_order(self) -> list[tuple[Stage, bool]]:
        """Every stage, and whether its table is private."""
        private = (self.ingest, self.records, self.images, self.hashes, self.duplicates, self.chosen, self.text)
        public = (self.deidentified, self.bilingual, self.annotated)
        for_split = (self.traits, self.copies)
        released = (self.split, self.counted, self.totals, self.conversations)
        release = (self.publish, self.assemble, self.samples, self.shards, self.statistics, self.figures)
        rooms = (private, public, for_split, released, release)
        return [(s, room in (private, for_split)) for room in rooms for s in room]


def _ingest(export: Store, secret: Secret, mapping: Mapping, excluded: frozenset[str], extra: dict[str, Any]) -> pa.Table:
    return ingest(export, mapping, Consent(excluded, secret.load()), extra)


def _images(
    export: Store, secret: Secret, settings: ImageSettings, table: pa.Table, extra: dict[str, Any] | None = None
) -> pa.Table:
    answers = extra.get("answers", {}) if extra else {}
    return make_images(table, export, secret.load(), settings, answers, shared(settings.limits.sandbox()))


def _teeth(settings: TeethSettings, table: pa.Table, extra: dict[str, Any] | None = None) -> pa.Table:
    answers = teeth_review.answers_of_table(table, extra["teeth"]) if extra else None
    return normalise_teeth(table, settings, answers)


def _deidentify(
    secret: Secret, settings: DeidentifySettings, lists_key: str, table: pa.Table, extra: list[list[Any]] | dict[str, Any]
) -> pa.Table:
    """extra: the codes; where a person answered questions that concern visits of the partition, {codes, answers, cells}."""
    codes, answers, cells = (extra["codes"], extra["answers"], extra["cells"]) if isinstance(extra, dict) else (extra, {}, {})
    lists = clinic_names.load(secret.store, lists_key)
    return deidentify(table, codes_table(codes), settings, Review(secret.load(), answers, cells), lists)


def codes_table(rows: list[list[Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(_CODES.names, row, strict=True)) for row in rows], schema=_CODES)
