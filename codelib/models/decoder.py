"""Answers of many prompts at once: rows of unlike length and adapter in one batch, a finished row's place taken by the next prompt.

    queue of prompts ── admit: pieces shared with others first, then the rest of each prompt, choices weighed ──┐
                                                                                                               v
                        step: one token for every row ──> a row that ends is given out, its slot is free ──────┘

The language model is called directly, on embeddings with the images' features in place, with positions and mask made here: for a row they are
those that ``generate`` makes for the prompt alone, so that no answer depends on what else is in the batch (beyond the rounding of its sums).
transformers' own continuous batching (`generate_batch`) knows neither images nor adapters.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from codelib.models import weighing
from codelib.models.attention import Span, attend_in_spans, spans
from codelib.models.lora_rows import LoraRows
from codelib.models.prefixes import Piece
from codelib.models.rows import Job, Prompt, groups
from codelib.models.sight import Seen, Sight, release
from codelib.models.slots import Slots

# rows x columns that must be left unread to be worth another call of the attention in every block: on a CPU some 30 us, on a GPU as long as
# it takes to read this much
_SPAN_WORTH = {"cpu": 2_000, "cuda": 100_000}
_BEGUN = 64  # columns of an answer that room is made for at once


class NotFinite(ValueError):
    """The model answered with numbers that are none."""


class Decoder:
    """One model's rows.

    Args:
        lora: the model, with the adapters in use.
        sight: its images.
        rows: most rows at once.
        tokens_per_forward: most prompt tokens computed together; a longer prompt goes alone.
        ends: token ids that end an answer.
    """

    def __init__(self, lora: LoraRows, sight: Sight, rows: int, tokens_per_forward: int, ends: frozenset[int]) -> None:
        self.lora, self.sight, self.ends = lora, sight, ends
        self.model: Any = lora.model
        self.tokens_per_forward = tokens_per_forward
        attend_in_spans(self.model)
        self.slots = Slots(self.model.config.text_config, rows, self.model.dtype, self.model.device)
        self._whole = rows, tokens_per_forward  # as long as memory lasts
        self._features: dict[tuple[Seen, str | None], torch.Tensor] = {}
        self.queue: deque[Prompt] = deque()
        self.active: list[Prompt] = []  # the one in slot 0, in slot 1, ...
        self._expected = 0  # most rows that this run will have at once
        self._span_worth = _SPAN_WORTH.get(self.model.device.type, _SPAN_WORTH["cuda"])
        self.computed = 0  # prompt tokens that went through the model: what tests and benchmarks count

    def run(self, prompts: Sequence[Prompt]) -> Iterator[Prompt]:
        """Each prompt once, as it is finished: with what it ``said``, or with its ``error``."""
        self.queue, self.active = deque(prompts), []
        self._all_room()
        self._expected = min(len(prompts), self.slots.count)
        try:
            while self.queue or self.active:
                with torch.inference_mode():  # not around the yield: it would hold for the caller's code too
                    done = self._admit() if self._refill() else self._step()
                yield from done
        finally:
            self.queue, self.active, self._features = deque(), [], {}
            self.sight.forget()

    def _all_room(self) -> None:
        self.slots.count, self.tokens_per_forward = self._whole

    def _refill(self) -> bool:
        """Whether prompts are taken in now. Several together: a forward pass over few tokens costs nearly that over many."""
        free = self.slots.count - len(self.active)
        if not self.queue or (self.active and (self.active[0].alone or self.queue[0].alone)):
            return not self.active
        return not self.active or free >= max(1, self.slots.count // 4)

    # taking prompts in

    def _admit(self) -> list[Prompt]:
        """Take in as many as there are slots. Returns those that are finished, or have failed, already."""
        free = 1 if self.queue[0].alone else self.slots.count - len(self.active)
        new: list[Prompt] = []
        while self.queue and len(new) < free and (not new or not self.queue[0].alone):
            new.append(self.queue.popleft())
        self.sight.ahead([image for one in islice(self.queue, self.slots.count) for _, _, image in one.images])
        try:
            blind = self._look(new)
            seeing = [one for one in new if one not in blind]
            self._prefill(seeing)
        # the one wide catch of taking in: whatever the model meets, its other rows are answered
        except Exception as error:
            self.active = [one for one in self.active if one not in new]  # they came last
            return self._recover(error, new)
        for one in new:
            if one.piece:
                one.piece.done()
                one.piece = None
        self._features = {}
        return [*blind, *self._finished()]

    def _recover(self, error: Exception, new: list[Prompt]) -> list[Prompt]:
        """Out of memory: with half as much at once. Anything else: each one by itself, to see whose fault it is."""
        release(error)
        for one in new:
            one.restart()
        memory = isinstance(error, torch.OutOfMemoryError)
        if memory and len(new) > 1:
            self.tokens_per_forward = max(1, self.tokens_per_forward // 2)
            self.queue.extendleft(reversed(new))
            self._shrink(len(self.active) + len(new) // 2)
        elif memory and self._shrink(self.slots.count // 2):
            self.queue.extendleft(reversed(new))
        elif len(new) == 1 and (new[0].alone or not self.active):
            new[0].error = error
            if new[0].piece:
                new[0].piece.done()
            self._all_room()  # it was this one that did not fit: the others shall not go one by one for it
            return new
        else:
            for one in new:
                one.alone = True
            self.queue.extendleft(reversed(new))
        return []

    def _shrink(self, count: int) -> bool:
        """Fewer slots; rows beyond them start again later. False where there is nothing left to give."""
        if not 0 < count < self.slots.count:
            return False
        for one in reversed(self.active[count:]):
            one.restart()
            self.queue.appendleft(one)
        del self.active[count:]
        self._expected = min(self._expected, count)
        self.slots.shrink(count)
        return True

    def _look(self, new: Sequence[Prompt]) -> list[Prompt]:
        """Features of every image that will be computed. Returns the prompts with an image that cannot be shown, with their error."""
        self._features = {}
        blind = []
        for tower in dict.fromkeys(one.tower for one in new):
            of_tower = [one for one in new if one.tower == tower]
            began = time.perf_counter()
            found = self.sight.look([image for one in of_tower for _, _, image in self._to_show(one)], tower)
            share = (time.perf_counter() - began) / len(of_tower)
            for one in of_tower:
                one.seconds += share
                seen = [found[image] for _, _, image in self._to_show(one)]
                one.error = next((what for what in seen if isinstance(what, Exception)), None)
                if isinstance(one.error, torch.OutOfMemoryError):
                    raise one.error
                blind += [one] if one.error else []
            self._features |= {(image, tower): what for image, what in found.items() if isinstance(what, torch.Tensor)}
        return blind

    def _to_show(self, one: Prompt) -> list[tuple[int, int, Seen]]:
        """Its images, without those of pieces that are held already."""
        known = max((piece.end for piece in one.piece.chain if piece.held), default=0) if one.piece else 0
        return [image for image in one.images if image[0] >= known]

    def _prefill(self, new: list[Prompt]) -> None:
        """Pieces from the root on, then the prompts themselves, each into its slot."""
        todo: dict[Piece, Prompt] = {}
        for one in new:
            for piece in one.piece.chain if one.piece else []:
                if not piece.held:
                    todo.setdefault(piece, one)
        while todo:
            ready = [piece for piece in todo if not piece.parent or piece.parent.held]
            jobs = [Job(todo.pop(p), p.start, p.end, p.parent.chain if p.parent else [], p) for p in ready]
            for group in groups(jobs, self.slots.count - len(self.active), self.tokens_per_forward):
                self._extend(group)
        jobs = [Job(one, one.piece.end if one.piece else 0, len(one.ids), one.piece.chain if one.piece else []) for one in new]
        for group in groups(jobs, self.slots.count - len(self.active), self.tokens_per_forward):
            last = self._extend(group)
            rows = [job.prompt for job in group]
            logits = self._logits(rows, last)
            for one in rows:
                one.length = len(one.ids)
            self._weigh(rows, logits)
            self.active += rows
            self._say(rows, logits)

    def _extend(self, jobs: Sequence[Job]) -> torch.Tensor:
        """Compute the jobs in the first free slots. Returns the hidden state of each one's last token, (jobs, hidden)."""
        began = time.perf_counter()
        first, tokens = len(self.active), max(job.tokens for job in jobs)
        ids = torch.zeros(len(jobs), tokens, dtype=torch.int64)
        positions = torch.zeros(3, len(jobs), tokens, dtype=torch.int64)
        width = max(job.start for job in jobs) + tokens
        # for all rows that will come, not for one group of them after the other: growing is copying
        rows = max(first + len(jobs), self._expected)
        self.slots.reserve(rows, max(width, max(len(job.prompt.ids) for job in jobs) + _BEGUN))
        for row, job in enumerate(jobs):
            ids[row, : job.tokens] = job.prompt.ids[job.start : job.end]
            positions[:, row, : job.tokens] = job.prompt.positions[:, job.start : job.end]
            for piece in job.chain:
                self.slots.put(first + row, piece.held)
        device = self.model.device
        embeds = self.model.model.language_model.embed_tokens(ids.to(device))
        for row, job in enumerate(jobs):
            for start, end, image in job.prompt.images:
                if job.start <= start < job.end:
                    features = self._features[image, job.prompt.tower]
                    embeds[row, start - job.start : end - job.start] = features.to(embeds.dtype)
        starts = torch.tensor([job.start for job in jobs], device=device)
        sees = None  # from the first token on: each sees those before it, which needs no mask and is faster without
        if any(job.start for job in jobs):
            columns, asking = torch.arange(width, device=device), torch.arange(tokens, device=device)
            sees = columns <= starts[:, None, None] + asking[:, None]
        hidden = self._forward([job.prompt for job in jobs], embeds, positions.to(device), first, starts, sees)
        for row, job in enumerate(jobs):
            if job.piece:
                job.piece.held = self.slots.take(first + row, job.start, job.end)
        ends = torch.tensor([job.tokens - 1 for job in jobs], device=device)
        last = hidden[torch.arange(len(jobs), device=device), ends]
        for row, sound in enumerate(torch.isfinite(last).all(-1).tolist()):
            if not sound and jobs[row].piece:  # a prompt's own slot is wiped when it is given out
                self.slots.wipe(first + row)
        self._charge(began, [job.prompt for job in jobs], [job.tokens for job in jobs])
        self.computed += sum(job.tokens for job in jobs)
        return last

    def _forward(
        self,
        rows: Sequence[Prompt],
        embeds: torch.Tensor,
        positions: torch.Tensor,
        first: int,
        starts: torch.Tensor,
        sees: torch.Tensor | None,
        cut: list[Span] | None = None,
    ) -> torch.Tensor:
        """The language blocks over (rows, tokens, hidden). positions: (3, rows, tokens); sees: (rows, tokens, width) bool; None:
        causal from column 0 on."""
        self.slots.aim(first, starts, embeds.shape[1], embeds.shape[1] if sees is None else sees.shape[-1])
        with self.lora.using([one.adapter for one in rows]):
            return self.model.model.language_model(
                inputs_embeds=embeds,
                position_ids=positions,
                attention_mask={"full_attention": None if sees is None else sees[:, None]},
                past_key_values=self.slots,
                use_cache=True,
                spans=cut,
            ).last_hidden_state

    def _logits(self, rows: Sequence[Prompt], hidden: torch.Tensor) -> torch.Tensor:
        with self.lora.using([one.adapter for one in rows]):
            return self.model.lm_head(hidden).float()

    def _weigh(self, rows: Sequence[Prompt], logits: torch.Tensor) -> None:
        """The rows' choices, one pass for all of them; its columns are not counted as filled, so that the answer overwrites them."""
        if not any(one.choices for one in rows):
            return
        began = time.perf_counter()
        tokens = max(weighing.tokens_shown(one) for one in rows)
        hidden = self._behind(rows, tokens) if tokens else None
        for row, one in enumerate(rows):
            following = logits[:0] if hidden is None else self._logits([one], hidden[row : row + 1])[0]
            one.weights = [] if not one.choices else weighing.mean_log_probabilities(one.choices, logits[row], following)
        asked = [one for one in rows if one.choices]
        self._charge(began, asked, [1] * len(asked))

    def _behind(self, rows: Sequence[Prompt], tokens: int) -> torch.Tensor:
        """Hidden states of all tokens of the rows' choices but each one's last, (rows, tokens, hidden)."""
        device = self.model.device
        ids, positions, sees = weighing.side_by_side(rows, tokens)
        self.slots.reserve(len(self.active) + len(rows), sees.shape[-1])
        starts = torch.tensor([one.length for one in rows], device=device)
        embeds = self.model.model.language_model.embed_tokens(ids.to(device))
        return self._forward(rows, embeds, positions.to(device).expand(3, -1, -1), len(self.active), starts, sees.to(device))

    # answering

    def _step(self) -> list[Prompt]:
        """One more token for every row. Returns those that are finished with it."""
        rows, device = self.active, self.model.device
        began = time.perf_counter()
        try:
            starts = torch.tensor([one.length for one in rows], device=device)
            lengths = [one.length + 1 for one in rows]
            width = max(lengths)
            if width > self.slots.columns:
                self.slots.reserve(len(rows), width)
            cut = spans(lengths, self._span_worth, [(one.family, one.family.end) if one.family else None for one in rows])
            positions = torch.tensor([[one.next_position] for one in rows], device=device).expand(3, -1, -1)
            embeds = self.model.model.language_model.embed_tokens(torch.tensor([[one.said[-1]] for one in rows], device=device))
            sees = torch.arange(width, device=device) <= starts[:, None, None]
            hidden = self._forward(rows, embeds, positions, 0, starts, sees, cut)
            for one in rows:
                one.length += 1
            self._say(rows, self._logits(rows, hidden[:, -1]))
        # the one wide catch of answering, as in _admit
        except Exception as error:
            self.active = []
            return self._recover(error, rows)
        self._charge(began, rows, [1] * len(rows))
        return self._finished()

    def _say(self, rows: Sequence[Prompt], logits: torch.Tensor) -> None:
        best, ids = logits.max(-1)
        broken = torch.isnan(best).tolist()
        for row, (one, token) in enumerate(zip(rows, ids.tolist(), strict=True)):
            if broken[row]:
                one.error = NotFinite("the model's output is no number")
            else:
                one.said.append(one.chooser(logits[row], one.ids, one.said) if one.chooser.special else token)

    def _finished(self) -> list[Prompt]:
        """Take out the rows that are through and close their gaps."""
        done = []
        for slot in reversed(range(len(self.active))):
            one = self.active[slot]
            if one.error or one.said[-1] in self.ends or len(one.said) >= one.max_new_tokens:
                if one.error:
                    self.slots.wipe(slot)
                self._close(slot)
                done.append(one)
        return done

    def _close(self, gap: int) -> None:
        """Slots stay side by side, and rows of one kind too: the last one of the next kind moves into the gap, and so on from its own."""
        while gap < len(self.active) - 1:
            last = gap + 1
            while last + 1 < len(self.active) and self.active[last + 1].kind == self.active[gap + 1].kind:
                last += 1
            self.slots.move(last, gap, self.active[last].length)
            self.active[gap] = self.active[last]
            gap = last
        self.active.pop()

    def _charge(self, began: float, rows: Sequence[Prompt], parts: Sequence[int]) -> None:
        seconds, whole = time.perf_counter() - began, sum(parts)
        for one, part in zip(rows, parts, strict=True):
            one.seconds += seconds * part / whole
