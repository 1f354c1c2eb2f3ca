"""Pretrained Transformers in Hugging Face's layout, from a folder or the Hub; the library is imported when needed."""

import hashlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from textadv.errors import InputError, missing_package, reason_of
from textadv.models.transformer import TransformerEncoder
from textadv.system.network import REQUEST_SECONDS, failure_of

FILES = ["*.json", "*.safetensors", "SHA256SUMS"]  # all that is read: configuration, tokenizer, weights, their sums
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def pretrained_folder(name: str, flag: str = "--model.pretrained") -> Path:
    """The folder of a pretrained model: a local one, or what the Hub has under a name, kept in its cache.

    Args:
        name: Folder, or name on the Hub.
        flag: What has given it, for the message.

    Returns:
        The folder; the Hub is asked only for what is not in its cache.

    Raises:
        InputError: There is no such folder, and the Hub cannot be reached or does not have the model.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": FILES, "ignore_patterns": ["*/*"]}
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **wanted))
        if any(folder.glob("*.safetensors")):  # others may have loaded a part
            return folder
    except HFValidationError:
        raise InputError(f"{flag} {name}: no such folder, and no name on the Hub") from None
    except LocalEntryNotFoundError:
        pass
    failure = failure_of(lambda: HfApi().model_info(name, timeout=REQUEST_SECONDS))
    if isinstance(failure, RepositoryNotFoundError):
        raise InputError(f"{flag} {name}: no such folder, and no such model on the Hub")
    if failure is None:
        try:
            return Path(snapshot_download(name, **wanted))
        except Exception as error:  # whatever the network throws means: not reachable
            failure = error
    raise InputError(
        f"{flag} {name}: no such folder, and the Hub cannot be reached; give the folder of a downloaded model instead"
    ) from failure


def push_folder(folder: Path, name: str, private: bool) -> str:
    """Upload all files of a folder.

    Args:
        folder: The folder.
        name: Name on the Hub, made where there is none.
        private: Whether a new one is for its owner only.

    Returns:
        Where it is.

    Raises:
        InputError: The Hub refuses it, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api, urls = HfApi(), []
    failure = failure_of(lambda: urls.append(api.create_repo(name, private=private, exist_ok=True)))
    try:
        if failure is not None:
            raise failure
        api.upload_folder(repo_id=urls[0].repo_id, folder_path=folder)
    except Exception as error:  # whatever the network throws
        raise InputError(f"push_to_hub {name}: {reason_of(error) or 'the Hub cannot be reached'}") from None
    return str(urls[0])


def weights_checksum(name: str) -> str:
    """A checksum of the weights of a pretrained model.

    Args:
        name: Folder, or name on the Hub.

    Raises:
        InputError: As `pretrained_folder`.
    """
    checksum = hashlib.sha256()
    for path in sorted(pretrained_folder(name).glob("*.safetensors")):
        with path.open("rb") as file:
            checksum.update(hashlib.file_digest(file, "sha256").digest())
    return checksum.hexdigest()


def load_body(name: str) -> Any:
    """Read a pretrained model: safetensors only, in float32, without running any code that comes with it.

    Args:
        name: Folder, or name on the Hub.

    Returns:
        A model of `transformers.AutoModel`.

    Raises:
        InputError: The extra is missing, there is no such model, it has no weights that can be read, or its
            architecture is unknown or does not take embeddings.
    """
    return _load(name, "AutoModel")[0]


def load_masked_language_model(name: str) -> tuple[Any, bool]:
    """Read a pretrained model with its head for masked language modelling, as `load_body` does.

    Args:
        name: Folder, or name on the Hub.

    Returns:
        A model of `transformers.AutoModelForMaskedLM`, whose `base_model` is the body; and whether its head is
        pretrained, or made anew because the checkpoint has none.

    Raises:
        InputError: As `load_body`.
    """
    model, missing = _load(name, "AutoModelForMaskedLM")
    return model, not missing


def _load(name: str, kind: str) -> tuple[Any, list[str]]:
    """A model of one of the library's automatic classes, and the names of the weights of its head that are missing."""
    transformers = _library()
    folder = pretrained_folder(name)
    config = _checked_config(transformers, name, folder)
    with _quiet(transformers):
        try:
            model, report = getattr(transformers, kind).from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype="float32",
                output_loading_info=True,
                trust_remote_code=False,
            )
        except Exception as error:  # SafetensorError, RuntimeError, OSError
            raise InputError(f"--model.pretrained {name}: its weights cannot be read: {reason_of(error)}") from None
    body = f"{model.base_model_prefix}." if model.base_model is not model else ""
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    lost = [key for key in missing if key.startswith(body)]
    if lost:
        raise InputError(f"--model.pretrained {name}: its weights lack {lost[0]} and {len(lost) - 1} others")
    return model, missing


def check_pretrained(name: str, max_tokens: int, in_windows: bool, frozen_layers: int) -> None:
    """Refuse what fine-tuning would refuse once the corpus is prepared, without reading the weights.

    Args:
        name: Folder, or name on the Hub.
        max_tokens: Length of the longest document.
        in_windows: Whether a document may be longer than there are positions.
        frozen_layers: How many layers are not trained.

    Raises:
        InputError: As `load_body`; or there are fewer positions, or fewer layers.
    """
    transformers = _library()
    folder = pretrained_folder(name)
    config = _checked_config(transformers, name, folder)
    with torch.device("meta"), _quiet(transformers):
        body = transformers.AutoModel.from_config(config, trust_remote_code=False)
        encoder = TransformerEncoder(body, torch.ones(1), [])
    if max_tokens > encoder.positions and not in_windows:
        raise InputError(
            f"--tokenizer.max_tokens {max_tokens}: {name} has positions for {encoder.positions} tokens at most; "
            "with --model.windows it reads more"
        )
    if frozen_layers > len(encoder.layers):
        raise InputError(f"--model.frozen_layers {frozen_layers}: {name} has {len(encoder.layers)} layers")


def _checked_config(transformers: Any, name: str, folder: Path) -> Any:
    """The configuration of a model that has weights and takes embeddings."""
    _require_weights(name, folder)
    with _quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:  # OSError, ValueError, KeyError, errors of its own
            raise InputError(f"--model.pretrained {name}: {reason_of(error)}") from None
    _require_embeddings(name, config)
    return config


def body_from_config(config: dict[str, Any]) -> Any:
    """A model of the same architecture and sizes with random weights, to be filled from a checkpoint.

    No code that the configuration names is run.

    Args:
        config: What `body.config.to_dict()` has given.

    Returns:
        A model of `transformers.AutoModel`.

    Raises:
        InputError: The extra is missing.
        ValueError: There is no such architecture, or it has no such sizes.
    """
    transformers = _library()
    try:
        return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**config), trust_remote_code=False)
    except Exception as error:  # ValueError, KeyError, TypeError, errors of its own
        raise ValueError(reason_of(error)) from None


def _library() -> Any:
    try:
        import transformers
    except ImportError:
        raise missing_package("--model.encoder transformer", "transformers", "transformers") from None
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the library's progress bars and reports; what matters in them is checked here."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _require_weights(name: str, folder: Path) -> None:
    files = [file.name for file in folder.iterdir()]
    if any(file.endswith(".safetensors") for file in files):
        return
    if any(file.endswith(PICKLES) for file in files):
        raise InputError(
            f"--model.pretrained {name}: its weights are pickled, and reading them could run code; "
            "model.safetensors is needed"
        )
    raise InputError(f"--model.pretrained {name}: the folder has no model.safetensors")


def _require_embeddings(name: str, config: Any) -> None:
    """Only encoders that take embeddings, looked up before the weights are read."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    architecture = MODEL_MAPPING.get(type(config), (None,))
    if isinstance(architecture, tuple):  # an architecture with variants; AutoModel takes the first
        architecture = architecture[0]
    if architecture is None or config.is_encoder_decoder:
        raise InputError(f"--model.pretrained {name}: {config.model_type} is no encoder that AutoModel knows")
    if "inputs_embeds" not in inspect.signature(architecture.forward).parameters:
        raise InputError(f"--model.pretrained {name}: {config.model_type} takes no embeddings (inputs_embeds)")
