"""Checkouts with a store: built, registered, and one with three versions."""

import os
import shutil
from pathlib import Path

import pytest

from minigpt.data.document import write_documents
from minigpt.registry.provenance import keys
from minigpt.registry.refs import find_version
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.verification import verify as proof
from minigpt.tracking.relocate import relocate
from tests.registry.checkout import NAME, Checkout, make
from tests.registry.promotions import add_files
from tests.registry.story import Story, ran, tell
from tests.registry.toy import make_toy

PASSPHRASE = "a horse that is correct"


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MINIGPT_PARENT_RUN", raising=False)
    monkeypatch.setenv("MINIGPT_KEY", "none")  # not the one of whoever runs the tests


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Built; nothing registered. Read only: copy it to change it."""
    return make(tmp_path_factory.mktemp("registry") / "a checkout")


@pytest.fixture(scope="session")
def registered(checkout, tmp_path_factory):
    """A checkout whose store holds version 1. Read only."""
    root = tmp_path_factory.mktemp("registered") / "a checkout"
    shutil.copytree(checkout.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        register(Registry(root, NAME))
    return Checkout(root)


@pytest.fixture
def changed(registered, tmp_path):
    """A copy of the registered checkout whose store is its own."""
    from minigpt.tracking.relocate import relocate

    root = tmp_path / "copy"
    shutil.copytree(registered.root, root)
    relocate(root)
    return Checkout(root)


@pytest.fixture
def add_version(request):
    """A function that adds a version with version 1's files and this figure; sync takes longer."""
    from minigpt.registry.refs import find_version
    from minigpt.registry.versions import BITS, DIGEST, list_everything
    from minigpt.release.manifest import MANIFEST, manifest_digest
    from minigpt.tracking.store import local_path

    def add(bits: float, root: Path | None = None, name: str = NAME) -> str:
        root = root or request.getfixturevalue("changed").root
        registry = Registry(root, NAME)
        client, first = registry.store.client, find_version(registry, "1")
        source = client.get_model_version_download_uri(NAME, "1")
        model = source.split("/")[-2]  # …/models/ID/artifacts
        run = client.create_run(registry.store.experiment_id).info.run_id
        files = local_path(registry.artifacts_uri(run))
        shutil.copytree(local_path(registry.artifacts_uri(first.run_id)), files, dirs_exist_ok=True)
        manifest = files / MANIFEST  # another one that says the same
        manifest.write_text(manifest.read_text() + " " * round(1000 * bits))
        tags = {DIGEST: manifest_digest(manifest), BITS: str(bits)}
        if name not in list_everything(registry):
            client.create_registered_model(name)
        made = client.create_model_version(name, source, run, tags=tags, model_id=model)
        return str(made.version)

    return add


@pytest.fixture
def gate_by_figure(monkeypatch):
    """A gate that wants a lower figure than the champion's, and below 2."""
    from minigpt.registry.promotion import promote as promotions
    from minigpt.registry.promotion.condition import Condition

    def decide(registry, challenger, champion, gate):
        limit = champion.bits_per_byte if champion else 2.0
        comparison = f"{challenger.bits_per_byte} against {limit}"
        return (Condition("speeches", comparison, challenger.bits_per_byte < limit),)

    monkeypatch.setattr(promotions, "decide", decide)


@pytest.fixture(scope="session")
def story(registered, tmp_path_factory):
    root = tmp_path_factory.mktemp("story") / "a checkout"
    shutil.copytree(registered.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        # DVC did not write its dvc.lock: nothing was built from the code that it names.
        patch.setattr("minigpt.registry.register.refuse_other_inputs", lambda root: None)
        relocate(root)
        checkout = Checkout(root)
        tell(root)
        runs = ran(root, "download", "pretrain")
        register(checkout.registry)
        tell(root, leave_out="1862-09.txt")
        runs |= {f"again {stage}": run for stage, run in ran(root, "download").items()}
        checkout.git("add", "-A")
        checkout.git("commit", "-q", "-m", "one letter less")
        register(checkout.registry)
    return Story(checkout, runs)


@pytest.fixture
def own_story(story, tmp_path):
    """A copy whose store may be changed."""
    root = tmp_path / "copy"
    shutil.copytree(story.root, root)
    relocate(root)
    return Story(Checkout(root), story.runs)


@pytest.fixture(scope="session")
def toy_made(checkout, tmp_path_factory):
    """A project that DVC builds in a second, with version 1. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        return make_toy(checkout, tmp_path_factory.mktemp("toy") / "a toy")


@pytest.fixture
def toy(toy_made, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    if "rebuil" not in os.environ["PYTEST_CURRENT_TEST"]:  # DVC is asked there; it takes a second
        monkeypatch.setattr(proof, "cache_folder", lambda root: root / ".dvc" / "cache")
    root = tmp_path / "toy"
    shutil.copytree(toy_made.root, root, ignore=shutil.ignore_patterns(".work"))
    relocate(root)
    return type(toy_made)(root)


@pytest.fixture(scope="session")
def signed(checkout, tmp_path_factory):
    """A checkout whose store holds a signed version, and the public key. Read only."""
    folder = tmp_path_factory.mktemp("signed")
    root = folder / "a checkout"
    shutil.copytree(checkout.root, root)
    (root / "requirements").mkdir()
    (root / "requirements" / "base.txt").write_text("torch==2\n")
    (root / "stages" / "new.py").write_text("# new\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(keys.KEY, str(folder / "key.pem"))
        patch.setenv(keys.PASSPHRASE, PASSPHRASE)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        keys.new_key(folder / "key.pem")
        register(Registry(root, NAME))
    return root, folder / "key.pub"


@pytest.fixture
def own(signed, tmp_path):
    """A copy of it with a store of its own: root, store, version, public key."""
    root, public = tmp_path / "copy", signed[1]
    shutil.copytree(signed[0], root)
    relocate(root)
    registry = Registry(root, NAME)
    return root, registry, find_version(registry, "1"), public


@pytest.fixture
def add(changed, tmp_path):
    """A function: register a version with these documents and figures, and version 1's model."""

    def add(documents=None, **figures):
        root = tmp_path / "built"
        shutil.copytree(changed.root, root, dirs_exist_ok=True)
        if documents:
            write_documents(root / "data/documents/documents.parquet", documents)
        type(changed)(root).build(**figures)
        return add_files(changed, root, tmp_path / "kept")

    return add
