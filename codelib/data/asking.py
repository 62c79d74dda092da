"""What `jobs.dataset` does where a server answers: ask for what is lacking, make the table, note what was not answered, forget what nobody
asks for any more.

    deidentified ─ ask ─ bilingual ─ asked ─┬─> private/unanswered: asked again by the next run
    bilingual ─ ask ─ annotated ─ asked ────┴─> pruned: answers of no current text are deleted
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from codelib.core.stage import Part, Stage, Work, run
from codelib.core.store import Store, Workspace
from codelib.data import answer_prune, translate_fill, translate_plan, unanswered
from codelib.data.stages import Stages
from codelib.data.translate_batch import Batches
from codelib.data.translate_cache import FOLDER, SECOND_PASS, AnswerCache


@dataclass
class Asking:
    """The two steps of one run that may ask a server. ``told``: sentences for the run's summary; none where nobody was asked."""

    stages: Stages
    workspace: Workspace
    told: list[str] = field(default_factory=list)
    _asked: dict[str, list[Part]] = field(default_factory=dict)

    def bilingual(self, deidentified: Sequence[Part]) -> list[Part]:
        return self._made(self.stages.bilingual, deidentified, self.stages.translations, FOLDER, self.stages.asked)

    def annotated(self, bilingual: Sequence[Part]) -> list[Part]:
        return self._made(self.stages.annotated, bilingual, self.stages.second_answers, SECOND_PASS, self.stages.asked_second)

    def prune(self) -> None:
        """Delete the answers to texts that no current visit holds. After both tables are made, so that nothing that they need is missed."""
        if any(self.workspace.public.exists(folder) for folder in (FOLDER, SECOND_PASS)):
            work = answer_prune.prune_work(self._asked[FOLDER], self._asked[SECOND_PASS])
            run(self.stages.pruned, work, self.workspace.public, self.workspace.private)

    def _made(self, stage: Stage, parts: Sequence[Part], asks: Stage | None, folder: str, asked: Stage) -> list[Part]:
        """The partitions of a stage; ``asks``: the step that asks for its answers, None where it is offline."""
        public, private = self.workspace.public, self.workspace.private
        keys = {part.key for part in parts}
        known = {key: lacks for key, lacks in unanswered.read(private, stage.name).items() if key in keys}
        if asks is not None:
            cache = AnswerCache(Store(f"{public.root}/{folder}"))
            self._ask(stage, parts, known, asks, cache, folder)
            known = unanswered.take_up(known, cache)
            unanswered.write(known, private, stage.name)
        made = run(stage, unanswered.work(parts, known), public, private)
        self._asked[folder] = self._note(parts, made, known, asked, stage, folder)
        return made

    def _ask(
        self, stage: Stage, parts: Sequence[Part], known: unanswered.Known, asks: Stage, cache: AnswerCache, folder: str
    ) -> None:
        public = self.workspace.public
        waiting = translate_fill.waiting(stage, unanswered.work(parts, known), public)
        to_be_made = {part.key for part in waiting}
        opened = [(part, texts) for part, texts in unanswered.still_open(parts, known) if part.key not in to_be_made]
        if waiting or opened or Batches.are_open(cache):
            with translate_plan.shown(public, folder):
                run(asks, translate_fill.translations_work(waiting, opened), public, self.workspace.private)
            self.told.append(translate_plan.summary(public, asks.name))

    def _note(
        self, parts: Sequence[Part], made: Sequence[Part], known: unanswered.Known, asked: Stage, stage: Stage, folder: str
    ) -> list[Part]:
        """The tables of ASKED; none where no server ever answered in this workspace."""
        public, private = self.workspace.public, self.workspace.private
        if not public.exists(folder):
            public.delete(f"stages/{asked.name}")
            return []
        tables = run(asked, [Work((part,), ship_drop=True) for part in made], public, private)
        lacking = unanswered.found(parts, tables, known)
        unanswered.write(lacking, private, stage.name)
        if left := sum(len(keys) for _, keys in unanswered.still_open(parts, lacking)):
            self.told.append(f"{left:,} texts of `{stage.name}` got no answer from the server; the next run asks for them again")
        return tables
