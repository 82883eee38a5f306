"""DSSE envelopes: a payload, its type, and signatures over both (secure-systems-lab/dsse, v1).

Written out: it is one line of encoding. The tests hold it against securesystemslib.
"""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from minigpt.errors import RegistryError
from minigpt.registry.provenance.keys import key_id

IN_TOTO = "application/vnd.in-toto+json"


def seal(statement: dict[str, Any], key: Ed25519PrivateKey | None) -> dict[str, Any]:
    """An envelope around `statement`; without a key its list of signatures is empty.

    The same statement and key give the same bytes.
    """
    text = json.dumps(
        statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return sign({"payload": _encoded(text.encode()), "payloadType": IN_TOTO, "signatures": []}, key)


def sign(envelope: dict[str, Any], key: Ed25519PrivateKey | None) -> dict[str, Any]:
    """The envelope with the signature of `key` added; any that it has made before is replaced."""
    if key is None:
        return envelope
    name = key_id(key.public_key())
    signature = {"keyid": name, "sig": _encoded(key.sign(_signed_bytes(envelope)))}
    others = [other for other in envelope["signatures"] if other.get("keyid") != name]
    return {**envelope, "signatures": [*others, signature]}


def signed_by(envelope: dict[str, Any], key: Ed25519PublicKey) -> bool:
    """Whether one of the signatures is `key`'s and holds."""
    signed = _signed_bytes(envelope)
    for signature in envelope["signatures"]:
        try:
            key.verify(base64.b64decode(signature["sig"], validate=True), signed)
        except (InvalidSignature, binascii.Error, KeyError, TypeError, ValueError):
            continue
        return True
    return False


def opened(text: bytes, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The envelope in `text` and the statement inside it; says nothing of its signatures.

    Raises:
        RegistryError: it is no envelope around an in-toto statement; `where` names it.
    """
    try:
        envelope = json.loads(text)
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        fine = (
            envelope["payloadType"] == IN_TOTO
            and all(isinstance(signature, dict) for signature in envelope["signatures"])
            and statement["_type"] == "https://in-toto.io/Statement/v1"
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{where}: is no DSSE envelope around a statement") from error
    if not fine:
        raise RegistryError(f"{where}: is no DSSE envelope around an in-toto statement, version 1")
    return envelope, statement


def _signed_bytes(envelope: dict[str, Any]) -> bytes:
    """DSSE's pre-authentication encoding: what a signature covers."""
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
