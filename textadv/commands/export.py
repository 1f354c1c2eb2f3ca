"""`export`: a classifier as an ONNX graph, for programs without torch."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textadv.errors import InputError
from textadv.settings import DataSettings, DeviceSettings, TokenizerSettings

if TYPE_CHECKING:
    from textadv.corpus.store import Split


def export(
    checkpoint: str,
    data: DataSettings,
    tokenizer: TokenizerSettings,
    int8: bool = False,
    output: str | None = None,
) -> None:
    """Write a classifier as an ONNX graph with tokenizer, config and model card, for programs without torch.

    The graph is compared with torch, and refused where a logit differs by more than 1e-5, or 1e-5 of the largest one.

    Args:
        checkpoint: Checkpoint of a classifier, or the folder of its run.
        data: The corpus on whose validation split `int8` is measured; by default that of the classifier's training.
        tokenizer: Its tokenizer; by default that of the classifier.
        int8: Give the weights 8 bits, and measure what that costs.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.export.graph import require_export

    require_export()
    from textadv.checkpoints import load_classifier, trained_with
    from textadv.commands.folder import CONFIG, METRICS, run_folder
    from textadv.commands.shared import measured_experiment
    from textadv.evaluation.evaluate import check_match
    from textadv.export.folder import MODEL, require_free, write_export
    from textadv.export.graph import LARGEST_DIFFERENCE, parity, quantized, to_onnx
    from textadv.system.machine import prepare_machine

    prepare_machine()
    loaded = load_classifier(Path(checkpoint))
    if output is not None:
        require_free(Path(output), (CONFIG, METRICS))
    used, documents = trained_with(loaded.card), None
    if int8:
        used, store = measured_experiment(loaded, data, tokenizer, DeviceSettings(accelerator="cpu"))
        documents = check_match(loaded, store, "validation")
    with run_folder("export", output, asdict(used)) as (folder, metrics):
        model = to_onnx(loaded.classifier)
        found = parity(loaded.classifier, model, loaded.card["vocabulary_size"])
        if not found.relative_difference <= LARGEST_DIFFERENCE:
            raise InputError(
                f"--checkpoint {checkpoint}: a logit of its ONNX graph differs from torch's by "
                f"{found.largest_difference:.1e}, where the largest one is {found.largest_logit:.3g}; "
                f"{LARGEST_DIFFERENCE:.0e} of that is allowed, and {LARGEST_DIFFERENCE:.0e} where it is below 1"
            )
        metrics |= {"checkpoint": checkpoint, "parity": asdict(found), "int8": int8, "float32_bytes": len(model)}
        print(
            f"ONNX and torch: logits of up to {found.largest_logit:.3g} differ by at most "
            f"{found.largest_difference:.1e}, on {found.documents} random texts of 1 to {found.longest:,} tokens"
        )
        if documents is not None:
            exact, model = model, quantized(model)
            metrics["validation"] = _compare(exact, model, documents, loaded.card.get("temperature", 1.0))
            metrics["int8_bytes"] = len(model)
            print(
                "int8: {int8_error:.2f} % error on the {documents:,} texts of the validation split, float32: "
                "{float32_error:.2f} %; {disagreements} predictions differ".format(**metrics["validation"])
            )
        write_export(folder, model, loaded.card, metrics)
        print(f"{folder / MODEL}: {len(model) / 1e6:.1f} MB")


def _compare(exact: bytes, rounded: bytes, documents: "Split", temperature: float) -> dict[str, Any]:
    """Errors of the float32 model and the 8-bit one on the same documents."""
    from textadv.evaluation.metrics import classification_metrics
    from textadv.export.session import class_probabilities, new_session

    float32, int8 = (
        class_probabilities(new_session(model), documents, temperature, f"measuring {name}")
        for name, model in (("float32", exact), ("int8", rounded))
    )
    return {
        "documents": len(documents),
        "float32_error": classification_metrics(float32, documents.labels).error,
        "int8_error": classification_metrics(int8, documents.labels).error,
        "disagreements": int((float32.argmax(axis=1) != int8.argmax(axis=1)).sum()),
    }
