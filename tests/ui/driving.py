"""What the tests of the page do in a browser."""

from collections.abc import Callable
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
TABS = ("Write", "Chat", "Compare", "Tokens")
Visit = Callable[..., Any]
NASTY = """<img src=x onerror="window.ran = 1"><script>window.ran = 2</script></div>
{{#each value}}{{this}}{{/each}} ${window.ran = 3} `${window.ran = 4}` **bold** &lt; [a](b)"""


def go_to(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    page.locator(f"#tab-{tab.lower()}").wait_for()


def text_of(page: Any, name: str) -> str:
    return str(page.locator(f"#{name}").inner_text())


def says(page: Any, name: str, words: str) -> None:
    expect(page.locator(f"#{name}")).to_contain_text(words)
