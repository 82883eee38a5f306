"""OpenSSF model signing of a version's package, for those whose tools ask for it: extra [sign]."""

import os
import tempfile
from pathlib import Path

from minigpt.errors import RegistryError
from minigpt.extras import require
from minigpt.registry.artifacts import write_artifact
from minigpt.registry.contents import model_of
from minigpt.registry.provenance.keys import PASSPHRASE, no_key, openssf_path
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry

SIGNATURE = "release/model.sig"


def sign_package(registry: Registry, ref: str) -> Path:
    """Sign the package of a version; the signature is kept as release/model.sig of the version.

    It changes with every signing (ECDSA draws a number), so it is no output of a stage.

    Returns:
        The folder that was signed.

    Raises:
        MissingExtraError: model-signing is not installed.
        RegistryError: there is no such version, no key, or the key does not open.
    """
    signing = require("model_signing.signing", extra="sign")
    version = find_version(registry, ref)
    package = model_of(registry, version)
    key = openssf_path()
    if not key.is_file():
        raise no_key(key)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.sig")
        try:
            config = signing.Config().use_elliptic_key_signer(
                private_key=key, password=os.environ.get(PASSPHRASE) or None
            )
            config.sign(package, file)
        except (ValueError, TypeError) as error:  # a wrong or missing passphrase, another key
            raise RegistryError(f"{key}: {error} (its passphrase is read from {PASSPHRASE})") from (
                error
            )
        write_artifact(registry, version, SIGNATURE, file.read_bytes())
    return package
