import gzip
import io
import tarfile
import tracemalloc

import pytest

from textadv.corpus.archives import MAX_REVIEW_BYTES, read_acl_archive, read_acl_folder
from textadv.errors import InputError

REVIEWS = {
    "aclImdb/train/pos/0_9.txt": b"good\r\nfilm \xc3\xa9",
    "aclImdb/train/neg/0_2.txt": b"bad film",
    "aclImdb/train/unsup/0_0.txt": b"some film",
    "aclImdb/test/pos/0_9.txt": b"fine film",
    "aclImdb/test/neg/0_2.txt": b"poor film",
}


def regular(name, content=b"stray"):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def archive(path, extra=()):
    with tarfile.open(path, "w:gz") as tar:
        for member, content in [*(regular(*review) for review in REVIEWS.items()), *extra]:
            tar.addfile(member, io.BytesIO(content))
    return path


def texts(parts):
    return {
        split: [(text, name) for part in rows for text, name in zip(part.texts, part.names, strict=True)]
        for split, rows in parts.items()
    }


def test_archive_is_read_without_unpacking(tmp_path):
    path = archive(tmp_path / "a.tar.gz")
    assert texts(read_acl_archive(path)) == {
        "train": [("bad film", "neg"), ("good\r\nfilm é", "pos")],
        "unlabeled": [("some film", None)],
        "test": [("poor film", "neg"), ("fine film", "pos")],
    }
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "member",
    [
        regular("/aclImdb/train/pos/1_9.txt"),
        regular("../aclImdb/train/pos/1_9.txt"),
        regular("aclImdb/train/pos/../../../1_9.txt"),
        regular("aclImdb/train/pos/../neg/1_9.txt"),
        regular("aclImdb/train/pos/deep/1_9.txt"),
        regular("other/aclImdb/train/pos/1_9.txt"),
        regular("aclImdb/train/pos/1_9.txt.exe"),
        regular("aclImdb/train/pos/._1_9.txt"),
        regular("aclImdb/test/unsup/1_0.txt"),
        regular("aclImdb/train/urls_pos.txt"),
        regular("aclImdb/README", b"x" * (MAX_REVIEW_BYTES + 1)),
        special("aclImdb/train/pos/1_9.txt", tarfile.SYMTYPE, "/etc/hostname"),
        special("aclImdb/train/pos/1_9.txt", tarfile.LNKTYPE, "aclImdb/train/neg/0_2.txt"),
        special("aclImdb/train/pos/1_9.txt", tarfile.DIRTYPE),
        special("aclImdb/train/pos/1_9.txt", tarfile.FIFOTYPE),
        special("aclImdb/train/pos/1_9.txt", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member[0].name}-{member[0].type.decode()}",
)
def test_untrusted_members_are_passed_over(tmp_path, member):
    plain, hostile = archive(tmp_path / "a.tar.gz"), archive(tmp_path / "b.tar.gz", [member])
    assert texts(read_acl_archive(hostile)) == texts(read_acl_archive(plain))


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (regular("aclImdb/train/pos/1_9.txt", b"x" * (MAX_REVIEW_BYTES + 1)), "a review has 1048576 at most"),
        (regular("aclImdb/train/pos/1_9.txt", b""), "is empty"),
        (regular("aclImdb/train/pos/1_9.txt", b"\xff"), "not valid UTF-8"),
        (regular("aclImdb/train/pos/1_9.txt", b"a\0"), "NUL"),
        (regular("aclImdb/train/pos/0_9.txt", b"again"), "twice"),
    ],
)
def test_bad_members_are_refused_by_name(tmp_path, member, reason):
    path = archive(tmp_path / "a.tar.gz", [member])
    with pytest.raises(InputError) as error:
        read_acl_archive(path)
    assert str(error.value).startswith(f"{path}, {member[0].name}: ")
    assert reason in str(error.value)


def test_archive_without_reviews_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(InputError, match="holds no reviews"):
        read_acl_archive(tmp_path / "a.tar.gz")


def test_damaged_archives_are_refused(tmp_path):
    whole = archive(tmp_path / "a.tar.gz").read_bytes()
    flipped = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]  # in the checksum, behind the last member
    for content in (whole[: len(whole) // 2], whole[:-8], flipped, b"no archive", gzip.compress(b"no tar" * 200), b""):
        path = tmp_path / "damaged.tar.gz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged\.tar\.gz"):
            read_acl_archive(path)


@pytest.mark.parametrize(("content", "reason"), [(b"x" * (MAX_REVIEW_BYTES + 1), "at most"), (b"\xff", "UTF-8")])
def test_bad_files_of_the_folder_are_refused_by_name(tmp_path, content, reason):
    bad = tmp_path / "train" / "pos" / "7_9.txt"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(content)
    with pytest.raises(InputError, match=reason) as error:
        read_acl_folder(tmp_path)
    assert str(error.value).startswith(f"{bad}: ")


def of_type(kind, size, content=b""):
    member = tarfile.TarInfo("aclImdb/train/pos/1_9.txt")
    member.type, member.size = kind, size
    padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
    return member.tobuf(tarfile.GNU_FORMAT) + content + padding


def archive_of(path, *parts):
    """An archive of raw parts behind the reviews."""
    whole = gzip.decompress(archive(path).read_bytes())
    reviews = whole[: whole.rindex(b"poor film") + tarfile.BLOCKSIZE]
    path.write_bytes(gzip.compress(reviews + b"".join(parts) + bytes(2 * tarfile.BLOCKSIZE), compresslevel=1))
    return path


EXTENDED = [
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_SPARSE,
]


@pytest.mark.parametrize("kind", [*EXTENDED, tarfile.REGTYPE])
@pytest.mark.parametrize("size", [2**40, -1, -(2**40)])
def test_members_of_impossible_size_are_refused(tmp_path, kind, size):
    path = archive_of(tmp_path / "a.tar.gz", of_type(kind, size))
    with pytest.raises(InputError, match=r"a\.tar\.gz: unpacks to more than 2147483648 bytes"):
        read_acl_archive(path)


@pytest.mark.parametrize("kind", EXTENDED)
def test_large_extended_headers_are_not_kept_in_memory(tmp_path, kind):
    size = 2**25
    path = archive_of(tmp_path / "a.tar.gz", of_type(kind, size, bytes(size)))
    tracemalloc.start()
    found = texts(read_acl_archive(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == texts(read_acl_archive(archive(tmp_path / "b.tar.gz")))
    assert peak < size / 4


@pytest.mark.parametrize("where", ["in a member", "in many members", "behind the end"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, where):
    monkeypatch.setattr("textadv.corpus.archives.MAX_UNPACKED_BYTES", 2**20)
    content = {
        "in a member": [of_type(b"5", 2**20, bytes(2**20))],
        "in many members": [of_type(b"5", 2**16, bytes(2**16))] * 16,
        "behind the end": [bytes(2**20)],
    }[where]
    path = archive_of(tmp_path / "a.tar.gz", *content)
    assert path.stat().st_size < 2**16
    with pytest.raises(InputError, match=r"a\.tar\.gz: unpacks to more than 1048576 bytes"):
        read_acl_archive(path)
    read_acl_archive(archive_of(tmp_path / "b.tar.gz", of_type(b"5", 2**19, bytes(2**19))))


def test_an_archive_cut_within_a_member_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(gzip.decompress(archive(path).read_bytes())[: tarfile.BLOCKSIZE + 5]))
    with pytest.raises(InputError, match=r"cannot be read as tar\.gz"):
        read_acl_archive(path)


def test_a_link_in_the_place_of_a_review_is_refused(tmp_path):
    (tmp_path / "secret").write_text("secret")
    link = tmp_path / "train" / "pos" / "7_9.txt"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="is a link") as error:
        read_acl_folder(tmp_path)
    assert str(error.value).startswith(f"{link}: ")
