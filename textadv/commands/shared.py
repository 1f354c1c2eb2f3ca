"""What several commands need: the corpus, checks of what was given."""

import sys
from pathlib import Path

from textadv.checkpoints import LoadedClassifier, newest_intact
from textadv.corpus.preparation import prepare
from textadv.corpus.store import TokenStore
from textadv.errors import InputError
from textadv.processes import is_main
from textadv.settings import DataSettings, Experiment, TokenizerSettings


def given(path: str | None, flag: str) -> Path:
    """A path that must be there.

    Raises:
        InputError: It is not.
    """
    if path is None:
        raise InputError(f"{flag} is needed")
    return Path(path)


def require_split(store: TokenStore, split: str) -> None:
    """Refuse a corpus without documents in a split.

    Raises:
        InputError: There are none.
    """
    if not len(store.splits[split]):
        raise InputError(f"the corpus has no {split} split")


def own_corpus(loaded: LoadedClassifier, experiment: Experiment) -> TokenStore:
    """The corpus that is named, or else that which the classifier was trained on, by default tokenized as that was."""
    data, tokenizer, own = experiment.data, experiment.tokenizer, loaded.card["settings"]
    if data.source is None and data.train is None:
        data, tokenizer = DataSettings(**own["data"]), TokenizerSettings(**own["tokenizer"])
    elif tokenizer == TokenizerSettings():
        tokenizer = TokenizerSettings(**own["tokenizer"])
    return prepare(data, tokenizer)


def resume_point(output: Path, resume: bool) -> Path | None:
    """The newest intact checkpoint, None for a fresh start.

    Raises:
        InputError: There is none in the folder.
    """
    if not resume:
        return None
    checkpoint, damaged = newest_intact(output)
    if checkpoint is None:
        kind = f"intact checkpoint in {output} ({'; '.join(damaged)})" if damaged else f"checkpoint in {output}"
        raise InputError(f"--resume: no {kind}")
    if damaged and is_main():
        print(f"textadv: {'; '.join(damaged)}; going on from {checkpoint}", file=sys.stderr)
    return checkpoint
