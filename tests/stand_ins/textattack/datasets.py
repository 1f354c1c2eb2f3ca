"""Data sets of the stand-in."""


class Dataset:
    def __init__(self, dataset: list[tuple[str, int]]) -> None:
        self.pairs = dataset
