"""Random numbers for the rows of a batch, from a generator that is passed: the same on any number of processes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowGenerator:
    """A generator for one process's rows of a batch that several processes share.

    Every process has a generator of the same seed, draws for the batch of all together, and keeps its own rows. So each
    row meets the numbers that it meets in a single process, and all generators stay in step.

    Attributes:
        generator: Source of randomness.
        num_rows: Rows of the batch of all processes together.
        width: Its padded width.
        rows: Those of this process.
    """

    generator: torch.Generator
    num_rows: int
    width: int
    rows: slice


Generator = torch.Generator | RowGenerator | None  # on the device of what is drawn; None is torch's global one


def normal(x: Tensor, generator: Generator) -> Tensor:
    """Numbers of the standard normal distribution.

    Args:
        x: Only its shape, type and device count: numbers for every word, (B, T, D), or for every row, (B, D).
        generator: Source of randomness.

    Returns:
        The same shape.
    """
    return _drawn(Tensor.normal_, x, generator)


def uniform(x: Tensor, generator: Generator) -> Tensor:
    """Numbers of the uniform distribution, at least 0 and below 1.

    Args:
        x: As in `normal`.
        generator: Source of randomness.

    Returns:
        The same shape.
    """
    return _drawn(Tensor.uniform_, x, generator)


def multinomial(weights: Tensor, num_samples: int, generator: Generator) -> Tensor:
    """Places drawn with replacement, which belong to no row: the same in all processes.

    Args:
        weights: Weight of each place, (V,).
        num_samples: How many.
        generator: Source of randomness.

    Returns:
        Shape (num_samples,), int64.
    """
    source = generator.generator if isinstance(generator, RowGenerator) else generator
    return torch.multinomial(weights, num_samples, replacement=True, generator=source)


def new_seed(generator: Generator) -> int:
    """A seed for what draws from torch's global state only; the device is not waited for.

    Args:
        generator: What it follows from: the seed that the generator itself has, which is another one for each batch of
            each step, and which rows it is for; or a number that torch's global state draws.
    """
    if generator is None:
        return int(torch.randint(2**62, ()))
    if isinstance(generator, RowGenerator):
        return (generator.generator.initial_seed() + (generator.rows.start or 0)) % 2**64
    return generator.initial_seed()


def _drawn(fill: Callable[..., Tensor], x: Tensor, generator: Generator) -> Tensor:
    if not isinstance(generator, RowGenerator):
        return fill(x.new_empty(x.shape), generator=generator)
    size = (generator.num_rows, *x.shape[1:]) if x.dim() == 2 else (generator.num_rows, generator.width, *x.shape[2:])
    mine = fill(x.new_empty(size), generator=generator.generator)[generator.rows]
    return mine if x.dim() == 2 else mine[:, : x.shape[1]]
