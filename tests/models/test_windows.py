import pytest
import torch

from textadv.models.windows import Windows, windows

CPU = torch.device("cpu")


def read(found: Windows) -> list[tuple[int, list[int]]]:
    """Each window's document, and its places."""
    return [
        (document, places[:length]) for document, places, length in zip(*(one.tolist() for one in found), strict=True)
    ]


def test_documents_are_divided_evenly() -> None:
    lengths = torch.tensor([2, 12, 5, 7, 1])
    assert read(windows(lengths, 14, 5, CPU)) == [
        (0, [0, 1]),
        (1, [0, 1, 2, 11]),
        (1, [0, 3, 4, 5, 11]),
        (1, [0, 6, 7, 11]),
        (1, [0, 8, 9, 10, 11]),
        (2, [0, 1, 2, 3, 4]),
        (3, [0, 1, 2, 6]),
        (3, [0, 3, 4, 5, 6]),
        (4, [0]),
    ]


@pytest.mark.parametrize("size", [3, 4, 5, 10, 31])
def test_each_word_is_in_one_window_and_there_are_no_more_windows_than_it_takes(size: int) -> None:
    lengths = torch.arange(2, 80)
    for extra in (0, 7):
        parts = read(windows(lengths, int(lengths.max()) + extra, size, CPU))
        for document, length in enumerate(lengths.tolist()):
            mine = [places for number, places in parts if number == document]
            assert all((places[0], places[-1]) == (0, length - 1) for places in mine)
            assert [place for places in mine for place in places[1:-1]] == list(range(1, length - 1))
            sizes = [len(places) for places in mine]
            assert max(sizes) <= size
            assert max(sizes) - min(sizes) <= 1
            assert len(mine) == max(1, -(-(length - 2) // (size - 2)))


def test_features_are_averaged_by_tokens() -> None:
    found = windows(torch.tensor([7, 3]), 7, 5, CPU)
    assert found.lengths.tolist() == [4, 5, 3]
    several, single = found.mean(torch.tensor([[1.0, 9.0], [10.0, 0.0], [0.1, 7.0]]), 2)
    torch.testing.assert_close(several, torch.tensor([6.0, 4.0]))
    assert torch.equal(single, torch.tensor([0.1, 7.0]))


def test_documents_that_fit_are_read_as_they_are() -> None:
    found = windows(torch.tensor([5, 3]), 5, 5, CPU)
    tokens = torch.tensor([[7, 8, 9, 6, 5], [7, 9, 5, 0, 0]])
    assert torch.equal(found.of(tokens).where(torch.arange(5) < found.lengths[:, None], 0), tokens)
