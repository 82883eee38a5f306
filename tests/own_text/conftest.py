import pytest

from tests.letters import letters_in, project_in


@pytest.fixture
def root(tmp_path):
    """A project with the presets of this checkout."""
    return project_in(tmp_path)


@pytest.fixture
def letters(tmp_path):
    """Twenty letters at home."""
    return letters_in(tmp_path)
