"""What is found does not end with a page: every search is asked until its last one."""

import pytest
from mlflow import MlflowClient

from minigpt.registry.config import GateConfig
from minigpt.registry.promotion import audit_log
from minigpt.registry.promotion import promote as promotions
from minigpt.registry.promotion.promote import promote
from minigpt.registry.versions import champion_of, list_everything, list_versions, names_in
from minigpt.tracking.mlflow_tracker import create_run, end_abandoned
from minigpt.tracking.paging import every_page
from minigpt.tracking.reader import Reader
from tests.registry.logs import whole_log

NAME = "minigpt-test"
SEARCHES = ("search_model_versions", "search_registered_models", "search_runs")


@pytest.fixture(params=["the tables", "MLflow"])
def two_a_page(request, changed, monkeypatch):
    """A registry whose store answers with two entries a page, whatever is asked."""
    if request.param == "MLflow":
        monkeypatch.setattr(Reader, "knows", lambda self: False)
    for asked in (Reader, MlflowClient):
        for name in SEARCHES:
            search = getattr(asked, name)

            def small(self, *arguments, _search=search, **options):
                return _search(self, *arguments, **(options | {"max_results": 2}))

            monkeypatch.setattr(asked, name, small)
    return changed


def test_versions_and_names_do_not_end_with_a_page(two_a_page, add_version):
    for n in range(4):
        add_version(1.7 - n / 100)
        add_version(1.5, name=f"other-{n}")
    registry = two_a_page.registry
    assert [v.version for v in list_versions(registry)] == ["1", "2", "3", "4", "5"]
    others = [f"other-{n}" for n in range(4)]
    assert names_in(registry) == [NAME, *others]
    assert list_everything(registry) == {
        name: list_versions(registry, name) for name in (NAME, *others)
    }


def test_the_gate_holds_a_version_against_the_champion_of_an_earlier_page(
    two_a_page, add_version, monkeypatch
):
    registry = two_a_page.registry
    judged_against = []

    def decide(registry, challenger, champion, gate):
        judged_against.append(champion and champion.version)
        return ()

    monkeypatch.setattr(promotions, "decide", decide)
    promote(registry, "1", GateConfig())
    for n in range(4):
        add_version(1.7 - n / 100)
    promote(registry, "5", GateConfig())
    assert judged_against == [None, "1"]
    assert champion_of(registry).version == "5"


def test_champion_is_asked_for_by_its_alias_not_looked_for(changed, add_version, monkeypatch):
    registry = changed.registry
    registry.store.client.set_registered_model_alias(NAME, "champion", "1")
    for asked in (Reader, MlflowClient):
        monkeypatch.setattr(asked, "search_model_versions", None)
    assert champion_of(registry).version == "1"


def test_the_log_and_abandoned_runs_do_not_end_with_a_page(two_a_page, monkeypatch):
    registry = two_a_page.registry
    for n in range(5):
        version = champion_of(registry)
        audit_log.append(registry, NAME, "refused", version=version, reason=str(n))
    assert [event.reason for event in whole_log(registry)] == ["0", "1", "2", "3", "4"]
    monkeypatch.setattr("minigpt.tracking.mlflow_tracker.has_died", lambda owner: True)
    for n in range(5):
        create_run(registry.store, str(n), {})
    end_abandoned(registry.store)
    running = every_page(
        registry.store.client.search_runs,
        [registry.store.experiment_id],
        "attributes.status = 'RUNNING'",
    )
    assert list(running) == []
