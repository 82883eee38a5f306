"""The user's signing key: Ed25519, in a file of its own outside of every project."""

import hashlib
import json
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from minigpt.errors import ParamsError, RegistryError
from minigpt.files import at_home

KEY, PASSPHRASE = "MINIGPT_KEY", "MINIGPT_KEY_PASSPHRASE"
NONE = "none"  # the value of MINIGPT_KEY that registers unsigned
PEM = serialization.Encoding.PEM


def key_path() -> Path:
    """The private key's file: MINIGPT_KEY, else ~/.config/minigpt/key.pem; it may not exist."""
    named = _named() or "~/.config/minigpt/key.pem"
    return at_home(named)


def public_path(private: Path) -> Path:
    """The public key's file, beside the private one."""
    return private.with_suffix(".pub")


def openssf_path() -> Path:
    """The private key for OpenSSF model signing, which takes no Ed25519: beside the other."""
    return key_path().with_name("openssf.pem")


def new_key(path: Path, *, openssf: bool = False) -> None:
    """Make a key pair at `path`, the private one for its owner's eyes only.

    With MINIGPT_KEY_PASSPHRASE set, the file is encrypted with it.

    Raises:
        RegistryError: a key is there (it is never overwritten), or the folder cannot be written.
        ParamsError: `path` is a public key's name.
    """
    if path == public_path(path):
        raise ParamsError(
            f"{path}: .pub is for the public key, which is written beside the private one. "
            f"Name another file: {KEY}={path.with_suffix('.pem')} minigpt key new"
        )
    private = ec.generate_private_key(ec.SECP256R1()) if openssf else Ed25519PrivateKey.generate()
    secret = private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, _encryption())
    _write_once(path, secret, 0o600)
    try:
        _write_once(public_path(path), public_pem(private.public_key()), 0o644)
    except RegistryError:
        path.unlink()
        raise


def signing_key() -> Ed25519PrivateKey | None:
    """The user's private key; None where the user has none, or wants none (MINIGPT_KEY=none).

    Raises:
        RegistryError: MINIGPT_KEY names no file, the passphrase is missing or wrong, or the file
            holds no Ed25519 key.
    """
    if os.environ.get(KEY) == NONE:
        return None
    path = key_path()
    key = _private_key(path)
    if key is None and _named():
        raise RegistryError(
            f"{KEY} names {path}, which is not there. To make a key there: minigpt key new"
        )
    return key


def _private_key(path: Path) -> Ed25519PrivateKey | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RegistryError(f"{path}: cannot be read: {error.strerror}") from error
    passphrase = os.environ.get(PASSPHRASE) or None
    try:
        try:
            key = serialization.load_pem_private_key(data, passphrase and passphrase.encode())
        except TypeError:  # a passphrase is set, and the key has none
            if passphrase is None:
                raise
            key = serialization.load_pem_private_key(data, None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        needs = "ENCRYPTED" in data[:64].decode(errors="replace")
        raise RegistryError(
            f"{path}: {PASSPHRASE} does not open this key"
            if needs and passphrase
            else f"{path}: this key has a passphrase; give it as {PASSPHRASE}"
            if needs
            else f"{path}: holds no private key in PEM form. To make one elsewhere: "
            f"{KEY}=FILE minigpt key new"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RegistryError(
            f"{path}: holds another kind of key; Ed25519 is expected. To make one: minigpt key new"
        )
    return key


def public_key(path: Path | None = None) -> Ed25519PublicKey | None:
    """The public key in `path`; without one, the user's own, or None where the user has none.

    Where the private key lies alone, it tells the public one.

    Raises:
        ParamsError: `path` is missing, or holds no Ed25519 public key.
        RegistryError: the private key lies alone, and does not open.
    """
    own = public_path(key_path())
    if path is None and not own.is_file():
        private = _private_key(key_path())
        return private.public_key() if private else None
    file = path or own
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise ParamsError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ParamsError(
            f"{file}: holds no public key in PEM form; `minigpt key new` writes one beside the key"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ParamsError(f"{file}: holds another kind of key; Ed25519 is expected")
    return key


def no_key(path: Path) -> RegistryError:
    """What to say where a key is needed and there is none."""
    openssf = path == openssf_path()
    if os.environ.get(KEY) == NONE and not openssf:
        then = "" if path.is_file() else ", then: minigpt key new"
        return RegistryError(
            f"{KEY}={NONE} turns signing off. To sign with {path}: unset {KEY}{then}"
        )
    return RegistryError(f"there is no key at {path}. Run: minigpt key new{' --openssf' * openssf}")


def key_id(key: Ed25519PublicKey) -> str:
    """The id that securesystemslib gives this key, so that in-toto's own tools find it."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    facts = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw.hex()}}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _named() -> str | None:
    named = os.environ.get(KEY)
    return named if named != NONE else None


def _encryption() -> serialization.KeySerializationEncryption:
    if passphrase := os.environ.get(PASSPHRASE):
        return serialization.BestAvailableEncryption(passphrase.encode())
    return serialization.NoEncryption()


def public_pem(key: Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """A public key as its file holds it."""
    return key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist, whole or not at all; nobody reads more than `mode` lets."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # of a killed process that had this number
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _rename_once(part, path)
        finally:
            part.unlink(missing_ok=True)
    except FileExistsError as error:
        raise RegistryError(
            f"{path} is there and is not overwritten: what it signed could not be checked any "
            f"more. For another key: {KEY}=FILE minigpt key new"
        ) from error
    except OSError as error:
        raise RegistryError(f"{path}: cannot be written: {error.strerror}") from error


def _rename_once(part: Path, path: Path) -> None:
    try:
        os.link(part, path)  # a rename would overwrite
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from error
        part.rename(path)
