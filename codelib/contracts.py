"""The dental schemas: what stands in every table between two stages.

Every table has a key, a ``status`` (``ok`` | ``rejected``) and a ``reject_reason`` (``stage:code``). A rejected row stands in the table
of the stage that rejected it; later stages are given the ok rows only.

    records (private) ── text (private) ── deidentified ── bilingual ── annotated ─┬─ split ── conversations
                     └── images ───────────────────────────────────────────────────┘

``records`` and ``text`` stand before de-identification and never leave the workspace's ``private/`` folder.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

OK = "ok"
REJECTED = "rejected"

TEXT_FIELDS: tuple[str, ...] = (
    "patient_record",
    "chief_complaint",
    "present_illness",
    "past_medical_record",
    "examination",
    "radiographs_examination",
    "diagnosis",
    "treatment_plan",
    "treatment_recommendations",
    "management",
    "medical_instructions",
    "remarks",
)
"""The text fields of a checkup, in the order of the published table (formats A and B)."""

SIX_CLASSES: tuple[str, ...] = (
    "Caries",
    "Gingivitis",
    "Malocclusion",
    "Pulpitis",
    "Tooth Loss",
    "Tooth Structure Loss",
)
"""The classes of COde's classification benchmark (arXiv 2511.04948, section on benchmarks)."""


def rejected(reason: str) -> dict[str, str]:
    """The two columns of a rejected row: ``row |= rejected("images:truncated")``."""
    stage, _, code = reason.partition(":")
    assert stage and code, f"a reason reads stage:code, not {reason!r}"
    return {"status": REJECTED, "reject_reason": reason}


@dataclass(frozen=True)
class Contract:
    """A named Arrow schema with its key columns; ``version`` is raised whenever the meaning of a column changes."""

    name: str
    version: int
    key: tuple[str, ...]
    schema: pa.Schema


_STATUS = [pa.field("status", pa.string(), nullable=False), pa.field("reject_reason", pa.string())]
_TEXT = [pa.field(name, pa.string()) for name in TEXT_FIELDS]  # "" where the clinic wrote nothing

IDENTIFIER = pa.struct([("kind", pa.string()), ("value", pa.string())])
"""A value of a denied column. kind: name | staff | phone | id_number | address | other; or patient_id, the source number of the patient."""

SOURCE_FILE = pa.struct([("path", pa.string()), ("kind", pa.string()), ("size_bytes", pa.int64())])
"""A file of a visit's folder. path: relative to the export; kind: photograph | radiograph | screenshot."""

TOOTH = pa.struct(
    [
        ("field", pa.string()),
        ("fdi", pa.list_(pa.string())),  # FDI numbers ("16", "54"); empty for a region or where status is not ok
        ("start", pa.int32()),  # span of the mention in the field's text of the same table, in characters
        ("end", pa.int32()),
        ("status", pa.string()),  # ok | region | ambiguous | reject
    ]
)

REMOVED = pa.struct([("field", pa.string()), ("class", pa.string()), ("count", pa.int32())])
"""What de-identification took out of a field: class and count, never the value."""

TRANSLATION = pa.struct(
    [
        ("field", pa.string()),
        ("engine", pa.string()),  # openai:<model> | glossary | none | empty
        ("checks", pa.list_(pa.string())),  # the checks that failed, after "needs_review"; empty when all held
    ]
)

DISEASE = pa.struct(
    [
        ("zh", pa.string()),
        ("en", pa.string()),
        ("icd10", pa.string()),
        ("six_class", pa.string()),  # null where the condition belongs to none of the six
        ("status", pa.string()),  # present | suspected | negated | past | planned
        ("field", pa.string()),
        ("start", pa.int32()),  # span in the Chinese text of the field, in characters
        ("end", pa.int32()),
        ("evidence", pa.string()),  # the words of that span
        ("fdi", pa.list_(pa.string())),  # the teeth written beside it
        ("source", pa.string()),  # null: the dictionary; openai:<model>: the second pass over what it does not know
    ]
)

RECORDS = Contract(
    "records",
    1,
    ("visit_key",),
    pa.schema(
        [
            pa.field("visit_key", pa.string(), nullable=False),
            ("batch", pa.string()),
            ("patient", pa.string()),  # source id; private
            ("checkup_time", pa.string()),  # YYYY-MM-DD HH:MM, or YYYY-MM-DD
            ("age", pa.int32()),  # years
            ("gender", pa.string()),  # male | female | null
            *_TEXT,
            ("identifiers", pa.list_(IDENTIFIER)),
            ("files", pa.list_(SOURCE_FILE)),
            ("source", pa.string()),  # what the ledger calls it: <batch>/<patient> <time>
            ("fingerprint", pa.string()),  # of the row and of its files' names, sizes and times: changed = work to do again
            *_STATUS,
        ]
    ),
)

FINDING = pa.struct([("code", pa.string()), ("score", pa.float32()), ("boxes", pa.list_(pa.list_(pa.float32())))])
"""What a screen saw. code: burned_in_text | face | screenshot | document; boxes: x0, y0, x1, y1 as fractions of width and height."""

_PICTURE = [
    pa.field("image_key", pa.string(), nullable=False),  # of the file; of a page, frame, slice or zip member: of file and part
    ("visit_key", pa.string()),
    ("sources", pa.list_(pa.string())),  # the keys of the files it was made of: one, or all slices of a volume
    ("part", pa.string()),  # "" for a file's one picture, else "page 2", "frame 3", "axial 5", the member of a zip; private
    ("kind", pa.string()),  # photograph | radiograph | screenshot
    ("ordinal", pa.int32()),  # 1.. within the visit, radiographs first, in the order of file names; 0 where it cannot be released
]

IMAGES = Contract(
    "images",
    2,
    ("image_key",),
    pa.schema(
        [
            *_PICTURE,
            ("patient_key", pa.string()),  # keyed hash
            ("checkup_time", pa.string()),
            ("picture_key", pa.string()),  # keyed hash of content and part: what a person's answer is bound to
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("likeness", pa.binary()),  # codelib.imaging.likeness: what near-duplicates are found by
            ("findings", pa.list_(FINDING)),
            ("pixels", pa.large_binary()),  # JPEG; null where rejected
            ("preview", pa.binary()),  # a small JPEG of a rejected picture, for the contact sheet (private)
            *_STATUS,
        ]
    ),
)

HASHES = Contract(
    "hashes",
    2,
    ("image_key",),
    pa.schema(
        [
            pa.field("image_key", pa.string(), nullable=False),
            ("picture_key", pa.string()),
            ("patient_key", pa.string()),
            ("visit_key", pa.string()),
            ("checkup_time", pa.string()),
            ("hash", pa.uint64()),  # of the likeness, so that a search opens the likenesses for its pairs alone, and keeps theirs
            ("likeness", pa.binary()),
            ("held", pa.bool_()),  # it waits for a person, or was refused: its copies are none that may be released in its place
        ]
    ),
)
"""What pictures of different visits are compared by."""

DUPLICATES = Contract(
    "duplicates",
    1,
    ("image_key", "other_key"),
    pa.schema(
        [
            pa.field("image_key", pa.string(), nullable=False),
            pa.field("other_key", pa.string(), nullable=False),
            ("visit_key", pa.string()),
            ("other_visit_key", pa.string()),
            ("picture_key", pa.string()),
            ("exact", pa.bool_()),
            ("same_patient", pa.bool_()),
            ("similarity", pa.float32()),  # 1 where exact
            ("verdict", pa.string()),  # the reject reason of image_key; null where the pair is only reported
        ]
    ),
)
"""Pairs of like pictures of different visits."""

CHOSEN = Contract("chosen", 1, ("image_key",), pa.schema([*_PICTURE, *_STATUS]))
"""What became of every picture, duplicates across visits told: the images without their pixels."""

TEXT = Contract(
    "text",
    1,
    ("visit_key",),
    pa.schema(
        [
            pa.field("visit_key", pa.string(), nullable=False),
            ("patient", pa.string()),
            ("checkup_time", pa.string()),
            ("age", pa.int32()),
            ("gender", pa.string()),
            *_TEXT,
            ("identifiers", pa.list_(IDENTIFIER)),
            ("teeth", pa.list_(TOOTH)),
            *_STATUS,
        ]
    ),
)

_DEIDENTIFIED = [
    pa.field("checkup_id", pa.string(), nullable=False),  # <patient code>-<number>, 0013-002
    ("patient_id", pa.string()),
    ("visit_key", pa.string()),  # keyed hash, joins the images
    ("checkup_time", pa.string()),
    ("age", pa.int32()),  # 90 stands for 90 and over
    ("gender", pa.string()),
]
_TEXT_CN = [pa.field(f"{name}_cn", pa.string()) for name in TEXT_FIELDS]

DEIDENTIFIED = Contract(
    "deidentified",
    1,
    ("checkup_id",),
    pa.schema([*_DEIDENTIFIED, *_TEXT, ("teeth", pa.list_(TOOTH)), ("removed", pa.list_(REMOVED)), *_STATUS]),
)

_BILINGUAL = [*_DEIDENTIFIED, *_TEXT, *_TEXT_CN, ("teeth", pa.list_(TOOTH)), ("removed", pa.list_(REMOVED))]

BILINGUAL = Contract(
    "bilingual",
    1,
    ("checkup_id",),
    # the plain field holds English, its twin with _cn the Chinese as de-identified; teeth spans lie in the Chinese
    pa.schema([*_BILINGUAL, ("translations", pa.list_(TRANSLATION)), *_STATUS]),
)

ANNOTATED = Contract(
    "annotated",
    3,
    ("checkup_id",),
    pa.schema(
        [
            *_BILINGUAL,
            ("translations", pa.list_(TRANSLATION)),
            ("diseases", pa.list_(DISEASE)),
            ("six_class", pa.string()),  # set when exactly one of the six classes is present
            ("unanswered", pa.list_(pa.string())),  # of the second pass: cache keys of the strings that its server failed on
            *_STATUS,
        ]
    ),
)

TRAITS = Contract(
    "traits",
    1,
    ("checkup_id",),
    pa.schema(
        [
            pa.field("checkup_id", pa.string(), nullable=False),
            ("patient_id", pa.string()),
            ("visit_key", pa.string()),
            ("six_class", pa.string()),
            ("conditions", pa.list_(pa.string())),  # English names of those present, each once
            ("photographs", pa.int32()),  # how many can be released
            ("radiographs", pa.int32()),
            ("image_keys", pa.list_(pa.string())),  # of the images that can be released
            ("contents", pa.list_(pa.uint64())),  # of each: a hash of its content
            ("looks", pa.list_(pa.uint64())),  # of each: a hash of its thumbnail; null where that is one grey
            ("empty_fields", pa.int32()),  # of the report's eight
            ("report_chars", pa.int32()),  # letters and digits of the report
            ("report", pa.uint64()),  # hash of those
            ("sketch", pa.binary()),  # MinHash of their 4-grams (codelib.data.split_reports)
        ]
    ),
)
"""What the split is drawn and audited by: keys, counts and hashes of every visit."""

COPIES = Contract(
    "copies",
    1,
    ("report", "other"),
    pa.schema(
        [
            pa.field("report", pa.uint64(), nullable=False),
            pa.field("other", pa.uint64(), nullable=False),
            ("similarity", pa.float32()),  # estimated Jaccard index of the 4-grams
        ]
    ),
)
"""Pairs of nearly equal reports, by the hashes of their texts."""

SPLIT = Contract(
    "split",
    2,
    ("checkup_id",),
    pa.schema(
        [
            pa.field("checkup_id", pa.string(), nullable=False),
            ("patient_id", pa.string()),
            ("visit_key", pa.string()),
            ("split", pa.string()),  # of the six-class benchmark: train | validation | test | excluded
            ("why", pa.string()),
            ("spectrum", pa.string()),  # of all conditions, multi-label: train | validation | test | excluded
            ("photographs", pa.list_(pa.string())),  # released file names
            ("radiographs", pa.list_(pa.string())),
            *_STATUS,
        ]
    ),
)

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

CONVERSATIONS = Contract(
    "conversations",
    3,
    ("sample_id",),
    pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),  # <checkup_id>/<task>[/<language>][/<copy>]
            ("checkup_id", pa.string()),
            ("task", pa.string()),  # classification | generation (the report) | quadrant | teeth
            ("benchmark", pa.string()),  # classification | generation; null for a task that is none
            ("language", pa.string()),  # en | zh: of question, fields and answer
            ("copy", pa.int32()),  # 0.. ; above 0 on the training side only
            ("split", pa.string()),  # train | validation | test
            ("spectrum", pa.string()),  # the visit's side in the split of all conditions: train | validation | test | excluded
            ("conditions", pa.list_(pa.string())),  # of the visit: its labels there, as complete-dataset.csv names them
            ("messages", pa.list_(MESSAGE)),
            ("images", pa.list_(pa.string())),  # paths inside the release, one for each <image>
            ("names_label", pa.bool_()),  # the visit's chief complaint already names its class
            *_STATUS,
        ]
    ),
)

PREDICTIONS = Contract(
    "predictions",
    2,
    ("variant", "sample_id"),
    pa.schema(
        [
            pa.field("variant", pa.string(), nullable=False),
            pa.field("sample_id", pa.string(), nullable=False),
            ("benchmark", pa.string()),
            ("images", pa.list_(pa.string())),
            ("reference", pa.string()),
            ("answer", pa.string()),  # the raw text
            ("parsed", pa.string()),  # null where nothing could be read from it
            ("constrained", pa.string()),  # the class whose name is the likeliest answer; null where that was not asked
            ("prompt_tokens", pa.int32()),
            ("completion_tokens", pa.int32()),
            ("cut", pa.bool_()),  # it ended at the limit of its length, not by itself
            ("latency_s", pa.float64()),
            ("usd", pa.float64()),  # what it cost, where the price is known
            *_STATUS,
        ]
    ),
)
