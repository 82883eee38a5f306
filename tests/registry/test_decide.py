"""The gate and `compare` on versions in a store: on which text, by which model."""

import json
import shutil
from dataclasses import replace

import pytest
from requests import HTTPError
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.data.document import Document, read_documents, write_documents
from minigpt.digest import text_digest
from minigpt.errors import RegistryError
from minigpt.evaluation.passages import model_rows, write_passages
from minigpt.evaluation.perplexity import bits_of_documents, model_score, window_over
from minigpt.package import load_package
from minigpt.registry import artifacts
from minigpt.registry.artifacts import find_artifact
from minigpt.registry.config import GateConfig
from minigpt.registry.overview import overview
from minigpt.registry.promotion.compare import compare
from minigpt.registry.promotion.evaluation_set import read_evaluation_set
from minigpt.registry.promotion.gate import decide
from minigpt.registry.refs import find_version
from minigpt.registry.versions import DIGEST
from minigpt.release.document_index import INDEX
from minigpt.tracking.relocate import relocate
from tests.registry.promotions import add_files, reseal

NAME = "minigpt-test"
GATE = GateConfig(min_passages=20)


@pytest.fixture(scope="module")
def world(registered, tmp_path_factory):
    """A copy of the registered checkout; each test adds versions of its own."""
    root = tmp_path_factory.mktemp("decide") / "copy"
    shutil.copytree(registered.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        relocate(root)
    return type(registered)(root)


@pytest.fixture
def add(world, tmp_path):
    """A function: register a version with version 1's model and what the checkout then holds."""

    def add(documents=None, keeps=True, **figures):
        root = tmp_path / "built"
        names = ("data", "results", "release", "models", "exports")
        for name in names:
            shutil.copytree(world.root / name, root / name, dirs_exist_ok=True)
        if documents:
            write_documents(root / "data/documents/documents.parquet", documents)
        type(world)(root).build(**figures)
        return add_files(world, root, tmp_path / "kept", keeps)

    return add


def text_document(split, text, source="speeches", name=None):
    role = "pretrain" if source == "plays" else "finetune"
    name = name or split
    return Document(
        doc_id=f"{source}/{name}", text=text, source=source, role=role, work=name, lang="en",
        licence="public domain", split=split, sha256=text_digest([text]), origin="-",
    )  # fmt: skip


def failed(world, challenger, champion, gate=GATE):
    conditions = decide(world.registry, challenger, champion, gate)
    return {condition.about: condition.found for condition in conditions if not condition.holds}


def test_the_first_version_is_judged_by_its_own_figures(world, add):
    assert failed(world, add(), None) == {}
    assert failed(world, add(tuned=2.7), None).keys() == {"speeches"}


def test_a_better_challenger_passes_and_a_worse_one_is_refused_with_reasons(world, add):
    champion = find_version(world.registry, "1")
    assert failed(world, add(tuned=1.7), champion) == {}
    assert failed(world, add(tuned=1.8), champion) == {}
    assert failed(world, add(tuned=1.88), champion) == {
        "speeches": "1.88 against 1.80 bits per byte: worse by 0.08 (95 %: 0.08 to 0.08); "
        "allowed: 0.00"
    }
    assert failed(world, add(tuned=1.88), champion, GATE.replace(max_worse=0.1)) == {}


@pytest.fixture
def add_base(add):
    """A function: register a version that was not fine-tuned, with this figure."""

    def add_base(base):
        documents = [text_document(split, split, "plays") for split in ("train", "val", "test")]
        return add(documents, base=base, tuned=None)

    return add_base


def test_without_fine_tuning_the_base_is_judged_on_what_it_was_trained_for(world, add_base):
    champion = add_base(base=2.0)
    assert failed(world, champion, None) == {}
    assert failed(world, add_base(base=2.5), None).keys() == {"plays"}
    assert failed(world, add_base(base=1.9), champion) == {}
    assert failed(world, add_base(base=2.04), champion) == {
        "plays": "2.04 against 2.00 bits per byte: worse by 0.04 (95 %: 0.04 to 0.04); "
        "allowed: 0.00"
    }


def test_two_bases_are_compared_without_a_fine_tuned_model(world, add_base):
    comparison = compare(world.registry, add_base(base=2.0), add_base(base=1.9))
    assert [(line.source, line.package) for line in comparison.lines] == [("plays", "base")]
    assert comparison.lines[0].difference.point == pytest.approx(-0.1)
    assert [pair.first for pair in comparison.samples] == ["a base model"]


def test_one_that_was_not_fine_tuned_is_run_on_what_the_champion_was_tuned_for(world, add_base):
    champion = find_version(world.registry, "1")
    gate = GATE.replace(min_passages=1)
    conditions = decide(world.registry, add_base(base=2.0), champion, gate)
    # It is version 1's model, so whoever runs it there finds no difference.
    assert next(c for c in conditions if c.about == "speeches").found.endswith(": the same")


def test_lineage_judges_a_base_by_its_own_figure(world, add_base):
    version = add_base(base=2.0)
    (judgement,) = overview(world.registry, version.version).judged
    assert (judgement.source, judgement.bits_per_byte) == ("plays", 2.0)
    assert judgement.interval.passages == 25


def test_one_that_trained_on_an_evaluation_document_is_refused_by_name(world, add):
    champion = find_version(world.registry, "1")
    held_out = text_document("test", "test")
    documents = [text_document("train", "test", name="again"), text_document("test", "other")]
    failures = failed(world, add(documents, tuned=1.2), champion)
    assert failures == {
        "evaluation set": "it was trained on 2 of the 2 documents: "
        f"plays/test ({held_out.sha256[:8]}…, 100% of it), "
        f"speeches/test ({held_out.sha256[:8]}…, 100% of it)"
    }


def test_a_challenger_with_other_test_documents_is_run_on_the_champions(world, add):
    """Its own figures, on easier text, would have won."""
    text = "To be, or not to be, that is the question. " * 30
    judged = [text_document("test", text), text_document("test", text, "plays")]
    champion = judged_for_real(world, add, judged, bonus=0.5)
    other = text_document("test", "easy text")
    challenger = add([other, text_document("test", "easy", "plays")], tuned=1.0)
    failures = failed(world, challenger, champion, GATE.replace(min_passages=1))
    package = load_package(world.root / "models/finetuned")
    [bits] = bits_of_documents(
        model_score(package.model), package.tokenizer, judged[:1], window_over(package.config)
    )
    figure = bits.bits.sum() / bits.token_bytes.sum()
    assert failures["speeches"].startswith(f"{figure:.2f} against {figure - 0.5:.2f} bits per byte")
    assert failures["speeches"].endswith("worse by 0.50 (95 %: 0.50 to 0.50); allowed: 0.00")


def test_stored_figures_count_only_where_the_documents_are_the_same(world, add, capsys):
    champion = find_version(world.registry, "1")
    capsys.readouterr()
    assert failed(world, add(tuned=1.7), champion) == {}
    assert "running" not in capsys.readouterr().err
    other = [text_document("test", "other"), text_document("test", "other", "plays")]
    challenger = add(other, tuned=1.0)  # passages of the same length, of another text
    failed(world, challenger, champion)
    said = capsys.readouterr().err
    assert f"running finetuned of version {challenger.version} on" in said


def judged_for_real(world, add, documents, bonus, cut=1000):
    """A version that needs `bonus` bits per byte less for `documents` than its model does."""
    version = add(documents)
    registry = world.registry
    package = load_package(world.root / "models/finetuned")
    measurements = bits_of_documents(
        model_score(package.model), package.tokenizer, documents, window_over(package.config)
    )
    rows = [
        row | {"bits": row["bits"] - bonus * row["bytes"]}
        for measure in ("base", "finetuned")
        for row in model_rows(measure, measurements, cut)
    ]
    path = find_artifact(registry, version, "data/evaluation/passages.parquet", world.root)
    write_passages(path.parent, rows)
    return reseal(registry, version, "data/evaluation/passages.parquet")


def test_an_evaluation_set_that_is_gone_is_named(world, add):
    gone = add(keeps=False)
    for judge in (
        lambda: failed(world, add(), gone),
        lambda: failed(world, gone, None),
        lambda: compare(world.registry, gone, gone),
    ):
        with pytest.raises(RegistryError, match=r"data/evaluation/documents.parquet .* it is gone"):
            judge()


def test_a_set_is_fetched_from_a_server(world, add, monkeypatch):
    version = add(tuned=1.7)
    here = read_evaluation_set(world.registry, version)
    monkeypatch.setattr(artifacts, "local_path", lambda uri: None)  # as that of a server
    assert read_evaluation_set(world.registry, version) == here
    assert failed(world, version, find_version(world.registry, "1")) == {}


def test_a_server_that_fails_is_not_a_file_that_is_gone(world, add, monkeypatch):
    registry, version = world.registry, add()
    monkeypatch.setattr(artifacts, "local_path", lambda uri: None)  # as that of a server
    for missing in ("data/none.parquet", "none/none.parquet", "none", "data"):
        assert artifacts.read_artifact(registry, version, missing) is None
    assert artifacts.read_artifact(registry, version, INDEX)

    def refuse(*_):
        raise HTTPError("403 Client Error: FORBIDDEN for url")  # as MLflow's client raises it

    for call in ("download_artifacts", "list_artifacts"):
        monkeypatch.setattr(registry.store.client, call, refuse)
        with pytest.raises(RegistryError, match="403"):
            artifacts.read_artifact(registry, version, INDEX)


def test_a_kept_file_that_was_changed_is_named(world, add):
    version = add()
    registry = world.registry
    passages = find_artifact(registry, version, "data/evaluation/passages.parquet", world.root)
    write_passages(passages.parent, [])
    with pytest.raises(RegistryError, match=r"its data/evaluation/passages.parquet cannot be"):
        read_evaluation_set(registry, version)
    version = add()
    documents = find_artifact(registry, version, "data/evaluation/documents.parquet", world.root)
    changed = [replace(d, text="changed") for d in read_documents(documents.parent)]
    write_documents(documents, changed)
    with pytest.raises(
        RegistryError,
        match=r"evaluation/documents\.parquet cannot be used: it is not",
    ):
        read_evaluation_set(registry, version)
    find_artifact(registry, version, "results/evaluate.json", world.root).unlink()
    with pytest.raises(RegistryError, match=r"results/evaluate\.json cannot be used: it is gone"):
        failed(world, version, None)


def test_speed_is_measured_where_it_has_a_budget(world, add):
    failures = failed(world, add(), None, GATE.replace(max_ms_per_token=1e-3))
    assert failures["speed"].endswith("ms a token; allowed 0.001")
    assert failed(world, add(), None, GATE.replace(max_ms_per_token=1e6)) == {}


def test_compare_shows_figures_differences_and_samples_of_both(world, add, monkeypatch):
    version = add(tuned=1.88)
    monkeypatch.chdir(world.root)
    (world.root / "params.yaml").write_text("release: {name: minigpt-test}\n")
    done = CliRunner().invoke(app, ["compare", "1", version.version])
    assert done.exit_code == 0, done.output
    assert "speeches  finetuned  1.80  1.88" in done.output
    assert "worse, +0.08 (95 %: +0.08 to +0.08)" in done.output
    assert "a text of version 1" in done.output
    assert "a text of {'tuned': 1.88}" in done.output
    assert done.output.endswith(f"Next: minigpt registry promote {version.version}\n")
    done = CliRunner().invoke(app, ["compare", "1", version.version, "--json"])
    comparison = json.loads(done.stdout)
    [figure] = [
        f for f in comparison["figures"] if (f["source"], f["package"]) == ("speeches", "finetuned")
    ]
    assert figure["difference"]["point"] == pytest.approx(0.08)
    assert figure["difference"]["clear"] is True


def test_compare_runs_both_where_the_stored_passages_were_cut_otherwise(world, add):
    judged = [text_document("test", "To be, or not.\n" * 99, s) for s in ("speeches", "plays")]
    first = judged_for_real(world, add, judged, bonus=0.5, cut=100)
    comparison = compare(world.registry, first, add(judged))
    # One model on one text, whatever figures the first kept.
    assert [line.difference.point for line in comparison.lines] == [0.0] * 4


def test_compare_says_where_nobody_can_tell_what_a_version_was_trained_on(world, add, monkeypatch):
    version = add()
    find_artifact(world.registry, version, INDEX, world.root).unlink()
    monkeypatch.chdir(world.root)
    done = CliRunner().invoke(app, ["compare", f"{NAME}/1", f"{NAME}/{version.version}"])
    assert "nobody can tell whether it was trained on these" in done.output


def test_compare_tells_versions_of_two_models_apart_by_name(world, add, monkeypatch):
    client, first = world.registry.store.client, find_version(world.registry, "1")
    source = client.get_model_version_download_uri(NAME, "1")
    client.create_registered_model("letters")
    other = add(tuned=1.88)
    client.create_model_version("letters", source, other.run_id, tags={DIGEST: other.digest})
    monkeypatch.chdir(world.root)
    (world.root / "params.yaml").write_text("release: {name: minigpt-test}\n")
    done = CliRunner().invoke(app, ["compare", "1", "models:/letters/1"])
    assert done.exit_code == 0, done.output
    header, columns = done.stdout.splitlines()[:2]
    assert header.startswith(f"{NAME} 1 and letters 1, on the 2 test documents of {NAME} version 1")
    assert columns.split("  ")[-3:] == [f"{NAME} {first.version}", "letters 1", "letters 1 is"]
    assert "\n  letters 1       a text of {'tuned': 1.88}" in done.stdout
    assert done.stderr.endswith("Next: minigpt registry promote models:/letters/1\n")
    done = CliRunner().invoke(app, ["compare", "1", "models:/letters/1", "--json"])
    assert json.loads(done.stdout)["second_name"] == "letters"
    done = CliRunner().invoke(app, ["compare", "models:/letters/1", "letters@1"])
    assert "are both letters 1" in done.stderr


def test_compare_lets_both_write_where_nothing_stored_is_shared(world, add):
    registry = world.registry
    versions = find_version(world.registry, "1"), add()
    comparison = compare(registry, *versions, prompts=["To be"])
    [pair] = comparison.samples
    assert pair.prompt == "To be"
    assert pair.first == pair.second != ""  # one model, one seed
