"""The log of a name, for tests that read one."""

from minigpt.registry.promotion.audit_log import read_all


def whole_log(registry, name="minigpt-test"):
    """Its events, oldest first; none of them was changed or is missing."""
    events, problems = read_all(registry, name)
    assert problems == []
    return events
