"""Where text comes from: every source that `DataSettings` can name, brought under one schema."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import glob, has_magic
from pathlib import Path

from textadv.corpus.archives import acl_root, read_acl_archive, read_acl_folder, review_files
from textadv.corpus.files import open_file, open_parquet
from textadv.corpus.hub import open_hub
from textadv.corpus.rows import HUB_SPLITS, UNLABELED, Corpus, NamedRows, RowStream
from textadv.corpus.splits import StreamedCorpus, build_corpus
from textadv.corpus.store import file_sum
from textadv.errors import InputError
from textadv.settings import DataSettings

FILE_FLAGS = ("train", "unlabeled", "validation", "test")
ARCHIVE_ENDINGS = (".tar.gz", ".tgz")
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
SHARD = re.compile(r"(?P<split>[a-z]+)(?:-(?P<index>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?)?\.parquet")


def load_corpus(settings: DataSettings) -> Corpus:
    """Load the corpus that the settings name into memory.

    `labels_per_class` is not applied here, so that one store and one encoder serve every label budget: see
    `textadv.corpus.splits.choose_labels`.

    Args:
        settings: Where the text comes from and how it is split.

    Returns:
        The corpus. It depends on the rows of the source, and not on their order unless validation is cut by it.

    Raises:
        InputError: If the source cannot be found or reached, or its content is not as it should be.
    """
    check_data(settings)
    if settings.source == "builtin":
        from textadv.corpus import builtin

        return builtin.build_corpus(settings.seed)
    return build_corpus(open_parts(settings), settings)


def stream_corpus(settings: DataSettings, folder: Path) -> Corpus | StreamedCorpus:
    """Open the corpus that the settings name, of which only a part is in memory at a time.

    Args:
        settings: As for `load_corpus`.
        folder: Where the texts lie meanwhile, in files without a name.

    Returns:
        The corpus that `load_corpus` loads; the built-in one in memory.

    Raises:
        InputError: As by `load_corpus`, or if the disk is full.
    """
    check_data(settings)
    if settings.source == "builtin":
        return load_corpus(settings)
    return StreamedCorpus(open_parts(settings), settings, folder)


def source_identity(settings: DataSettings) -> dict[str, str]:
    """Say what identifies the source's content, without parsing it.

    Args:
        settings: Where the text comes from.

    Returns:
        Names of the source's files, each with its sha256; for an aclImdb folder one sha256 over the names, sizes and
        times of its many files. For the built-in corpus, the module and the words that make it. A Hub data set counts
        as fixed by its name.

    Raises:
        InputError: If the source cannot be found.
    """
    check_data(settings)
    source = settings.source
    if source is None:
        return {name: file_sum(_file(path)) for flag in _given(settings) for name, path in _numbered(flag, settings)}
    path = Path(source)
    if source == "builtin":
        return {name: file_sum(Path(__file__).with_name(name)) for name in ("builtin.py", "builtin.yaml")}
    if path.is_file():
        return {"archive": file_sum(path)}
    if not path.is_dir():
        return {"hub": source}
    root = acl_root(path)
    if root is None:
        return {shard.name: file_sum(shard) for shards in _shards(path).values() for shard in shards}
    listing = hashlib.sha256()
    for part, review in review_files(root):
        status = review.stat()
        listing.update(f"{part}/{review.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return {"aclImdb": listing.hexdigest()}


def check_data(settings: DataSettings) -> None:
    """Refuse settings that name no source, two, or one that is not there.

    Args:
        settings: Where the text comes from.

    Raises:
        InputError: Names the flag.
    """
    files = _given(settings)
    if settings.source is None and "train" not in files:
        raise InputError("no corpus given: set --data.source, or --data.train to a CSV, JSONL or parquet file")
    if settings.source is not None and files:
        flags = ", ".join(f"--data.{flag}" for flag in files)
        raise InputError(f"--data.source {settings.source} and {flags} exclude each other: give one or the other")
    if settings.text_column == settings.label_column:
        raise InputError(f"--data.text_column and --data.label_column both name '{settings.text_column}'")
    source = settings.source
    if source is None or source == "builtin" or Path(source).is_dir():
        return
    if Path(source).is_file():
        if not source.lower().endswith(ARCHIVE_ENDINGS):
            raise InputError(f"--data.source {source}: not a .tar.gz; give CSV, JSONL or parquet by --data.train")
    elif not HUB_NAME.fullmatch(source) or source.lower().endswith(ARCHIVE_ENDINGS):
        raise InputError(
            f"--data.source {source}: no such file or folder, and neither 'builtin' nor a Hub name (owner/name)"
        )


def _given(settings: DataSettings) -> list[str]:
    """The flags of those files that are given."""
    return [flag for flag in FILE_FLAGS if getattr(settings, flag) is not None]


def files_of(flag: str, settings: DataSettings) -> list[Path]:
    """The files that a flag names: one, or all that a pattern such as `raw/*.jsonl.gz` matches.

    Args:
        flag: Which.
        settings: Where the text comes from.

    Returns:
        The files, sorted. A file without wildcards need not be there.

    Raises:
        InputError: If the pattern matches nothing.
    """
    given = getattr(settings, flag)
    if Path(given).exists() or not has_magic(given):
        return [Path(given)]
    names = glob(given, recursive=True)  # noqa: PTH207 (a pattern may be absolute)
    files = [path for path in map(Path, sorted(names)) if path.is_file()]
    if not files:
        raise InputError(f"--data.{flag} {given}: no file matches")
    return files


def _numbered(flag: str, settings: DataSettings) -> Iterator[tuple[str, Path]]:
    """The files of a flag, named by it and, if there are several, their numbers."""
    files = files_of(flag, settings)
    for index, file in enumerate(files):
        yield flag if len(files) == 1 else f"{flag}-{index:05}", file


def read_parts(settings: DataSettings) -> Mapping[str, list[NamedRows]]:
    """Read the files of a source into memory as they are, before anything is split or removed.

    Args:
        settings: Where the text comes from.

    Returns:
        Files of each of `train`, `unlabeled`, `validation` and `test`, as far as there are some.

    Raises:
        InputError: If the source cannot be reached, or its content is not as it should be.
    """
    return {
        split: [part if isinstance(part, NamedRows) else part.read() for part in parts]
        for split, parts in open_parts(settings).items()
    }


def open_parts(settings: DataSettings) -> Mapping[str, Iterable[RowStream | NamedRows]]:
    """Open the files of a source, each when it is asked for.

    Args:
        settings: Where the text comes from.

    Returns:
        As `read_parts`; the reviews of aclImdb and the built-in corpus are in memory.

    Raises:
        InputError: As `read_parts`.
    """
    check_data(settings)
    text, label = settings.text_column, settings.label_column
    if settings.source == "builtin":
        return _builtin_parts(settings.seed)
    if settings.source is None:
        files = {flag: files_of(flag, settings) for flag in _given(settings)}
        return {split: _opened(open_file, paths, split, text, label) for split, paths in files.items()}
    path = Path(settings.source)
    if path.is_file():
        return read_acl_archive(path)
    if not path.is_dir():
        return open_hub(settings.source, text, label)
    root = acl_root(path)
    if root is not None:
        return read_acl_folder(root)
    return {split: _opened(open_parquet, shards, split, text, label) for split, shards in _shards(path).items()}


def _opened(
    open_one: Callable[[Path, str, str | None], RowStream], paths: Iterable[Path], split: str, text: str, label: str
) -> Iterator[RowStream]:
    return (open_one(path, text, None if split == "unlabeled" else label) for path in paths)


def _builtin_parts(seed: int) -> dict[str, list[NamedRows]]:
    from textadv.corpus import builtin

    corpus = builtin.build_corpus(seed)
    names = {UNLABELED: None} | dict(enumerate(corpus.classes))
    return {
        split: [NamedRows(rows.texts, [names[label] for label in rows.labels], "builtin", f"{split} text", numbers)]
        for split, rows in corpus.splits.items()
        for numbers in [range(1, len(rows.texts) + 1)]
    }


def _shards(folder: Path) -> dict[str, list[Path]]:
    """Parquet files of each split, from the folder itself or from the one subfolder that has any."""
    found = {}
    for place in (folder, *sorted(child for child in folder.iterdir() if child.is_dir())):
        splits = defaultdict(list)
        for file in sorted(place.glob("*.parquet")):
            match = SHARD.fullmatch(file.name)
            if match and match["split"] in HUB_SPLITS:
                splits[HUB_SPLITS[match["split"]]].append(file)
        if splits:
            found[place] = splits
    if not found:
        raise InputError(f"{folder}: neither an aclImdb folder nor one of parquet files (train-00000-of-00001.parquet)")
    if len(found) > 1:
        raise InputError(f"{folder}: parquet files in several places; give one of {', '.join(map(str, found))}")
    ((place, shards),) = found.items()
    if "train" not in shards:
        raise InputError(f"{place}: no parquet file of the split 'train'")
    for files in shards.values():
        _require_complete(place, files)
    return dict(shards)


def _require_complete(place: Path, files: list[Path]) -> None:
    """Refuse a split some of whose numbered files are missing: it would pass for a smaller corpus."""
    matches = [match for file in files if (match := SHARD.fullmatch(file.name))]
    indices = sorted(int(match["index"] or 0) for match in matches)
    counts = {int(match["count"] or 1) for match in matches}
    if len(counts) > 1 or indices != list(range(counts.pop())):
        raise InputError(f"{place}: not the complete set of files of one split: {', '.join(f.name for f in files)}")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path
