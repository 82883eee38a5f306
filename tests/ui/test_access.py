"""Links, keys, and who can use the page."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.patience import until
from tests.ui.conftest import KEY, Site
from tests.ui.driving import TABS, Visit, expect, go_to, says


def test_a_link_gives_what_was_set(site: Site, visit: Visit):
    page = visit(site.url)
    page.locator("#knob-temperature input[type=number]").fill("1.5")
    page.locator("#knob-seed input").fill("99")
    page.get_by_text("More settings").click()
    page.locator("#knob-stop textarea").fill("THE END\n\\n")
    go_to(page, "Tokens")
    page.locator("#tokens-prompt textarea").fill("My “fellow” & <citizens>\nof 2026")
    page.wait_for_url(re.compile("of.2026"))
    query = parse_qs(urlsplit(page.url).query)
    assert query == {
        "temperature": ["1.5"], "seed": ["99"], "stop": ["THE END\n\\n"], "tab": ["tokens"],
        "prompt": ["My “fellow” & <citizens>\nof 2026"],
    }  # fmt: skip
    other = visit(page.url)
    expect(other.locator("#tokens-prompt textarea")).to_have_value(query["prompt"][0])
    expect(other.locator("#tokens-prompt")).to_be_visible()
    expect(other.locator("#knob-temperature input[type=number]")).to_have_value("1.5")
    expect(other.locator("#knob-seed input")).to_have_value("99")
    other.click("#tokens-start")
    says(other, "tokens-status", "3 tokens")
    assert site.fake.bodies[-1]["stop"] == ["THE END", "\n"]
    assert other.url == page.url


def test_the_link_is_copied_and_that_is_said(site: Site, visit: Visit):
    page = visit(site.url + "?seed=4", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#write-prompt textarea").fill("x" * 5000)
    page.locator("#knob-max_tokens input").fill("12")
    page.click("#copy-link")
    says(page, "mg-copied", "Copied, without what is longer than 4000 characters: prompt.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert parse_qs(urlsplit(copied).query) == {"seed": ["4"], "max_tokens": ["12"]}


def test_an_address_with_what_is_no_setting_says_so(site: Site, visit: Visit):
    page = visit(site.url + "?temperature=hot&top_p=nan&seed=1.5&tab=attention&model=gone")
    says(page, "page-status", "temperature=hot, seed=1.5, top_p=nan")
    expect(page.locator("#knob-temperature input[type=number]")).to_have_value("0.8")
    expect(page.locator("#write-prompt")).to_be_visible()
    page.click("#write-start")
    says(page, "write-status", "model-a")


def test_the_key_goes_to_the_server_and_never_into_the_page(site: Site, visit: Visit):
    seen = []
    page = visit(site.url)
    page.on("response", lambda response: seen.append(response))
    page.reload()
    page.locator("body[data-ready=true]").wait_for()
    page.click("#write-start")
    says(page, "write-status", "3 tokens")
    assert site.fake.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in page.content()
    assert KEY not in json.dumps(page.evaluate("window.gradio_config"))


def test_the_keyboard_alone_writes_a_text(site: Site, visit: Visit):
    page = visit(site.url)
    page.locator("#write-prompt textarea").focus()
    page.keyboard.type("By hand")
    page.keyboard.press("Tab")
    expect(page.locator("#write-start")).to_be_focused()
    page.keyboard.press("Enter")
    says(page, "write-status", "3 tokens")
    page.locator("#write-prompt textarea").focus()
    page.keyboard.press("Shift+Enter")
    until(lambda: len(site.fake.bodies) == 2)


def serious(page: Any, axe: str) -> list[str]:
    """What axe-core calls serious or worse."""
    page.evaluate(axe)
    return [
        f"{found['id']}: {node['html']}"
        for found in page.evaluate("axe.run()")["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_everybody_can_use_it(site: Site, visit: Visit, axe: str, look: str):
    options = {"light": {}, "dark": {"color_scheme": "dark"}}.get(
        look, {"viewport": {"width": 390, "height": 844}}
    )
    page = visit(site.url, **options)
    assert page.locator("body.dark").count() == (look == "dark")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in re.findall(r"\d+", background)[:3]) < 150) == (look == "dark")
    page.get_by_text("More settings").click()
    site.fake.script = ["Some ", "long" * 40, " text\n"] * 20
    for tab in TABS:
        go_to(page, tab)
        name = tab.lower()
        if tab == "Chat":
            page.locator("#chat-message textarea").fill("Hello " * 50)
        page.click(f"#{name}-send" if tab == "Chat" else f"#{name}-start")
        says(page, "compare-right-status" if tab == "Compare" else f"{name}-status", "60 tokens")
        assert not serious(page, axe)
        wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window
