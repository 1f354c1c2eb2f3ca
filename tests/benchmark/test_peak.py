from collections.abc import Iterator

import numpy as np
import pytest
import torch

from textadv.benchmark import peak
from textadv.benchmark.peak import Product, machine_speed, matrix_products, speeds
from textadv.settings import ModelSettings

MODEL = ModelSettings(embedding_size=3, hidden_size=5)
ENCODER_OPERATIONS = 4 * 7 * 8 * 5 * (3 + 5)  # of 4 rows of 7 tokens


class Clock:
    """Time that passes only where somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(peak.time, "perf_counter", clock)
    return clock


def _product(clock: Clock, name: str, operations: float, *seconds: float) -> Product:
    """One that takes as long as told, over and over."""

    def endless() -> Iterator[float]:
        while True:
            yield from seconds

    durations = endless()

    def run() -> None:
        clock.now += next(durations)

    return Product(name, operations, run)


class SlowEncoder(torch.nn.Module):
    """Takes one second forward and four backward."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def features(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        assert lengths.tolist() == [7] * 4
        self.clock.now += 1
        output = x * 1
        output.register_hook(self._backward)
        return output

    def _backward(self, gradient: torch.Tensor) -> None:
        self.clock.now += 4


def _machine(monkeypatch: pytest.MonkeyPatch, clock: Clock, products: list[Product]) -> dict[str, object]:
    monkeypatch.setattr(peak, "build_encoder", lambda *sizes: SlowEncoder(clock))
    return machine_speed(products, MODEL, 4, 7, "cpu", 3)


def test_a_product_counts_with_its_faster_run(clock: Clock) -> None:
    products = [_product(clock, "a", 100.0, 4.0, 2.0), _product(clock, "b", 60.0, 1.0, 3.0)]
    assert speeds(products, "cpu") == {"a": 50.0, "b": 60.0}


def test_the_peak_is_the_fastest_product_whichever_library_it_is_of(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = _product(clock, "MKL", ENCODER_OPERATIONS, 1.6)  # alone it would make the encoder's share 160 %
    fast = _product(clock, "oneDNN", ENCODER_OPERATIONS, 0.8)
    for products in ([slow, fast], [fast, slow]):
        assert _machine(monkeypatch, clock, products) == {
            "peak": pytest.approx(ENCODER_OPERATIONS / 0.8),
            "peak_product": "oneDNN",
            "matrix_products": {
                "MKL": pytest.approx(ENCODER_OPERATIONS / 1.6),
                "oneDNN": pytest.approx(ENCODER_OPERATIONS / 0.8),
            },
            "encoder_forward": pytest.approx(0.8),
            "encoder_backward": pytest.approx(0.4),
        }


def test_an_encoder_faster_than_every_product_is_not_hidden(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = _machine(monkeypatch, clock, [_product(clock, "MKL", ENCODER_OPERATIONS, 1.6)])
    assert machine["encoder_forward"] == pytest.approx(1.6)


def test_shares_are_of_the_peak_of_their_round(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round is not counted; then the machine is as fast as told, at half and at a quarter of that."""
    seconds = [0.01, 0.01, 0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    machine = _machine(monkeypatch, clock, [_product(clock, "MKL", ENCODER_OPERATIONS, *seconds)])
    assert machine["peak"] == pytest.approx(ENCODER_OPERATIONS)
    assert machine["encoder_forward"] == pytest.approx(1.0)  # of 0.5, 1 and 2


def test_products_are_of_the_sizes_that_their_names_say() -> None:
    products = matrix_products(MODEL, 4, 7, "cpu")
    sizes = ["1024 x 1024 x 1024", "2048 x 2048 x 2048", "28 x 3 x 20"]
    libraries = ["MKL" if torch.backends.mkl.is_available() else "BLAS"]
    libraries += ["oneDNN"] if torch.backends.mkldnn.is_available() else []
    assert [product.name for product in products] == [f"{library} {size}" for library in libraries for size in sizes]
    for product in products:
        assert product.operations == 2 * np.prod([int(size) for size in product.name.split()[1::2]])


def test_libraries_compute_the_same_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SQUARES", (16,))
    square, tall, *others = (product.run() for product in matrix_products(MODEL, 4, 7, "cpu"))
    assert isinstance(square, torch.Tensor)
    assert square.shape == (16, 16)
    for product, expected in zip(others, (square, tall), strict=False):
        assert isinstance(product, torch.Tensor)
        assert product.layout == torch._mkldnn  # type: ignore[attr-defined]  # which no other library computes with
        torch.testing.assert_close(product.to_dense(), expected)


def test_machine_speed_is_plausible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SQUARES", (256,))
    model = ModelSettings(embedding_size=64, hidden_size=64)
    machine = machine_speed(matrix_products(model, 8, 20, "cpu"), model, 8, 20, "cpu", 2)
    assert 1e9 < machine["peak"] < 1e14
    assert machine["peak"] == max(machine["matrix_products"].values())
    assert 0 < machine["encoder_forward"] < 1.5  # other work may interrupt a product
    assert 0 < machine["encoder_backward"] < 1.5
