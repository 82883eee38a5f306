import contextlib
import gzip
import io
import tarfile
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
