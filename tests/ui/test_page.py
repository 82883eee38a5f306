"""The page in a browser, on a server whose text the test decides."""

import re

import pytest

from tests.patience import until
from tests.ui.conftest import Site
from tests.ui.driving import NASTY, TABS, Visit, expect, go_to, says, text_of


def test_a_text_comes_while_it_is_written_and_stop_ends_it(site: Site, visit: Visit):
    page = visit(site.url)
    site.fake.gate = True
    page.get_by_label("Prompt").first.fill("Begin:")
    page.click("#write-start")
    says(page, "write-output", "Begin:One")
    says(page, "write-status", "writing")
    page.click("#write-stop")
    says(page, "write-status", "stopped")
    says(page, "write-status", "3 characters")
    assert text_of(page, "write-output").strip() == "Begin:One"
    until(lambda: site.fake.left == 1)  # the server may stop, too


def test_a_stop_right_behind_the_start_stops_it(site: Site, visit: Visit):
    page = visit(site.url)
    site.fake.gate = True
    for _ in range(5):
        page.evaluate(
            "for (const b of ['start', 'stop']) document.getElementById(`write-${b}`).click()"
        )
        says(page, "write-status", "stopped")
        page.evaluate("document.querySelector('#write-status .mg-status').textContent = ''")


def test_the_whole_text_ends_with_tokens_speed_reason_and_model(site: Site, visit: Visit):
    page = visit(site.url)
    page.click("#write-start")
    says(page, "write-status", "3 tokens in")
    says(page, "write-status", "tokens a second · most tokens reached · model-a")
    assert text_of(page, "write-output").strip() == "One two three"


def test_a_new_start_ends_the_text_before(site: Site, visit: Visit):
    page = visit(site.url)
    site.fake.gate = True
    page.click("#write-start")
    says(page, "write-output", "One")
    site.fake.gate, site.fake.script = False, ["Two"]
    page.click("#write-start")
    says(page, "write-status", "1 token in")
    assert text_of(page, "write-output").strip() == "Two"
    assert site.fake.left == 1


def test_another_seed_writes_with_the_next_one_and_the_address_says_so(site: Site, visit: Visit):
    page = visit(site.url + "?seed=41")
    page.click("#write-again")
    says(page, "write-status", "3 tokens")
    assert site.fake.bodies[-1]["seed"] == 42
    page.wait_for_url(re.compile("seed=42"))


def test_a_text_that_grows_is_followed_until_its_reader_goes_up(site: Site, visit: Visit):
    page = visit(site.url)
    box = page.locator("#write-output .mg-text")

    def height() -> int:
        return int(box.evaluate("e => e.scrollHeight"))

    site.fake.script, site.fake.pause = ["a line\n"] * 1_000_000, 0.01
    page.click("#write-start")
    until(lambda: height() > 1500)
    assert box.evaluate("e => e.scrollTop") > 0
    box.evaluate("e => { e.scrollTop = 10 }")
    seen = height()
    until(lambda: height() > seen + 500)
    assert box.evaluate("e => e.scrollTop") == 10
    page.click("#write-start")
    until(lambda: height() < seen)
    until(lambda: box.evaluate("e => e.scrollTop") > 10)
    page.click("#write-stop")
    says(page, "write-status", "stopped")


def test_a_refusal_is_told_and_the_next_text_comes(site: Site, visit: Visit):
    page = visit(site.url)
    site.fake.refusal = "temperature: too hot"
    page.click("#write-start")
    says(page, "write-status", "temperature: too hot")
    site.fake.refusal = None
    page.click("#write-start")
    says(page, "write-status", "3 tokens")


def test_every_knob_reaches_the_server(site: Site, visit: Visit):
    query = (
        "?temperature=1.25&max_tokens=7&seed=3&top_k=0&top_p=0.5&min_p=0.1&typical_p=0.9"
        "&repetition_penalty=1.1&frequency_penalty=-0.5&presence_penalty=0.25"
        "&stop=END%0A%5Cn%5Cn&prompt=Hi&model=model-b"
    )
    page = visit(site.url + query)
    page.click("#write-start")
    says(page, "write-status", "3 tokens")
    body = site.fake.bodies[-1]
    wanted = {
        "temperature": 1.25, "max_tokens": 7, "seed": 3, "top_k": None, "top_p": 0.5,
        "min_p": 0.1, "typical_p": 0.9, "repetition_penalty": 1.1, "frequency_penalty": -0.5,
        "presence_penalty": 0.25, "stop": ["END", "\n\n"], "prompt": "Hi", "model": "model-b",
    }  # fmt: skip
    assert {name: body[name] for name in wanted} == wanted


def test_two_people_stream_at_once(site: Site, visit: Visit):
    site.fake.gate = True
    pages = [visit(site.url) for _ in range(3)]
    for page in pages:
        page.click("#write-start")
    for page in pages:
        says(page, "write-output", "One")
    pages[0].click("#write-stop")
    says(pages[0], "write-status", "stopped")
    assert "stopped" not in text_of(pages[1], "write-status")


def test_a_visitor_who_leaves_ends_his_text(site: Site, visit: Visit):
    page = visit(site.url)
    site.fake.script, site.fake.pause = ["word "] * 1_000_000, 0.01
    page.click("#write-start")
    says(page, "write-output", "word")
    page.close()
    until(lambda: site.fake.left == 1)


def test_two_models_write_side_by_side_with_one_prompt_and_seed(site: Site, visit: Visit):
    page = visit(site.url + "?seed=5")
    go_to(page, "Compare")
    site.fake.script = ["NAME"]
    page.locator("#compare-prompt textarea").fill("Same")
    page.click("#compare-start")
    for side, model in (("left", "model-a"), ("right", "model-b")):
        says(page, f"compare-{side}-status", "1 token")
        assert text_of(page, f"compare-{side}-output").strip() == f"Same{model} 5"
    assert {body["prompt"] for body in site.fake.bodies} == {"Same"}


def test_tokens_show_what_else_was_likely_by_mouse_and_by_keyboard(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Tokens")
    page.click("#tokens-start")
    says(page, "tokens-status", "3 tokens")
    tokens = page.locator("#tokens-output [role=option]")
    expect(tokens).to_have_count(3)
    tokens.nth(1).hover()
    says(page, "mg-panel", "␣two · 50 %")
    says(page, "mg-panel", "<b>bold</b>")
    page.locator("#tokens-stop").focus()
    page.keyboard.press("Tab")
    expect(tokens.nth(0)).to_be_focused()
    says(page, "mg-panel", "One · 50 %")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    expect(tokens.nth(1)).to_be_focused()
    expect(tokens.nth(1)).to_have_attribute("aria-selected", "true")
    says(page, "mg-panel", "␣two · 50 %")
    says(page, "mg-panel", "14 %")


@pytest.mark.parametrize("tab", TABS)
def test_text_of_a_model_is_text(site: Site, visit: Visit, tab: str):
    page = visit(site.url)
    go_to(page, tab)
    site.fake.script = [NASTY]
    page.locator(f"#tab-{tab.lower()} textarea").first.fill("<b>prompt</b> ${1} {{this}}")
    name = tab.lower()
    page.click(f"#{name}-send" if tab == "Chat" else f"#{name}-start")
    status, output = (f"{name}-left", f"{name}-left-output") if tab == "Compare" else (name, name)
    says(page, f"{status}-status", "1 token")
    output = output if tab == "Compare" else f"{name}-output"
    shown = page.locator(f"#{output} .mg-text").evaluate("e => e.textContent").replace("⏎", "\n")
    assert "<b>prompt</b> ${1} {{this}}" in shown
    assert NASTY in shown
    if tab == "Tokens":
        page.locator("#tokens-output [role=option]").hover()
        says(page, "mg-panel", "<img")
    assert page.locator("gradio-app :is(img, b)[src=x], gradio-app b").count() == 0
    assert page.evaluate("window.ran === undefined")
