"""The machine's peak, the fastest float32 matrix product that it has, and what the encoder reaches of it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textadv.benchmark.arithmetic import encoder_operations
from textadv.models.factory import build_encoder
from textadv.settings import ModelSettings

SQUARES = (1024, 2048)
RUNS = 2  # of a product at a time, of which the faster one counts


class Product(NamedTuple):
    """A matrix product, (m, k) times (k, n).

    Attributes:
        name: Its library and sizes.
        operations: Number of additions and multiplications.
        run: Computes it.
    """

    name: str
    operations: float
    run: Callable[[], object]


def matrix_products(model: ModelSettings, rows: int, width: int, device: str) -> list[Product]:
    """The candidates for the peak: the products of each library that torch has, in float32.

    On some CPUs one library is half as fast as another, and recurrent layers do not use that of `torch.mm`. Sizes are
    those of squares, and of what such a layer does with its inputs: (rows * width, D) times (D, 4H).

    Args:
        model: Sizes of the encoder.
        rows: Documents of a batch.
        width: Tokens of each.
        device: Where to compute.
    """
    sizes = [*((size, size, size) for size in SQUARES), (rows * width, model.embedding_size, 4 * model.hidden_size)]
    if device == "cpu":
        library = "MKL" if torch.backends.mkl.is_available() else "BLAS"  # type: ignore[no-untyped-call]
    else:
        library = "cuBLAS" if device == "cuda" else device
    products: list[Product] = []  # of what `torch.mm` calls
    others: list[Product] = []
    for m, k, n in sizes:
        a, b = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
        size, operations = f"{m} x {k} x {n}", 2.0 * m * k * n
        products.append(Product(f"{library} {size}", operations, partial(torch.mm, a, b)))
        if device == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            run = partial(F.linear, a.to_mkldnn(), b.T.contiguous().to_mkldnn())
            others.append(Product(f"oneDNN {size}", operations, run))
    return products + others


def speeds(products: Sequence[Product], device: str) -> dict[str, float]:
    """Operations per second of each product at this moment, by name."""
    return {p.name: p.operations / min(_seconds(p.run, device) for _ in range(RUNS)) for p in products}


def machine_speed(
    products: Sequence[Product], model: ModelSettings, rows: int, width: int, device: str, rounds: int
) -> dict[str, Any]:
    """The machine's peak and the encoder's part of it, measured in turns.

    Args:
        products: From `matrix_products`.
        model: Sizes of the encoder.
        rows: Documents of a batch.
        width: Tokens of each.
        device: Where to compute.
        rounds: Measurements of each, of which the median counts.

    Returns:
        Operations per second of each product (`matrix_products`), the name of the fastest (`peak_product`), its
        operations per second (`peak`), and what share of the fastest product of its round the encoder reaches
        forward and backward (`encoder_forward`, `encoder_backward`).
    """
    encoder = build_encoder(model, torch.ones(1)).to(device)
    lengths = torch.full((rows,), width)
    x = torch.randn(rows, width, model.embedding_size, device=device, requires_grad=True)
    forward = rows * width * encoder_operations(model)
    measured: list[list[float]] = []
    for _ in range(rounds + 1):
        found = list(speeds(products, device).values())
        outputs: list[Tensor] = []
        forth = _seconds(lambda out=outputs: out.append(encoder.features(x, lengths)), device)  # type: ignore[misc]
        back = _seconds(outputs[0].sum().backward, device)
        measured.append([*found, forward / forth / max(found), 2 * forward / back / max(found)])
    *medians, forth, back = np.median(np.array(measured[1:]), axis=0).tolist()
    by_name = dict(zip((p.name for p in products), medians, strict=True))
    best = max(by_name, key=by_name.__getitem__)
    return {
        "peak": by_name[best],
        "peak_product": best,
        "matrix_products": by_name,
        "encoder_forward": forth,
        "encoder_backward": back,
    }


def _seconds(run: Callable[[], object], device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: str) -> None:
    """Wait for what the device has been given."""
    if device == "cuda":
        torch.cuda.synchronize()
