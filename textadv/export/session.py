"""Running an exported graph: onnxruntime and NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from textadv.corpus.padding import Indices, pad, sequential_batches
from textadv.corpus.store import Split
from textadv.errors import InputError, missing_package
from textadv.system.progress import progress

INPUTS, OUTPUT = ("tokens", "lengths"), "logits"
BATCH_TOKENS = 4096  # padded; with more, what an LSTM holds for all time steps leaves the cache


def new_session(model: bytes, threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` of a model, on the CPU.

    Args:
        model: The graph.
        threads: Threads of an operation; 0 for one per core.

    Raises:
        InputError: The extra is missing.
    """
    try:
        from onnxruntime import InferenceSession, SessionOptions
    except ImportError:
        raise missing_package("--onnx", "onnxruntime", "export") from None
    options = SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it makes two runs at once crawl
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: Any, tokens: Indices, lengths: Indices) -> NDArray[np.float32]:
    """Logits (B, C) of documents (B, T) of the given lengths, (B,)."""
    logits: NDArray[np.float32]
    (logits,) = session.run([OUTPUT], dict(zip(INPUTS, (tokens, lengths), strict=True)))
    return logits


def class_probabilities(
    session: Any, documents: Split, temperature: float, description: str | None = None
) -> NDArray[np.float64]:
    """Classify documents, each of them read from its first to its last token.

    Args:
        session: What `new_session` has given.
        documents: The documents, n of them, at least one.
        temperature: What the logits are divided by.
        description: What is being done, in a few words, where it is to be shown how far it got.

    Returns:
        Probabilities of the classes, shape (n, C), in the order of the documents.

    Raises:
        InputError: The classifier yields numbers that are not finite.
    """
    parts = sequential_batches(documents.lengths, BATCH_TOKENS)
    pieces = [
        run(session, *pad([documents.document(int(row)) for row in rows]))
        for rows in (parts if description is None else progress(parts, len(parts), description))
    ]
    stacked = np.concatenate(pieces).astype(np.float64) / temperature
    if not np.isfinite(stacked).all():
        raise InputError("the classifier yields logits that are not finite: its training has diverged")
    odds = np.exp(stacked - stacked.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = np.empty_like(odds)
    probabilities[np.concatenate(parts)] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities
