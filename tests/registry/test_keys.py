import errno
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import SSlibKey

from minigpt.errors import ParamsError, RegistryError
from minigpt.registry.provenance import keys


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where the user's key will be; no key of whoever runs the tests is touched."""
    monkeypatch.delenv(keys.PASSPHRASE, raising=False)
    monkeypatch.delenv(keys.KEY, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".config" / "minigpt" / "key.pem"


def test_a_key_is_for_its_owner_alone_and_never_overwritten(path):
    assert keys.key_path() == path
    assert keys.signing_key() is None
    assert keys.public_key() is None
    before = os.umask(0)
    try:
        keys.new_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    key = path.read_bytes()
    with pytest.raises(
        RegistryError, match=r"key\.pem is there and is not overwritten.*MINIGPT_KEY"
    ):
        keys.new_key(path)
    assert path.read_bytes() == key
    path.unlink()
    with pytest.raises(RegistryError, match=r"key\.pub is there"):
        keys.new_key(path)
    assert not path.exists()


def test_a_disk_that_is_full_leaves_no_half_of_a_key(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(keys.os, "fsync", full)
        with pytest.raises(RegistryError, match=r"key\.pem: cannot be written: No space left"):
            keys.new_key(path)
    assert list(path.parent.iterdir()) == []
    keys.new_key(path)


def test_where_files_cannot_have_two_names_a_key_is_not_overwritten_either(path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(keys.os, "link", refused)
    keys.new_key(path)
    key = path.read_bytes()
    with pytest.raises(RegistryError, match="is there and is not overwritten"):
        keys.new_key(path)
    assert path.read_bytes() == key
    assert sorted(p.name for p in path.parent.iterdir()) == ["key.pem", "key.pub"]


def test_a_private_key_that_lies_alone_tells_its_public_key(path, monkeypatch):
    monkeypatch.setenv(keys.PASSPHRASE, "correct horse")
    keys.new_key(path)
    public = keys.public_key()
    keys.public_path(path).unlink()
    assert keys.public_key() == public
    monkeypatch.delenv(keys.PASSPHRASE)
    with pytest.raises(RegistryError, match="give it as MINIGPT_KEY_PASSPHRASE"):
        keys.public_key()


def test_a_private_key_is_not_named_like_a_public_one(tmp_path):
    with pytest.raises(ParamsError, match=r"MINIGPT_KEY=.*a\.pem minigpt key new"):
        keys.new_key(tmp_path / "a.pub")
    assert list(tmp_path.iterdir()) == []


def test_a_key_has_the_id_that_in_toto_gives_it(path):
    keys.new_key(path)
    public = keys.public_key()
    assert public == keys.signing_key().public_key()
    assert keys.key_id(public) == SSlibKey.from_crypto(public).keyid


def test_a_passphrase_encrypts_the_key_and_no_message_holds_it(path, monkeypatch):
    monkeypatch.setenv(keys.PASSPHRASE, "correct horse")
    keys.new_key(path)
    assert b"ENCRYPTED" in path.read_bytes()
    assert isinstance(keys.signing_key(), Ed25519PrivateKey)
    monkeypatch.setenv(keys.PASSPHRASE, "wrong staple")
    with pytest.raises(RegistryError, match="does not open this key") as wrong:
        keys.signing_key()
    monkeypatch.delenv(keys.PASSPHRASE)
    with pytest.raises(RegistryError, match="give it as MINIGPT_KEY_PASSPHRASE"):
        keys.signing_key()
    assert "staple" not in str(wrong.value)
    assert keys.public_key() is not None  # to check needs no passphrase


def test_a_passphrase_does_not_hinder_a_key_without_one(path, monkeypatch):
    keys.new_key(path)
    monkeypatch.setenv(keys.PASSPHRASE, "for another key")
    assert isinstance(keys.signing_key(), Ed25519PrivateKey)


def test_who_wants_no_signature_says_so(path, monkeypatch):
    keys.new_key(path)
    monkeypatch.setenv(keys.KEY, "none")
    assert keys.signing_key() is None
    said = str(keys.no_key(keys.key_path()))
    assert said == f"MINIGPT_KEY=none turns signing off. To sign with {path}: unset MINIGPT_KEY"
    path.unlink()
    assert str(keys.no_key(keys.key_path())).endswith("unset MINIGPT_KEY, then: minigpt key new")


def test_a_key_that_is_named_must_be_there_and_be_one(path, monkeypatch, tmp_path):
    monkeypatch.setenv(keys.KEY, str(tmp_path / "other.pem"))
    with pytest.raises(RegistryError, match=r"MINIGPT_KEY names .*other\.pem, which is not there"):
        keys.signing_key()
    (tmp_path / "other.pem").write_text("no key")
    with pytest.raises(RegistryError, match="holds no private key in PEM form"):
        keys.signing_key()
    with pytest.raises(ParamsError, match="holds no public key"):
        keys.public_key(tmp_path / "other.pem")
    with pytest.raises(ParamsError, match="No such file"):
        keys.public_key(tmp_path / "nobody.pub")
    keys.new_key(tmp_path / "openssf.pem", openssf=True)
    monkeypatch.setenv(keys.KEY, str(tmp_path / "openssf.pem"))
    with pytest.raises(RegistryError, match="another kind of key; Ed25519"):
        keys.signing_key()
    with pytest.raises(ParamsError, match="another kind of key; Ed25519"):
        keys.public_key()
