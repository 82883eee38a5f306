"""`minigpt key`: the key that signs versions; `registry sign` and `registry sbom`."""

from typing import Annotated

import typer

from minigpt.cli import versions
from minigpt.cli.shared import (
    Commands,
    Json,
    project_registry,
    registry_that_knows,
    show_json,
    talk,
    tell,
)

keys = Commands(
    no_args_is_help=True,
    help="The key that signs versions. Examples: minigpt key new · minigpt key show",
)
Openssf = Annotated[
    bool, typer.Option("--openssf", help="OpenSSF model signing (pip install 'minigpt[sign]').")
]


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this file on `app` and on `minigpt registry`."""
    app.add_typer(keys, name="key")
    for command in (sign, sbom):
        versions.app.command()(command)


@keys.command()
def new(openssf: Openssf = False, as_json: Json = False) -> None:
    """Make a key; every version registered from then on is signed with it.

    It goes to ~/.config/minigpt/key.pem, or where MINIGPT_KEY says, and is never overwritten;
    with MINIGPT_KEY_PASSPHRASE set, it is encrypted.

    Example: minigpt key new
    """
    from minigpt.registry.provenance import keys as files

    path = files.openssf_path() if openssf else files.key_path()
    files.new_key(path, openssf=openssf)
    public = files.public_path(path)
    if as_json:
        show_json({"private": str(path), "public": str(public)})
        return
    tell(str(public))
    talk(f"{path} is for you alone: keep a copy, give it to nobody")
    talk(f"Next: minigpt registry sign champion{' --openssf' * openssf}")


@keys.command()
def show(as_json: Json = False) -> None:
    """The public key, for those who check what you signed.

    Example: minigpt key show > alice.pub
    """
    from minigpt.registry.provenance import keys as files

    own, path = files.public_key(), files.public_path(files.key_path())
    if own is None:
        raise files.no_key(files.key_path())
    text, name = files.public_pem(own).decode(), files.key_id(own)
    if as_json:
        show_json({"id": name, "public": str(path) if path.is_file() else None, "pem": text})
    else:
        typer.echo(text, nl=False)
        talk(f"key {name[:12]} · who has it checks: minigpt verify 3 --signature --key alice.pub")


def sign(
    reference: Annotated[str, typer.Argument(help="champion, 3, a folder …")] = "champion",
    openssf: Openssf = False,
    as_json: Json = False,
) -> None:
    """Sign a version that was registered without your key, once every file is checked.

    Examples: minigpt registry sign 3 · minigpt registry sign champion --openssf
    """
    from minigpt.registry.refs import find_version, shortest_ref

    registry = project_registry()
    version = find_version(registry, reference)
    exact = f"models:/{version.name}/{version.version}"  # an alias may move meanwhile
    if openssf:
        from minigpt.registry.provenance.keys import openssf_path, public_path
        from minigpt.registry.provenance.openssf import SIGNATURE, sign_package

        package = sign_package(registry, exact)
        public = public_path(openssf_path())
        if as_json:
            show_json({"signature": SIGNATURE, "package": str(package), "public": str(public)})
        else:
            tell(f"{version.version} of {version.name} has {SIGNATURE}")
            talk(f"Next: model_signing verify key {package} --signature FILE --public_key {public}")
        return
    from minigpt.registry.provenance.provenance import ENVELOPE
    from minigpt.registry.provenance.provenance import sign as add_signature

    signed_by = add_signature(registry, exact)
    if as_json:
        show_json({"signature": ENVELOPE, "key": signed_by})
    else:
        tell(f"{version.version} of {version.name} is signed by key {signed_by[:12]}")
        ref = shortest_ref(version.name, version.version, registry.name)
        talk(f"Next: minigpt verify {ref} --signature")


def sbom(
    reference: Annotated[str, typer.Argument(help="champion, 3 …")] = "champion",
    as_json: Json = False,
) -> None:
    """Keep a CycloneDX bill of materials with a version (pip install 'minigpt[sbom]').

    Example: minigpt registry sbom champion
    """
    registry = registry_that_knows(reference)
    from minigpt.registry.provenance.sbom import BOM, write_bom

    bom = write_bom(registry, reference)
    if as_json:
        show_json(bom)
    else:
        about = bom["metadata"]["component"]
        tell(
            f"{about['version']} of {about['name']} has {BOM}: {len(bom['components'])} components"
        )
        talk(f"Next: minigpt registry sbom {reference} --json > bom.cdx.json")
