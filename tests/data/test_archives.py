import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minigpt.data import archives
from minigpt.data.archives import match, members, pack_folder
from minigpt.errors import DataError


def every(path: str) -> bool:
    return path.endswith(".txt")


def tar_with(path: Path, *infos: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def entry(name: str, size: int = 0, link: str | None = None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    if link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("texts/*_gut.txt", "texts/macbeth_gut.txt", True),
        ("texts/*_gut.txt", "texts/more/macbeth_gut.txt", False),
        ("*_gut.txt", "texts/macbeth_gut.txt", False),
        ("**/*.txt", "a.txt", True),
        ("**/*.txt", "a/b/c.txt", True),
        ("data/**", "data/a/b", True),
        ("a?.txt", "ab.txt", True),
        ("a.txt", "aXtxt", False),
    ],
)
def test_a_star_stays_in_its_folder_and_two_do_not(glob, path, expected):
    assert match((glob,), path) is expected


def test_members_of_an_sdist_lose_their_top_folder_and_come_sorted(tmp_path, make_sdist):
    file = tmp_path / "plays-1.0.tar.gz"
    file.write_bytes(make_sdist({"t/b.txt": b"b", "t/a.txt": b"a", "t/c.bin": b"c"}))
    assert [(m.path, m.data) for m in members(file, every)] == [
        ("t/a.txt", b"a"),
        ("t/b.txt", b"b"),
    ]


def test_members_of_a_wheel_are_read_the_same_way(tmp_path, make_wheel):
    file = tmp_path / "plays-1.0-py3-none-any.whl"
    file.write_bytes(make_wheel({"p/a.txt": b"a", "p-1.0.dist-info/METADATA": b""}))
    assert [m.path for m in members(file, every)] == ["p/a.txt"]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:/evil.txt"]
)
def test_an_entry_that_points_outside_is_refused_in_a_tar(tmp_path, name):
    file = tar_with(tmp_path / "a.tar.gz", entry(name, 3), entry("fine.txt", 3))
    with pytest.raises(DataError, match="points outside the archive; refused"):
        members(file, every)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "..\\evil.txt"])
def test_an_entry_that_points_outside_is_refused_in_a_zip(tmp_path, make_wheel, name):
    file = tmp_path / "a.whl"
    file.write_bytes(make_wheel({name: b"x", "p/fine.txt": b""}))
    with pytest.raises(DataError, match="points outside the archive; refused"):
        members(file, every)


def test_a_link_out_of_the_archive_is_refused_even_where_it_is_not_wanted(tmp_path):
    file = tar_with(tmp_path / "a.tar.gz", entry("t/readme", link="../../etc/passwd"))
    with pytest.raises(DataError, match="points outside"):
        members(file, every)


def test_a_wanted_link_is_refused_and_an_unwanted_inner_one_is_not(tmp_path):
    inner = entry("t/link.rst", link="../t/a.txt")
    assert len(members(tar_with(tmp_path / "a.tar.gz", inner, entry("t/a.txt", 1)), every)) == 1
    wanted = entry("t/link.txt", link="a.txt")
    with pytest.raises(DataError, match="is a link or a device; refused"):
        members(tar_with(tmp_path / "b.tar.gz", wanted, entry("t/a.txt", 1)), every)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_what_unpacks_too_large_is_refused(tmp_path, make_wheel, monkeypatch, kind):
    monkeypatch.setattr(archives, "MAX_MEMBER", 100)
    if kind == "tar":
        file = tar_with(tmp_path / "a.tar.gz", entry("t/a.txt", 101))
    else:
        file = tmp_path / "a.whl"
        file.write_bytes(make_wheel({"p/a.txt": b"x" * 101}))
    with pytest.raises(DataError, match="too large to unpack"):
        members(file, every)


def header(kind: bytes, size: int, body: bytes = b"") -> bytes:
    """A tar's header of a kind that speaks of the member behind it, with its body."""
    info = tarfile.TarInfo("a.txt")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + body + b"\0" * (-len(body) % 512)


def pax(key: str, value: str) -> bytes:
    """A record of a pax header."""
    rest = f" {key}={value}\n"
    length = next(n for n in range(len(rest), 2 * len(rest)) if len(str(n)) + len(rest) == n)
    return f"{length}{rest}".encode()


LARGE = 1_500_000_000


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
    ],
)
@pytest.mark.parametrize("before", [b"", header(tarfile.REGTYPE, 0)])
def test_a_header_of_gigabytes_is_refused_before_it_is_read(tmp_path, kind, before):
    file = tmp_path / "a.tar"
    file.write_bytes(before + header(kind, LARGE))
    with pytest.raises(DataError, match=r"a\.tar: it says more than 1 MB of one member"):
        members(file, every)


def test_many_headers_of_one_member_are_refused_together(tmp_path):
    one = header(tarfile.GNUTYPE_LONGNAME, 100_000, b"n" * 100_000)
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(one * 11 + header(tarfile.REGTYPE, 0)))
    with pytest.raises(DataError, match="more than 1 MB of one member"):
        members(file, every)


def test_a_map_of_holes_without_end_is_refused(tmp_path):
    said = pax("GNU.sparse.major", "1") + pax("GNU.sparse.minor", "0")
    said += pax("GNU.sparse.name", "a.txt") + pax("GNU.sparse.realsize", "1")
    body = b"9999999\n" + b"1\n" * 2_000_000
    file = tmp_path / "a.tar.gz"
    file.write_bytes(
        gzip.compress(
            header(tarfile.XHDTYPE, len(said), said) + header(tarfile.REGTYPE, len(body), body)
        )
    )
    with pytest.raises(DataError, match="more than 1 MB of one member"):
        members(file, every)


def test_headers_of_all_that_follow_are_not_copied_into_each(tmp_path):
    records = b"".join(pax(f"key{n}", "x") for n in range(20_000))
    said = header(tarfile.XGLTYPE, len(records), records)
    own = pax("comment", "x")
    each = header(tarfile.XHDTYPE, len(own), own) + header(tarfile.REGTYPE, 0)
    file = tmp_path / "a.tar"
    file.write_bytes(said + each * 2_000)
    assert peak_of(lambda: members(file, every)) < 50_000_000


def peak_of(do) -> int:
    """Bytes that Python held at most meanwhile."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"Z"])
def test_a_negative_size_neither_goes_round_nor_reads_all(tmp_path, kind):
    file = tmp_path / "a.tar"
    file.write_bytes(header(tarfile.REGTYPE, 0) * 3 + header(kind, -1024) + b"\0" * 5000)
    with pytest.raises(DataError, match=r"a\.tar: corrupted archive"):
        members(file, every)


def test_what_an_unknown_kind_of_member_holds_counts_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL", 100_000)
    file = tmp_path / "a.tar.gz"
    body = b"x" * 300_000
    file.write_bytes(gzip.compress(header(b"Z", len(body), body) + header(tarfile.REGTYPE, 0)))
    with pytest.raises(DataError, match="too large to unpack"):
        members(file, every)


def test_zeros_without_end_behind_the_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL", 2**20)
    file = tmp_path / "a.tar.gz"
    file.write_bytes(gzip.compress(header(tarfile.REGTYPE, 0) + b"\0" * 3 * 2**20))
    with pytest.raises(DataError, match="too large to unpack"):
        members(file, every)


def test_long_names_and_attributes_are_read(tmp_path):
    name = "t/" + "long/" * 300 + "ü.txt"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            tar.addfile(entry(name, 3), io.BytesIO(b"abc"))
            tar.addfile(entry("t/b.txt"))
        assert [m.path for m in members(tmp_path / "a.tar", every)] == ["b.txt", name[2:]]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_a_tar_is_known_by_its_bytes_however_it_is_packed(tmp_path, pack):
    (tmp_path / "t.txt").write_text("text")
    file = tmp_path / "a.tar.gz"
    file.write_bytes(pack(pack_folder(tmp_path, [tmp_path / "t.txt"])))
    assert [m.data for m in members(file, every)] == [b"text"]


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p/a.txt", b"x" * 100_000)
    # The uncompressed size in the central directory (its field 24 bytes after the signature).
    data = bytearray(file.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="corrupted archive"):
        members(file, every)


@pytest.mark.parametrize("keep", [0, 10, 60, -4])
@pytest.mark.parametrize("name", ["a.tar.gz", "a.whl"])
def test_a_corrupted_archive_is_named(tmp_path, make_sdist, make_wheel, name, keep):
    text = bytes(range(256)) * 4
    file = tmp_path / name
    whole = (make_wheel if name.endswith("whl") else make_sdist)({"p/a.txt": text})
    file.write_bytes(whole[:keep])
    with pytest.raises(DataError, match=f"{name}: corrupted archive"):
        members(file, every)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["a.tar.gz", "a.whl", "a.tar"]),
    place=st.floats(0, 1),
    byte=st.binary(min_size=1, max_size=3),
)
def test_any_changed_byte_gives_our_error_or_members(
    tmp_path, make_sdist, make_wheel, name, place, byte
):
    file = tmp_path / name
    files = {"p/a.txt": b"a" * 50, "p/b.txt": b"b"}
    whole = bytearray(make_wheel(files) if name == "a.whl" else make_sdist(files))
    if name == "a.tar":
        whole = bytearray(gzip.decompress(whole))[:3000]
    start = int(place * len(whole))
    whole[start : start + len(byte)] = byte
    file.write_bytes(bytes(whole))
    with contextlib.suppress(DataError):
        assert all(member.path.endswith(".txt") for member in members(file, every))


def test_a_packed_folder_depends_on_contents_alone(tmp_path):
    packed = []
    for folder, mode in ((tmp_path / "one", 0o600), (tmp_path / "two", 0o755)):
        (folder / "sub").mkdir(parents=True)
        files = [folder / "sub" / "ü.txt", folder / "a.md"]
        for file in files if mode == 0o600 else reversed(files):
            file.write_text("text")
            file.chmod(mode)
        packed.append(pack_folder(folder, files if mode == 0o600 else files[::-1]))
    assert packed[0] == packed[1]
    (file := tmp_path / "x.tar").write_bytes(packed[0])
    assert [m.path for m in members(file, lambda _: True, shared=False)] == ["a.md", "sub/ü.txt"]
