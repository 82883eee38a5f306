"""What tests of promotion and rollback ask of a checkout."""

from minigpt.registry.config import GateConfig
from minigpt.registry.refs import find_version
from minigpt.registry.versions import TAKEN_DOWN
from tests.registry.logs import whole_log

NAME = "minigpt-test"
GATE = GateConfig()


def champion(checkout):
    return find_version(checkout.registry, "champion").version


def history(checkout):
    """(kind, version, champion before) of every event, from a log whose chain holds."""
    events = whole_log(checkout.registry)
    return [(event.kind, event.version, event.before) for event in events]


def take_down(checkout, number):
    about = '{"documents": ["5f1c"], "reason": "its author asked", "at": "2026-11-24T10:00:00"}'
    client = checkout.registry.store.client
    client.set_model_version_tag(NAME, number, TAKEN_DOWN, about)
