"""Answers weighed by their likelihood: all choices of a prompt in one pass over what is known of the prompt already.

    prompt | Car ies | Gum dis ease | …      each choice at the positions that follow the prompt, seeing the prompt and itself alone

The last token of a choice, which ends the answer, is looked for and not shown.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codelib.models.rows import Prompt


def tokens_shown(one: Prompt) -> int:
    return sum(len(choice) - 1 for choice in one.choices)


def side_by_side(rows: Sequence[Prompt], tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (rows, tokens), positions (rows, tokens) and what each token sees (rows, tokens, columns; bool)."""
    ids = torch.zeros(len(rows), tokens, dtype=torch.int64)
    positions = torch.zeros(len(rows), tokens, dtype=torch.int64)
    sees = torch.zeros(len(rows), tokens, max(one.length for one in rows) + tokens, dtype=torch.bool)
    for row, one in enumerate(rows):
        sees[row, :, : one.length] = True
        place = 0
        for choice in one.choices:
            size = len(choice) - 1
            span, columns = slice(place, place + size), slice(one.length + place, one.length + place + size)
            ids[row, span] = torch.tensor(choice[:-1], dtype=torch.int64)
            positions[row, span] = torch.arange(size) + one.next_position
            sees[row, span, columns] = torch.ones(size, size, dtype=torch.bool).tril()
            place += size
    return ids, positions, sees


def mean_log_probabilities(choices: Sequence[Sequence[int]], first: torch.Tensor, following: torch.Tensor) -> list[float]:
    """``first``: logits of the token behind the prompt; ``following``: logits behind each token of the choices but their last, end to end."""
    found, place = [], 0
    for choice in choices:
        logits = torch.cat([first[None], following[place : place + len(choice) - 1]])
        place += len(choice) - 1
        log_probabilities = torch.log_softmax(logits, -1)[torch.arange(len(choice)), torch.tensor(choice, device=logits.device)]
        found.append(float(log_probabilities.mean()))
    return found
