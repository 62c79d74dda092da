"""The benchmarks as samples, and the ways of choosing among them: limited, few-shot examples, with the images of another visit.

    Dataset ── load_samples ──> tuple[Sample, ...] ──┬── candidates, few_shot ──> worked examples before the question
                                                     └── shuffled (control)   ──> another visit's images

Every choice is a function of a seed and stable keys: a grown test set leaves the old choices where they were as far as it can. How a variant
is asked a sample, with less to see or in another language: codelib.evaluate.questions.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from codelib.evaluate import spectrum
from codelib.evaluate.variants import CLASSIFICATION, GENERATION, SPECTRUM
from codelib.evaluate.visits import Visit, gender, read_visits
from codelib.models.conversation import Conversation, Dataset, Message
from codelib.models.visit_question import user_message
from codelib.models.words import LANGUAGES, words

TEST_FILES = {CLASSIFICATION: "test-cls", GENERATION: "test-diagnostic"}
TRAIN_FILES = {CLASSIFICATION: "train-cls", GENERATION: "train-diagnostic"}
SpectrumVisits = Literal["unseen", "all"]


@dataclass(frozen=True)
class Sample:
    """One question with its reference. ``messages`` end with the user's question; ``images`` are paths inside the dataset."""

    sample_id: str
    benchmark: str
    patient: str
    messages: tuple[Message, ...]
    images: tuple[str, ...]
    reference: str
    checkup_id: str = ""  # this and what follows: "" and None where the dataset does not say
    split: str = ""
    language: str = ""
    names_label: bool | None = None  # the complaint already names the class
    others: tuple[str, ...] = ()  # checkups of worked examples, and of whoever lent the images
    age: int | None = None  # years
    gender: str = ""  # male | female
    num_photographs: int | None = None
    num_radiographs: int | None = None
    conditions: tuple[str, ...] = ()  # English names of all that the visit's table calls present
    seen: bool = False  # a training file of the release shows this patient: no fair question to an adapter tuned on it (spectrum)
    visit: Visit | None = field(default=None, compare=False, repr=False)  # the visit's row in the release's table

    @property
    def shows(self) -> tuple[str, ...]:
        """The checkups that the question shows something of, each once, sorted: what is to go where one of them is withdrawn."""
        return tuple(sorted({self.checkup_id, *self.others} - {""}))


def _order(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}/{key}".encode()).hexdigest()


def _inside(path: str, folder: Path) -> str:
    """A path relative to the dataset. Raises ValueError where it points out of it."""
    if Path(path).is_relative_to(folder) and ".." not in (inside := Path(path).relative_to(folder)).parts:
        return inside.as_posix()
    raise ValueError(f"--dataset {folder}: an image path is absolute or leaves the folder; use paths inside it")


@dataclass(frozen=True)
class TestSet(Dataset):
    """A data set whose questions were read already, of one benchmark; ``release``: where few-shot examples come from."""

    __test__ = False  # pytest takes it for a test by its name
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    release: Dataset | None = None


def _samples(conversations: Sequence[Conversation], benchmark: str, folder: Path) -> tuple[Sample, ...]:
    samples = []
    for conversation in conversations:
        if conversation.messages[-1].role != "assistant":
            raise ValueError(f"{conversation.sample_id}: no answer to compare with; the last message must be the assistant's")
        images = tuple(_inside(image, folder) for image in conversation.images)
        samples.append(sample_of(conversation, benchmark, images))
    return tuple(samples)


def sample_of(conversation: Conversation, benchmark: str, images: tuple[str, ...]) -> Sample:
    """A conversation that ends with an answer, as a sample; what no table tells of its visit is taken from the question and the images'
    folders."""
    prompt = conversation.prompt.messages
    asked = "\n".join(message.content for message in prompt if message.role == "user")
    shown = [sum(f"/{kind}/" in f"/{name.casefold()}" for name in images) for kind in ("photographs", "radiographs")]
    told = images and sum(shown) == len(images)
    return Sample(
        conversation.sample_id,
        benchmark,
        conversation.patient,
        prompt,
        images,
        conversation.answer,
        conversation.checkup or "",
        conversation.split,
        conversation.language,
        conversation.names_label,
        age=_age_in(asked),
        gender=_gender_in(asked),
        num_photographs=shown[0] if told else None,
        num_radiographs=shown[1] if told else None,
    )


def _field_in(text: str, name: str) -> str:
    """The value of a field's line in a question, in whichever language: 'Age: 35' -> '35'."""
    for language in LANGUAGES:
        told = words(language)
        found = re.search(rf"^{re.escape(told.fields[name])}\s*[:：]\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
        if found:
            return found.group(1)
    return ""


def _age_in(text: str) -> int | None:
    found = re.match(r"\d{1,3}(?!\d)", _field_in(text, "age"))
    return int(found.group()) if found and int(found.group()) <= 130 else None


def _gender_in(text: str) -> str:
    return gender(_field_in(text, "gender").strip(",.;，。；"))


def with_visits(samples: Sequence[Sample], folder: Path) -> tuple[Sample, ...]:
    """The samples with what the release's table says of their visits."""
    wanted = {sample.checkup_id for sample in samples} - {""}
    visits = read_visits(folder, lambda visit: visit.checkup_id in wanted)
    return tuple(_with_visit(sample, visits.get(sample.checkup_id)) for sample in samples)


def _with_visit(sample: Sample, visit: Visit | None) -> Sample:
    if visit is None:
        return sample
    return replace(
        sample,
        age=sample.age if visit.age is None else visit.age,
        gender=visit.gender or sample.gender,
        num_photographs=len(visit.photographs),
        num_radiographs=len(visit.radiographs),
        conditions=visit.conditions,
        visit=visit,
    )


def load_samples(dataset: Dataset, benchmark: str, spectrum_visits: SpectrumVisits = "unseen") -> tuple[Sample, ...]:
    """All test samples of a benchmark. spectrum_visits: which visits the benchmark spectrum asks about, see `codelib.evaluate.spectrum`.
    Raises ValueError where there is none."""
    if isinstance(dataset, TestSet):
        if benchmark not in dataset.samples:
            raise ValueError(f"--benchmarks {benchmark}: the file of --test is read as --benchmark {', '.join(dataset.samples)}")
        return dataset.samples[benchmark]
    if benchmark == SPECTRUM:
        return _spectrum(dataset, spectrum_visits)
    samples = _samples(dataset.read(TEST_FILES[benchmark]), benchmark, dataset.folder)
    if not samples:
        raise ValueError(
            f"--dataset {dataset.folder}: {TEST_FILES[benchmark]}.json is empty; leave this benchmark out with --benchmarks"
        )
    return with_visits(samples, dataset.folder)


def _spectrum(dataset: Dataset, chosen: SpectrumVisits) -> tuple[Sample, ...]:
    found = spectrum.read_spectrum(dataset)
    told = words("en")
    question = spectrum.question(found.names, "en", "both")
    samples = []
    for visit in found.visits:
        seen = visit.checkup_id in found.seen
        if seen and chosen == "unseen":
            continue
        content = user_message(visit.row(), SPECTRUM, len(visit.images), question, "both", told)
        sample = Sample(
            f"{SPECTRUM}/{visit.checkup_id}",
            SPECTRUM,
            visit.patient,
            (Message("user", content),),
            tuple(_inside(str(dataset.folder / name), dataset.folder) for name in visit.images),  # a table may be anybody's
            spectrum.reference(visit),
            visit.checkup_id,
            spectrum.TEST,
            "en",
            seen=seen,
        )
        samples.append(_with_visit(sample, visit))
    if not samples:
        raise ValueError(
            f"--dataset {dataset.folder}: benchmark spectrum: all {len(found.visits)} test visits are of patients who stand in training; "
            "a model that was not tuned on them can be asked with --set spectrum_visits=all"
        )
    return tuple(samples)


def left_out(dataset: Dataset, benchmarks: Sequence[str], chosen: SpectrumVisits) -> list[str]:
    """What a reader must know of whom a benchmark does not ask."""
    if SPECTRUM not in benchmarks or isinstance(dataset, TestSet):
        return []
    found = spectrum.read_spectrum(dataset)
    if not found.seen or chosen == "all":
        return []
    return [
        f"spectrum: {len(found.seen)} of {len(found.visits)} test visits are of patients who stand in training (column split), and are not "
        "asked. Models that were not tuned on this data set can be asked about all of them: --set spectrum_visits=all."
    ]


def limited(samples: Sequence[Sample], limit: int | None, seed: int) -> tuple[Sample, ...]:
    """A seeded draw in the order of the file; a larger limit keeps what a smaller one drew. Rows of one visit, a release in two languages
    has, are drawn one after the other."""
    if limit is None or limit >= len(samples):
        return tuple(samples)
    first: dict[str, str] = {}
    for sample in samples:
        first.setdefault(sample.checkup_id or sample.sample_id, sample.sample_id)
    order = {name: _order(seed, name) for name in first.values()}
    drawn = sorted(range(len(samples)), key=lambda i: order[first[samples[i].checkup_id or samples[i].sample_id]])[:limit]
    return tuple(samples[index] for index in sorted(drawn))


# few-shot


def candidates(
    dataset: Dataset, benchmark: str, seed: int, language: str | None = "", held: frozenset[str] = frozenset()
) -> Iterator[Sample]:
    """Worked examples out of train in the order in which they are drawn, one of each patient: a function of the release, the seed and the
    language of the question (None: any). held: patients who are tested elsewhere.

    No example is of the validation split, and none of a patient who stands in validation or in either test file (published splits share
    patients). Visits are drawn by their id, so copies of a visit and a grown release leave the draw where it was as far as they can.
    """
    samples = _samples(dataset.read(TRAIN_FILES[benchmark]), benchmark, dataset.folder)
    tested = {one.patient for name in TEST_FILES.values() if name in dataset.files for one in dataset.read(name)}
    validation = dataset.validation()
    tested |= held | {s.patient for s in samples if s.split not in ("", "train") or s.checkup_id in validation}
    drawn: set[str] = set()
    for sample in sorted(samples, key=lambda sample: _order(seed, sample.checkup_id or sample.sample_id)):
        if language in (None, sample.language) and sample.patient not in tested and sample.patient not in drawn:
            drawn.add(sample.patient)
            yield sample


def exemplars(dataset: Dataset, benchmark: str, k: int, seed: int, language: str = "") -> tuple[Sample, ...]:
    """The first k candidates. Raises ValueError where there are fewer."""
    chosen = tuple(sample for _, sample in zip(range(k), candidates(dataset, benchmark, seed, language), strict=False))
    if len(chosen) < k:
        raise too_few(benchmark, len(chosen), k)
    return chosen


def too_few(benchmark: str, there: int, k: int) -> ValueError:
    return ValueError(f"few-shot: {TRAIN_FILES[benchmark]} has {there} patients outside the test set, k is {k}")


def few_shot(sample: Sample, examples: Sequence[Sample]) -> Sample:
    """The sample with the examples before its question; a system message stays first and is said once."""
    system = tuple(message for message in sample.messages if message.role == "system")
    question = tuple(message for message in sample.messages if message.role != "system")
    shown: list[Message] = []
    for example in examples:
        shown += [message for message in example.messages if message.role != "system"]
        shown.append(Message("assistant", example.reference))
    images = tuple(image for example in examples for image in example.images)
    others = (*sample.others, *(example.checkup_id for example in examples))
    return replace(sample, messages=(*system, *shown, *question), images=images + sample.images, others=others)


# images shuffled


def other_patients(group: Sequence[Sample], seed: int) -> dict[str, Sample]:
    """For each sample another patient's: samples ordered by patient, turned by the largest patient's share. Where one patient
    holds more than half of the group this is impossible; samples left without a donor are not in the result."""
    by_patient: dict[str, list[Sample]] = defaultdict(list)
    for sample in group:
        by_patient[sample.patient].append(sample)
    patients = sorted(by_patient, key=lambda patient: _order(seed, patient))
    row = [s for patient in patients for s in sorted(by_patient[patient], key=lambda s: _order(seed, s.sample_id))]
    step = max((len(samples) for samples in by_patient.values()), default=0)
    pairs = zip(row, row[step:] + row[:step], strict=True)
    return {sample.sample_id: donor for sample, donor in pairs if sample.patient != donor.patient}


class NobodyElse(ValueError):
    """A test set without a second patient who has images: the control cannot be asked, which is no fault of a model."""


def shuffled(samples: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """Each sample with the images of another patient's visit, its own question and reference: a model that looks must now fail.

    Visits with the same number of images exchange them whole. Those that find no partner so take a visit of another number, cut
    or repeated to fit their placeholders. Raises NobodyElse where no other patient has an image.
    """
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[len(sample.images)].append(sample)
    donors: dict[str, Sample] = {}
    for size in sorted(groups):
        donors |= other_patients(groups[size], seed)
    for sample in samples:
        if sample.sample_id not in donors:
            others = [s for s in samples if s.patient != sample.patient and s.images]
            if not others:
                raise NobodyElse("no second patient of the test set has images; there is nobody to exchange them with")
            nearest_size = min(abs(len(s.images) - len(sample.images)) for s in others)
            close = [s for s in others if abs(len(s.images) - len(sample.images)) == nearest_size]
            donors[sample.sample_id] = min(close, key=lambda s: _order(seed, f"{sample.sample_id}/{s.sample_id}"))
    result = []
    for sample in samples:
        donor = donors[sample.sample_id]
        fitted = tuple(donor.images[i % len(donor.images)] for i in range(len(sample.images)))
        result.append(replace(sample, images=fitted, others=(*sample.others, *donor.shows)))
    return tuple(result)
