"""Data sets of the Hugging Face Hub, by name; once loaded they are read from the local cache, without the network."""

from typing import Any

from textadv.corpus.files import BATCH_ROWS, open_batches
from textadv.corpus.rows import HUB_SPLITS, RowStream
from textadv.errors import InputError, reason_of
from textadv.system.network import REQUEST_SECONDS, failure_of
from textadv.system.progress import progress

ALTERNATIVES = (
    "give a local source instead: --data.source with a folder of its parquet files, the aclImdb folder or its "
    "tar.gz, or --data.train with a CSV, JSONL or parquet file"
)


def open_hub(name: str, text_column: str, label_column: str) -> dict[str, list[RowStream]]:
    """Open a data set from the Hub or, if it has been loaded before, from the local cache.

    Args:
        name: Its name, `owner/name`.
        text_column: Name of the text column.
        label_column: Name of the label column.

    Returns:
        The rows of each split under our names; splits of other names are left out.

    Raises:
        InputError: If the Hub cannot be reached in time, the data set cannot be loaded, or one of
            its rows is not as it should be.
    """
    splits = _from_cache(name)
    if splits is None:
        _require_reachable(name)
        splits = _download(name)
    if "train" not in splits:
        raise InputError(f"{name}: the data set has no split 'train'; it has {', '.join(splits)}")
    parts: dict[str, list[RowStream]] = {}
    for split, dataset in splits.items():
        if split in HUB_SPLITS:
            labels = None if HUB_SPLITS[split] == "unlabeled" else label_column
            place = f"{name}, split {split}"
            batches = dataset.with_format("arrow").iter(BATCH_ROWS)  # of the memory-mapped files
            total = -(-len(dataset) // BATCH_ROWS)
            rows = open_batches(
                progress(batches, total, f"reading {place}"), dataset.data.schema, place, text_column, labels
            )
            parts.setdefault(HUB_SPLITS[split], []).append(rows)
    return parts


def _from_cache(name: str) -> dict[str, Any] | None:
    """The splits from the local cache of `datasets`; None if the data set is not there.

    `load_dataset` looks there by itself only in its offline mode, a variable of the environment that is read when it is
    imported, or after its requests to the Hub have failed, which takes as long as their timeouts.
    """
    from datasets.packaged_modules.cache.cache import Cache

    try:
        builder = Cache(repo_id=name, dataset_name=name.partition("/")[2], version="auto", hash="auto")
    except ValueError:
        return None
    splits: dict[str, Any] = builder.as_dataset()
    return splits


def _require_reachable(name: str) -> None:
    """Ask the Hub for the data set."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    failure = failure_of(lambda: HfApi().dataset_info(name, timeout=REQUEST_SECONDS))
    if isinstance(failure, RepositoryNotFoundError):
        raise InputError(f"--data.source {name}: no such file or folder, and no such data set on the Hub")
    if failure is not None:
        raise InputError(f"--data.source {name}: no such file or folder, and the Hub cannot be reached; {ALTERNATIVES}")


def _download(name: str) -> dict[str, Any]:
    from datasets import load_dataset

    try:
        splits: dict[str, Any] = load_dataset(name)
    except Exception as error:  # `datasets` raises many kinds, down to bare ones of its file readers
        raise InputError(
            f"--data.source {name}: cannot be loaded from the Hub ({reason_of(error)}); {ALTERNATIVES}"
        ) from error
    return splits
