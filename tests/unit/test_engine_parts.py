"""The local engine's parts: which prompts begin alike, how rows are cut into spans, what is kept of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codelib.models.attention import Span, attend, spans
from codelib.models.prefixes import Piece, shared
from codelib.models.prompt import PixelPolicy
from codelib.models.sight import Recent, Sight
from tests.unit.engine_cases import make_images

# few different tokens: prompts that begin alike are common
PROMPTS = st.lists(st.lists(st.integers(-2, 2), min_size=1, max_size=14), min_size=1, max_size=12)


def _alike(a: list[int], b: list[int]) -> int:
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _chain(piece: Piece | None) -> list[Piece]:
    return piece.chain if piece else []


@given(prompts=PROMPTS, least=st.integers(1, 5))
def test_what_prompts_have_in_common_is_shared_and_nothing_else(prompts: list[list[int]], least: int) -> None:
    tree = shared([np.array(one, dtype=np.int64) for one in prompts], least, least)
    assert sorted(index for branch in tree.branches for index in branch) == list(range(len(prompts)))
    assert set(tree.piece) == set(range(len(prompts)))
    for index, piece in tree.piece.items():
        chain = _chain(piece)
        assert [one.start for one in chain] == [0, *(one.end for one in chain)][: len(chain)]
        assert all(one.end - one.start >= least for one in chain)
        assert not chain or chain[-1].end < len(prompts[index])  # the last token is left to compute
    for a in range(len(prompts)):
        for b in range(a):
            common = min(_alike(prompts[a], prompts[b]), len(prompts[a]) - 1, len(prompts[b]) - 1)
            both = [one.end for one in _chain(tree.piece[a]) if one in _chain(tree.piece[b])]
            assert common - least < max(both, default=0) <= common or (common < least and not both)


@given(prompts=PROMPTS)
def test_a_piece_is_let_go_after_the_last_that_builds_on_it(prompts: list[list[int]]) -> None:
    tree = shared([np.array(one, dtype=np.int64) for one in prompts], 1, 1)
    pieces = {one for piece in tree.piece.values() for one in _chain(piece)}
    for one in pieces:
        one.held = "keys and values"
    waiting = list(tree.piece.values())
    while waiting:
        assert all(one.held for piece in waiting for one in _chain(piece))
        if done := waiting.pop():
            done.done()
    assert not any(one.held for one in pieces)


def test_worked_examples_and_a_visit_are_two_pieces() -> None:
    examples, visit = list(range(100)), list(range(200, 240))
    prompts = [[*examples, *visit, 1, 2], [*examples, *visit, 3], [*examples, 500, 501], [7, 8]]
    tree = shared([np.array(one) for one in prompts])
    assert [[(one.start, one.end) for one in _chain(tree.piece[index])] for index in range(4)] == [
        [(0, 100), (100, 140)],
        [(0, 100), (100, 140)],
        [(0, 100)],
        [],
    ]


def test_a_thousand_prompts_that_part_one_by_one() -> None:
    """Each shares more with the next: no recursion as deep as the prompts are many."""
    tokens = np.arange(3000)
    prompts = [np.concatenate([tokens[: 3 * number], [-1 - number]]) for number in range(1, 1000)]
    tree = shared(prompts)
    assert sum(1 for piece in tree.piece.values() if piece) > 900


@given(
    rows=st.lists(
        st.tuples(st.integers(1, 3000), st.none() | st.tuples(st.integers(0, 2), st.just(700))), min_size=1, max_size=40
    ),
    worth=st.integers(0, 30_000),
)
def test_spans_cover_every_row_with_all_its_columns(rows: list[tuple[int, tuple[int, int] | None]], worth: int) -> None:
    lengths, families = [length for length, _ in rows], [family for _, family in rows]
    cut = spans(lengths, worth, families)
    assert [one.start for one in cut] == [0, *(one.end for one in cut)][:-1]
    assert cut[-1].end == len(rows)
    for one in cut:
        assert one.width == max(lengths[one.start : one.end])
        assert not one.common or {(families[one.start], one.common)} == {(f, f[1]) for f in families[one.start : one.end] if f}


def test_spans_are_cut_where_it_is_worth_a_call() -> None:
    assert spans([1700, 1690, 600, 580], 2000) == [(0, 2, 1700, 0), (2, 4, 600, 0)]
    assert spans([1700, 1690, 600, 580], 3000) == [(0, 4, 1700, 0)]


def test_rows_that_begin_alike_are_a_span_where_reading_once_is_worth_it() -> None:
    few = ("examples", 1500)
    assert spans([1700, 1690, 1710, 600], 2000, [few, few, few, None]) == [(0, 3, 1710, 1500), (3, 4, 600, 0)]
    assert spans([1700, 1690, 1710], 2000, [few, few, None]) == [(0, 3, 1710, 0)]  # one row less to read is not


@pytest.mark.parametrize("common", [0, 1, 9])
def test_a_token_attends_as_stock_attention_does(common: int) -> None:
    torch.manual_seed(0)
    rows, heads, groups, columns, channels = 5, 6, 2, 12, 8
    query, key, value = torch.randn(rows, heads, 1, channels), *torch.randn(2, rows, groups, columns, channels)
    key[:, :, :common], value[:, :, :common] = key[:1, :, :common], value[:1, :, :common]
    sees = torch.arange(columns) < torch.tensor([10, 12, 11, 10, 12])[:, None, None, None]
    module = torch.nn.Module()
    cut = [Span(0, 3, 12, common), Span(3, 4, 10), Span(4, 5, 12)]
    found, _ = attend(module, query, key, value, sees, scaling=0.4, spans=cut)
    stock = torch.nn.functional.scaled_dot_product_attention(query, key, value, sees, scale=0.4, enable_gqa=True)
    torch.testing.assert_close(found, stock.transpose(1, 2))


def test_the_store_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    store: Recent[int] = Recent(1000)
    one = torch.zeros(100)  # 400 bytes
    store.put(1, one)
    store.put(2, one)
    assert store.get(1) is not None
    store.put(3, one)
    assert [number for number in range(4) if store.get(number)] == [1, 3]
    store.put(4, torch.zeros(1000))  # larger than all: not kept, and nothing goes for it
    assert [number for number in range(5) if store.get(number)] == [1, 3]
    assert store.held_bytes == 800


class _Patches:
    """Stands for an encoder: patches of an image are its size."""

    def patches(self, images: list) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((1, 4), float(images[0].width)), torch.tensor([[1, 2, 2]])


@pytest.mark.parametrize("threads", [0, 2])
def test_images_opened_ahead_are_the_same_and_opened_once(tmp_path: Path, threads: int) -> None:
    sight = Sight(_Patches(), None, 1 << 24, 1 << 24, threads=threads)  # type: ignore[arg-type]
    policy = PixelPolicy()
    seen = [sight.find(path, policy) for path in make_images(tmp_path)]
    sight.ahead(seen)
    sight.ahead(seen)
    for image in [*seen, *seen]:
        assert sight.patches(image)[0][0, 0] == image.grid[2] * 14
    assert sight.opened == len(seen)
    sight.ahead(seen)
    sight.forget()


def test_a_file_that_was_changed_is_another_image(tmp_path: Path) -> None:
    sight = Sight(_Patches(), None, 1 << 24, 1 << 24)  # type: ignore[arg-type]
    first, second = make_images(tmp_path, 2)
    before = sight.find(first, PixelPolicy())
    Path(first).write_bytes(Path(second).read_bytes())
    assert sight.find(first, PixelPolicy()) != before
