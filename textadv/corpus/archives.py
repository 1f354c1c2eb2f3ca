"""The Large Movie Review Dataset (Maas et al., ACL 2011) as published: the aclImdb folder, or its tar.gz."""

import gzip
import os
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from textadv.corpus.rows import NamedRows, checked_text, refuse
from textadv.errors import InputError
from textadv.system.progress import progress

CLASSES = ("neg", "pos")
PARTS = ("train/neg", "train/pos", "train/unsup", "test/neg", "test/pos")
# A leading dot marks what operating systems add on their own, such as "._1_9.txt".
REVIEW_NAME = re.compile(r"[^/.][^/]*\.txt")
MEMBER = re.compile(rf"(?:\./)?aclImdb/(?P<part>{'|'.join(PARTS)})/{REVIEW_NAME.pattern}")
MAX_REVIEW_BYTES = 2**20  # the longest review has about 14,000
MAX_UNPACKED_BYTES = 2**31  # the archive as published has about a sixth of it
CHUNK = 2**20


def acl_root(folder: Path) -> Path | None:
    """The aclImdb folder: the given one, or the one extracted into it; None where neither has reviews to train on."""
    for root in (folder, folder / "aclImdb"):
        if (root / "train" / "pos").is_dir() or (root / "train" / "neg").is_dir():
            return root
    return None


def review_files(root: Path) -> list[tuple[str, Path]]:
    """List the reviews of an extracted aclImdb folder.

    Args:
        root: The folder that holds `train` and `test`.

    Returns:
        Part (such as `train/pos`) and path of each review, sorted.

    Raises:
        InputError: If a review is a link, whatever it points to.
    """
    reviews = []
    for part in PARTS:
        if (root / part).is_dir():
            with os.scandir(root / part) as entries:  # unlike glob, asks the system nothing more about each file
                files = [entry for entry in entries if REVIEW_NAME.fullmatch(entry.name) and entry.is_file()]
            for link in (entry for entry in files if entry.is_symlink()):
                raise InputError(f"{link.path}: is a link; only the review itself is read")
            reviews += [(part, root / part / name) for name in sorted(entry.name for entry in files)]
    return reviews


def read_acl_folder(root: Path) -> dict[str, list[NamedRows]]:
    """Read the extracted aclImdb folder.

    Args:
        root: The folder that holds `train` and `test`.

    Returns:
        The rows of `train`, `unlabeled` and `test`.

    Raises:
        InputError: If a review is empty, too large or not UTF-8.
    """
    files = review_files(root)
    reviews = ((part, str(path), _read_review(path)) for part, path in files)
    return _collect(progress(reviews, len(files), f"reading {root}"), str(root))


def read_acl_archive(path: Path) -> dict[str, list[NamedRows]]:
    """Read the tar.gz as a stream; nothing is unpacked to disk.

    No path in the archive is trusted: only regular files whose whole name is that of a review count, whatever else
    there is (links, absolute paths, `..`, extended headers of any size) is passed over without being kept in memory.

    Args:
        path: The archive.

    Returns:
        The rows of `train`, `unlabeled` and `test`.

    Raises:
        InputError: If the archive is damaged or unpacks to more than `MAX_UNPACKED_BYTES`, a review stands in it twice,
            or one is empty, too large or not UTF-8.
    """
    try:
        return _collect(progress(_archived_reviews(path), None, f"reading {path}"), str(path))
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as tar.gz ({error})") from error


def _archived_reviews(path: Path) -> Iterator[tuple[str, str, bytes]]:
    seen = set()
    with gzip.open(path) as stream:  # it checks length and checksum
        for member in _headers(stream, path):
            match = MEMBER.fullmatch(member.name)
            if match is None or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                continue
            place = f"{path}, {member.name}"
            if member.name in seen:
                raise InputError(f"{place}: stands in the archive twice")
            seen.add(member.name)
            if member.size > MAX_REVIEW_BYTES:
                raise InputError(f"{place}: {member.size} bytes, a review has {MAX_REVIEW_BYTES} at most")
            yield match["part"], place, stream.read(member.size)


def _headers(stream: gzip.GzipFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the header of each member; its content may be read from the stream before the next one is asked for.

    `tarfile` itself would read extended headers into memory, whatever size they claim.
    """
    while any(block := stream.read(tarfile.BLOCKSIZE)):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        end = stream.tell() + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if member.size < 0 or end > MAX_UNPACKED_BYTES:
            raise InputError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")
        yield member
        _skip(stream, end)
        if stream.tell() < end:
            raise EOFError("it ends within a member")
    _skip(stream, MAX_UNPACKED_BYTES)  # to the end, where the checksum stands
    if stream.read(1):
        raise InputError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes")


def _skip(stream: gzip.GzipFile, end: int) -> None:
    while stream.tell() < end and stream.read(min(CHUNK, end - stream.tell())):
        pass


def _read_review(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_REVIEW_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_REVIEW_BYTES:
        raise InputError(f"{path}: a review has {MAX_REVIEW_BYTES} bytes at most")
    return content


def _collect(reviews: Iterable[tuple[str, str, bytes]], source: str) -> dict[str, list[NamedRows]]:
    texts: Mapping[str, list[str]] = defaultdict(list)
    for part, place, content in reviews:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            refuse("encoding", f"{place}: not valid UTF-8 ({error.reason} at byte {error.start})")
            continue
        texts[part].append(checked_text(text, place))
    if not texts:
        raise InputError(f"{source}: holds no reviews (aclImdb/train/pos/*.txt and so on)")
    return {
        "train": [_part(texts["train/neg"], "neg", source), _part(texts["train/pos"], "pos", source)],
        "unlabeled": [_part(texts["train/unsup"], None, source)],
        "test": [_part(texts["test/neg"], "neg", source), _part(texts["test/pos"], "pos", source)],
    }


def _part(texts: Sequence[str], name: str | None, source: str) -> NamedRows:
    return NamedRows(list(texts), [name] * len(texts), source, "review", range(1, len(texts) + 1), CLASSES)
