"""`prepare`: text becomes a token store."""

import json
import time
from typing import Any

from textadv.commands.folder import run_folder
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.settings import Experiment, Options


def run(experiment: Experiment, options: Options) -> None:
    """Build the token store, or find it."""
    with run_folder("prepare", experiment, options) as (_, metrics):
        started = time.perf_counter()
        store = prepare(experiment.data, experiment.tokenizer)
        metrics |= _store_figures(store) | {"seconds": time.perf_counter() - started}
        print(json.dumps(metrics, indent=2))


def _store_figures(store: TokenStore) -> dict[str, Any]:
    counts = {name: {"documents": len(split), "tokens": len(split.tokens)} for name, split in store.splits.items()}
    return {
        "store": str(store.path),
        "vocabulary_size": store.vocabulary_size,
        "classes": list(store.classes),
        "splits": counts,
        "report": store.report,
    }
