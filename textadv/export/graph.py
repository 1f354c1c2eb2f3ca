"""A classifier as an ONNX graph: made by torch, and compared with it by onnxruntime."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from textadv.corpus.padding import Indices
from textadv.errors import InputError, missing_package
from textadv.export.session import INPUTS, OUTPUT, new_session, run
from textadv.models.classifier import Classifier
from textadv.models.encoders import StreamEncoder

LARGEST_DIFFERENCE = 1e-5  # of a logit, as a share of the largest one where that is above 1
OPSET = 20  # the first that has GELU; LSTM and GRU are one operation each
LONGEST = 10_000  # tokens, several times as many as the longest review of IMDB has
USUAL = 400
RANDOM_BATCHES, ROWS = 8, 12
FOLD_ALL = 2**40  # bytes; what is computed from weights alone is computed now


@dataclass(frozen=True)
class Parity:
    """How far an exported graph is from its classifier, over random documents."""

    largest_difference: float  # of a logit
    largest_logit: float  # without its sign
    documents: int
    longest: int  # tokens

    @property
    def relative_difference(self) -> float:
        """The largest difference as a share of the largest logit, or absolute where all logits are below 1.

        Both programs round each number to 24 bits, 6e-8 of its size, and add up the same products in another order. So
        their distance grows with the numbers: between the float32 neighbours of a logit of 200 there are 1.5e-5
        already. A wrong graph is not excused by that, since what it gets wrong grows with the numbers as well.
        Probabilities would be a worse measure: where they are all but 0 and 1, they hide any mistake.
        """
        return self.largest_difference / max(1.0, self.largest_logit)


def require_export() -> None:
    """Refuse to export where the extra is missing.

    Raises:
        InputError: It is.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing_package("export", str(error.name), "export") from None


def to_onnx(classifier: Classifier) -> bytes:
    """Write a classifier as an ONNX graph for batches of any size and documents of any length.

    The graph takes `tokens` (B, T) and `lengths` (B,), both int64, and gives `logits` (B, C). What stands behind a
    document's length is ignored. Word embeddings are stored normalized.

    Args:
        classifier: On the CPU.

    Returns:
        The model as a file holds it.

    Raises:
        InputError: The exporter cannot follow the encoder.
    """
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    network: Any = deepcopy(classifier).eval()
    if isinstance(network.encoder, StreamEncoder):
        table = network.encoder.word_table()
        network.encoder.embedding = nn.Embedding.from_pretrained(table)  # type: ignore[no-untyped-call]
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    # Without gradients `Encoder.read` may take a way that branches on values.
    with _quiet(), _layers_of_any_length(), torch.enable_grad():
        try:
            program: Any = torch.onnx.export(
                network,
                (torch.ones(2, 3, dtype=torch.long), torch.tensor([3, 2])),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: batch, 1: time}, {0: batch}),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                verbose=False,
            )
        except Exception as error:  # TorchExportError and others, whose cause says what is wrong
            reason = str(error.__cause__ or error).split("\n")[0]
            raise InputError(f"export: torch cannot write this encoder as an ONNX graph: {reason}") from error
        fold_constants(program.model, input_size_limit=FOLD_ALL, output_size_limit=FOLD_ALL)
        remove_unused_nodes(program.model)
        return _without_traces(program.model_proto)


def _without_traces(model: Any) -> bytes:
    """A model without the exporter's notes, such as where the source files are on this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def quantized(model: bytes) -> bytes:
    """The model with 8-bit weights, whose activations are rounded to 8 bits as they come (dynamic quantization).

    onnxruntime has this for embeddings, matrix products and LSTMs. A GRU stays in float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantize_dynamic(onnx.load_model_from_string(model), path, weight_type=QuantType.QInt8)
        return path.read_bytes()


def parity(classifier: Classifier, model: bytes, vocabulary_size: int) -> Parity:
    """Compare an exported graph with its classifier.

    Args:
        classifier: In evaluation mode, on the CPU.
        model: The graph.
        vocabulary_size: Number of token ids.

    Returns:
        The largest difference and the largest logit, over single documents, batches and documents longer than any
        usual one.
    """
    session = new_session(model)
    longest = min(LONGEST, getattr(classifier.encoder, "max_tokens", None) or LONGEST)  # some have few positions
    differences, sizes, documents = [], [], 0
    for tokens, lengths in _random_batches(vocabulary_size, longest):
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(tokens), torch.from_numpy(lengths)).numpy()
        differences.append(float(np.abs(run(session, tokens, lengths) - expected).max()))
        sizes.append(float(np.abs(expected).max()))
        documents += len(lengths)
    return Parity(float(np.max(differences)), float(np.max(sizes)), documents, longest)


def _random_batches(vocabulary_size: int, longest: int) -> Iterator[tuple[Indices, Indices]]:
    """Tokens (B, T) and lengths (B,); behind its end each document has random tokens, too, for nothing may read them.

    Sizes of 1 are among them, as a graph may have been made for larger ones only.
    """
    generator = np.random.default_rng(0)
    usual = min(USUAL, longest)
    chosen = [[1], [2], [1, 1, 1], [usual], [1, longest, 2]]
    drawn = [generator.integers(1, usual + 1, ROWS).tolist() for _ in range(RANDOM_BATCHES)]
    for lengths in (*chosen, *drawn):
        yield generator.integers(0, vocabulary_size, (len(lengths), max(lengths))), np.array(lengths)


@contextmanager
def _layers_of_any_length() -> Iterator[None]:
    """Make the exporter's own kernels of recurrent layers take effect, and forget them afterwards.

    The exporter (torch 2.13) replaces a kernel without emptying the cache of kernels. The second export of a process
    would then trace a layer for the length of the example alone.
    """
    operations = (torch.ops.aten.lstm.input, torch.ops.aten.gru.input)
    try:
        for operation in operations:
            operation._dispatch_cache.clear()
        yield
    finally:
        for operation in operations:
            operation._dispatch_cache.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter and the quantizer tell their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
