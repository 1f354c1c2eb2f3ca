from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from textadv.corpus.batching import (
    DocumentBatches,
    Documents,
    StreamBatch,
    TokenStream,
    collate,
)
from textadv.corpus.padding import sequential_batches
from textadv.corpus.store import Split

PAD, EOS = 0, 2
STREAM_LENGTHS = [[4, 1, 6, 2, 9, 3], [1, 5, 7, 2]]  # two splits, 40 tokens
LAYOUTS = [(1, 40), (1, 7), (3, 5), (4, 10), (4, 3), (7, 4), (5, 1), (13, 2), (60, 3), (2, 1000)]  # lanes, window

MakeSplit = Callable[..., Split]


@pytest.fixture
def documents(make_split: MakeSplit) -> Documents:
    first, second = STREAM_LENGTHS
    return Documents(make_split(first), make_split(second, first_word=100))


def as_tuples(documents: Documents, reverse_words: bool = False) -> list[tuple[int, ...]]:
    contents = (documents.document(i).tolist() for i in range(len(documents)))
    return sorted(tuple((content[-2::-1] if reverse_words else content[:-1]) + [EOS]) for content in contents)


def split_at_eos(tokens: list[int]) -> list[tuple[int, ...]]:
    found, current = [], []
    for token in tokens:
        current.append(token)
        if token == EOS:
            found.append(tuple(current))
            current = []
    assert not current
    return found


def epoch(stream: TokenStream, number: int = 0, rank: int = 0, world_size: int = 1) -> StreamBatch:
    """All windows of an epoch, joined: (directions, lanes, tokens)."""
    first = number * stream.batches_per_epoch
    batches = [stream.batch(first + i, rank, world_size) for i in range(stream.batches_per_epoch)]
    assert [batch.starts for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert all(batch.tokens.shape == batch.targets.shape for batch in batches)
    assert all(1 <= batch.tokens.shape[2] <= stream.window for batch in batches)
    assert [batch.num_targets for batch in batches] == [int((batch.targets != 0).sum()) for batch in batches]
    tokens, targets = (torch.cat([batch[part] for batch in batches], 2) for part in (0, 1))
    return StreamBatch(tokens, targets, True, sum(batch.num_targets for batch in batches))


# Documents and collate


def test_documents_of_several_splits_are_one_sequence(make_split: MakeSplit) -> None:
    empty = make_split([])
    first, second = make_split([2, 1], [0, 1]), make_split([3], first_word=9)
    documents = Documents(empty, first, empty, second, empty)
    assert [documents.document(i).tolist() for i in range(len(documents))] == [[3, EOS], [EOS], [9, 10, EOS]]
    assert documents.lengths.tolist() == [2, 1, 3]
    assert documents.labels.tolist() == [0, 1, -1]
    batch = documents.batch(np.array([2, 0]))
    assert batch.tokens.tolist() == [[9, 10, EOS], [3, EOS, PAD]]
    assert batch.labels.tolist() == [-1, 0]


def test_collate_pads_to_the_longest() -> None:
    pieces = [np.array([5, 6, EOS], np.uint16), np.array([EOS], np.uint16), np.array([65_535, EOS], np.uint16)]
    batch = collate(pieces, np.array([1, 0, -1]))
    assert batch.tokens.tolist() == [[5, 6, EOS], [EOS, PAD, PAD], [65_535, EOS, PAD]]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.labels.tolist() == [1, 0, -1]
    assert {part.dtype for part in batch} == {torch.int64}


def test_a_part_has_no_padding_of_others() -> None:
    pieces = [np.array([5, EOS], np.uint16), np.array([6, 7, 8, EOS], np.uint16), np.array([EOS], np.uint16)]
    batch = collate(pieces, np.array([1, 0, -1]))
    first, second = batch.part(0, 2), batch.part(1, 2)
    assert first.tokens.tolist() == [[5, EOS], [EOS, PAD]]
    assert second.tokens.tolist() == [[6, 7, 8, EOS]]
    assert first.lengths.tolist() + second.lengths.tolist() == [2, 1, 4]
    assert first.labels.tolist() + second.labels.tolist() == [1, -1, 0]


# DocumentBatches


@pytest.fixture
def many(make_split: MakeSplit) -> Documents:
    return Documents(make_split(np.random.default_rng(0).integers(1, 60, 1000).tolist()))


def rows_of(batches: DocumentBatches, number: int) -> list[NDArray[np.int64]]:
    return [batches.rows(number * batches.batches_per_epoch + i) for i in range(batches.batches_per_epoch)]


@pytest.mark.parametrize(("count", "batch_size"), [(1000, 8), (1000, 7), (801, 16), (5, 4), (3, 64), (1, 1)])
def test_every_document_once_per_epoch(many: Documents, count: int, batch_size: int) -> None:
    indices = np.random.default_rng(1).permutation(len(many))[:count]
    batches = DocumentBatches(many, indices, batch_size, seed=0)
    for number in (0, 3):
        rows = rows_of(batches, number)
        assert sorted(np.concatenate(rows)) == sorted(indices)
        sizes = [len(row) for row in rows]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1  # no nearly empty batch at the end, whatever the number of ranks


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_every_batch(many: Documents, world_size: int) -> None:
    batches = DocumentBatches(many, np.arange(201), 8, seed=0)
    for step in range(batches.batches_per_epoch):
        parts = [batches.batch(step, rank, world_size) for rank in range(world_size)]
        assert all(len(part.lengths) for part in parts)
        words = torch.cat([part.tokens[:, 0] for part in parts])
        expected = batches.batch(step).tokens[:, 0]
        assert words.sort().values.tolist() == expected.sort().values.tolist()


def test_batches_hold_what_their_rows_say(many: Documents) -> None:
    batches = DocumentBatches(many, np.arange(100), 8, seed=0)
    batch = batches.batch(3)
    for tokens, length, row in zip(batch.tokens, batch.lengths, batches.rows(3), strict=True):
        assert tokens[: int(length)].tolist() == many.document(int(row)).tolist()
        assert (tokens[int(length) :] == PAD).all()


def test_batches_are_of_similar_length(many: Documents) -> None:
    batches = DocumentBatches(many, np.arange(len(many)), 8, seed=0)

    def padding(rows: list[NDArray[np.int64]]) -> float:
        padded = sum(len(row) * int(many.lengths[row].max()) for row in rows)
        return 1 - int(many.lengths.sum()) / padded

    unsorted = np.array_split(np.random.default_rng(0).permutation(len(many)), batches.batches_per_epoch)
    bucketed = rows_of(batches, 0)
    assert padding(unsorted) > 0.3
    assert padding(bucketed) < 0.1


def test_the_order_of_batches_says_nothing_about_their_length(many: Documents) -> None:
    batches = DocumentBatches(many, np.arange(400), 8, seed=0)  # one pool, sorted by length before it is shuffled
    longest = [int(many.lengths[row].max()) for row in rows_of(batches, 0)]
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.4  # 50 batches: sd 0.14


def test_a_batch_is_a_function_of_seed_and_step(many: Documents) -> None:
    def make(seed: int = 0) -> DocumentBatches:
        return DocumentBatches(many, np.arange(100), 8, seed)

    first, second = make(), make()
    steps = list(range(40))
    forwards = [first.rows(step).tolist() for step in steps]
    backwards = [second.rows(step).tolist() for step in reversed(steps)]
    assert forwards == backwards[::-1]
    size = first.batches_per_epoch
    assert forwards[:size] != forwards[size : 2 * size]  # another order in every epoch,
    groups = [{frozenset(row) for row in forwards[i * size : (i + 1) * size]} for i in (0, 1)]
    assert groups[0] != groups[1]  # other company for every document,
    assert forwards != [make(seed=1).rows(step).tolist() for step in steps]  # and another one for every seed


# sequential_batches


@pytest.mark.parametrize("budget", [1, 40, 100, 1000, 10**6])
def test_sequential_batches_hold_every_row_once_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 120, 300)
    batches = sequential_batches(lengths, budget)
    assert sorted(np.concatenate(batches)) == list(range(300))
    for rows in batches:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= budget
    longest_first = lengths[np.concatenate(batches)]
    assert (np.diff(longest_first) <= 0).all()


def test_sequential_batches_use_the_budget() -> None:
    assert [len(rows) for rows in sequential_batches(np.array([2, 10, 5, 5, 2, 2, 2]), 10)] == [1, 2, 4]
    assert sequential_batches(np.array([], np.int64), 10) == []


# TokenStream


@pytest.mark.parametrize(("lanes", "window"), LAYOUTS)
@pytest.mark.parametrize("number", [0, 2])
def test_every_token_is_a_target_once_per_epoch(documents: Documents, lanes: int, window: int, number: int) -> None:
    whole = epoch(TokenStream(documents, lanes, window, reversed_too=True, seed=0), number)
    assert whole.targets.shape[:2] == (2, lanes)
    for direction, reverse_words in ((0, False), (1, True)):
        targets = whole.targets[direction].flatten().tolist()
        real = [token for token in targets if token != PAD]
        assert targets == real + [PAD] * (len(targets) - len(real))  # padding only behind the end of the stream
        assert sorted(split_at_eos(real)) == as_tuples(documents, reverse_words)


@pytest.mark.parametrize(("lanes", "window"), LAYOUTS)
def test_an_input_is_the_target_before_it(documents: Documents, lanes: int, window: int) -> None:
    whole = epoch(TokenStream(documents, lanes, window, reversed_too=True, seed=0))
    for tokens, targets in zip(whole.tokens, whole.targets, strict=True):
        flat_tokens, flat_targets = tokens.flatten(), targets.flatten()
        real = flat_targets != PAD
        assert flat_tokens[0] == EOS
        # Across windows, and across lanes too: a lane starts with the last token of the lane before.
        assert torch.equal(flat_tokens[1:][real[1:]], flat_targets[:-1][real[1:]])


def test_both_directions_read_the_documents_in_the_same_order(documents: Documents) -> None:
    forward, backward = epoch(TokenStream(documents, 1, 9, reversed_too=True, seed=0)).targets[:, 0].tolist()
    pairs = zip(split_at_eos(forward), split_at_eos(backward), strict=True)
    assert all(one[:-1] == other[-2::-1] for one, other in pairs)


def test_without_reversed_there_is_one_direction(documents: Documents) -> None:
    both = TokenStream(documents, 3, 4, reversed_too=True, seed=0).batch(1)
    one = TokenStream(documents, 3, 4, reversed_too=False, seed=0).batch(1)
    assert one.tokens.shape == (1, 3, 4)
    assert torch.equal(one.tokens[0], both.tokens[0])
    assert torch.equal(one.targets[0], both.targets[0])


def test_a_window_is_a_function_of_seed_and_step(documents: Documents) -> None:
    def make(seed: int = 0) -> TokenStream:
        return TokenStream(documents, 3, 4, reversed_too=True, seed=seed)

    first, second = make(), make()
    steps = list(range(3 * first.batches_per_epoch))
    forwards = [first.batch(step) for step in steps]
    backwards = [second.batch(step) for step in reversed(steps)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.targets, other.targets)
    orders = {tuple(epoch(make(seed), number).targets[0].flatten().tolist()) for seed in (0, 1) for number in range(3)}
    assert len(orders) == 6


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_partition_the_lanes(documents: Documents, world_size: int) -> None:
    stream = TokenStream(documents, 7, 4, reversed_too=True, seed=0)
    whole = epoch(stream)
    parts = [epoch(stream, 0, rank, world_size) for rank in range(world_size)]
    for rank, part in enumerate(parts):
        assert torch.equal(part.tokens, whole.tokens[:, rank::world_size])
        assert torch.equal(part.targets, whole.targets[:, rank::world_size])
    assert sum(part.tokens.shape[1] for part in parts) == 7
