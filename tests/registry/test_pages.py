"""What MLflow's pages of models and versions show, by what its client answers."""

import shutil
from dataclasses import dataclass

import pytest

from minigpt.digest import digest
from minigpt.files import write_json
from minigpt.registry.register import register
from minigpt.registry.versions import list_versions
from minigpt.tracking import open_journal
from minigpt.tracking.relocate import relocate
from tests.registry.checkout import NAME, Checkout
from tests.registry.story import ran, tell

BASE, TUNED = f"{NAME}-base", NAME


@dataclass(frozen=True)
class Pages:
    """Version 1, of no known runs; 2, whose base the run `first` made; 3, of the same base."""

    checkout: Checkout
    first: str
    again: str
    pipeline: str

    @property
    def client(self):
        return self.checkout.registry.store.client.mlflow

    @property
    def versions(self):
        return list_versions(self.checkout.registry)

    def models(self, name):
        """The logged models of a name, oldest first."""
        found = self.client.search_logged_models([self.checkout.registry.store.experiment_id])
        found = sorted(found, key=lambda model: model.creation_timestamp)
        return [model for model in found if model.name == name]

    def made_by(self, run):
        return [output.model_id for output in self.client.get_run(run).outputs.model_outputs]


@pytest.fixture(scope="module")
def pages(registered, tmp_path_factory):
    root = tmp_path_factory.mktemp("pages") / "a checkout"
    shutil.copytree(registered.root, root)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MINIGPT_PARENT_RUN"):
            patch.delenv(name, raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        # DVC did not write its dvc.lock: nothing was built from the code that it names.
        patch.setattr("minigpt.registry.register.refuse_other_inputs", lambda root: None)
        relocate(root)
        checkout = Checkout(root)
        (root / "models" / "base" / "another").touch()
        tell(root)
        write_json(root / "metrics" / "pretrain.json", {"val": {"bits_per_byte": 2.5}})
        [first] = ran(root, "pretrain").values()
        journal = open_journal(root, "pipeline")
        checkout.registry.store.client.update_run(first, name=f"pretrain · {NAME}")
        register(checkout.registry, journal.id)
        pipeline = checkout.registry.store.client.get_run(
            list_versions(checkout.registry)[-1].run_id
        ).data.tags["mlflow.parentRunId"]
        register(checkout.registry, journal.id)  # found, not made
        tell(root, leave_out="1862-09.txt")
        [again] = ran(root, "pretrain").values()
        register(checkout.registry)
        yield Pages(checkout, first, again, pipeline)


def test_each_version_has_a_model_and_versions_of_one_base_share_its(pages):
    assert len(pages.models(TUNED)) == len(pages.versions) == 3
    assert len(pages.models(BASE)) == 2
    assert {m.status for name in (TUNED, BASE) for m in pages.models(name)} == {"READY"}


def test_the_run_that_made_a_model_is_linked_to_it_both_ways(pages):
    base = pages.models(BASE)[-1]
    assert base.source_run_id == pages.first
    assert pages.made_by(pages.first) == pages.made_by(pages.again) == [base.model_id]


def test_where_no_run_of_a_stage_is_known_the_registration_made_the_model(pages):
    for model, version in zip(pages.models(TUNED), pages.versions, strict=True):
        assert model.source_run_id == version.run_id
        assert model.model_id in pages.made_by(version.run_id)
    version = pages.versions[0]
    assert pages.models(BASE)[0].source_run_id == version.run_id


def test_a_model_says_what_it_is_with_figures_of_its_own(pages):
    for model, name in ((pages.models(BASE)[-1], "base"), (pages.models(TUNED)[1], "finetuned")):
        figures = {metric.key: metric.value for metric in model.metrics}
        assert figures[f"evaluate/{name}/plays/bits_per_byte"] > 1
        assert {key.split("/")[1] for key in figures if key.startswith("evaluate")} == {name}
        assert model.params["seed"] == "0"
        assert "letters" in model.tags["mlflow.note.content"]
    base = pages.models(BASE)[-1]
    assert base.tags["minigpt.digest"] == digest(pages.checkout.root / "models/base")
    figures = {metric.key: metric.value for metric in base.metrics}
    assert figures["pretrain/val/bits_per_byte"] == 2.5


def test_a_figure_is_tied_to_the_text_it_is_of(pages):
    held = {
        m.key: (m.dataset_name, m.dataset_digest, m.run_id) for m in pages.models(TUNED)[1].metrics
    }
    run = pages.client.get_run(pages.versions[1].run_id)
    read = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
    assert set(read) == {"plays", "letters"}
    figure = held["evaluate/finetuned/plays/bits_per_byte"]
    assert figure == ("plays", read["plays"], run.info.run_id)


def test_the_runs_that_made_a_version_are_named_by_it(pages):
    names = {run: pages.client.get_run(run).info.run_name for run in (pages.first, pages.pipeline)}
    assert list(names.values()) == [f"pretrain · {NAME} 2", f"pipeline · {NAME} 2"]
    registered = [pages.client.get_run(v.run_id).info.run_name for v in pages.versions[1:]]
    assert registered == [f"register · {NAME} {number}" for number in (2, 3)]


def test_a_registration_says_who_ran_which_file_at_which_commit(pages):
    version = pages.versions[-1]
    tags = pages.client.get_run(version.run_id).data.tags
    assert tags["mlflow.source.git.commit"] == version.commit
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= set(tags)


def test_the_registered_model_says_what_it_is_and_keeps_a_persons_words(changed):
    client = changed.registry.store.client
    entry = client.get_registered_model(NAME)
    assert "fine-tuned on speeches" in entry.description
    assert (entry.tags["task"], entry.tags["library"]) == ("text-generation", "minigpt")
    client.update_registered_model(NAME, "ours")
    client.set_registered_model_tag(NAME, "task", "plays")
    changed.build(tuned=1.7)
    register(changed.registry)
    entry = client.get_registered_model(NAME)
    assert (entry.description, entry.tags["task"]) == ("ours", "plays")
