"""The tab "Chat" in a browser."""

from tests.patience import until
from tests.ui.conftest import Site
from tests.ui.driving import Visit, expect, go_to, says


def test_a_chat_has_turns_and_retry_takes_the_last_one_back(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Chat")
    page.get_by_text("System text").first.click()
    page.locator("#chat-system textarea").fill("Be brief.")
    site.fake.script = ["SEED"]
    message = page.locator("#chat-message textarea")
    for words in ("First", "Second"):
        message.fill(words)
        message.press("Enter")
        says(page, "chat-output", words)
        says(page, "chat-status", "1 token")
        expect(message).to_have_value("")
    assert [turn["content"] for turn in site.fake.bodies[-1]["messages"]] == [
        "Be brief.", "First", "seed 0", "Second",
    ]  # fmt: skip
    page.click("#chat-retry")
    says(page, "chat-output", "seed 1")
    says(page, "chat-status", "1 token")
    words = page.locator("#chat-output .mg-words").all_inner_texts()
    assert words == ["First", "seed 0", "Second", "seed 1"]
    page.click("#chat-clear")
    expect(page.locator("#chat-output .mg-words")).to_have_count(0)


def test_a_chat_that_is_stopped_goes_on_from_what_was_said(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Chat")
    message = page.locator("#chat-message textarea")
    site.fake.gate = True
    message.fill("First")
    page.click("#chat-send")
    says(page, "chat-output", "One")
    page.click("#chat-stop")
    says(page, "chat-status", "stopped")
    site.fake.gate = False
    message.fill("Second")
    page.click("#chat-send")
    says(page, "chat-status", "3 tokens")
    assert [turn["content"] for turn in site.fake.bodies[-1]["messages"]] == [
        "First", "One", "Second",
    ]  # fmt: skip


def test_retry_while_an_answer_comes_replaces_it(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Chat")
    site.fake.gate = True
    page.locator("#chat-message textarea").fill("First")
    page.click("#chat-send")
    says(page, "chat-output", "One")
    site.fake.gate, site.fake.script = False, ["Other"]
    page.click("#chat-retry")
    says(page, "chat-status", "1 token")
    assert page.locator("#chat-output .mg-words").all_inner_texts() == ["First", "Other"]
    assert [turn["content"] for turn in site.fake.bodies[-1]["messages"]] == ["First"]


def test_many_stops_and_retries_leave_one_answer(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Chat")
    page.locator("#chat-message textarea").fill("First")
    site.fake.gate = True
    page.click("#chat-send")
    for _ in range(5):
        page.click("#chat-retry")
        page.click("#chat-stop")
        page.click("#chat-retry")
    site.fake.gate, site.fake.script = False, ["Last"]
    until(lambda: len(site.fake.bodies) > 1)
    page.click("#chat-retry")
    says(page, "chat-output", "Last")
    says(page, "chat-status", "1 token")
    assert page.locator("#chat-output .mg-words").all_inner_texts() == ["First", "Last"]


def test_nothing_said_is_told(site: Site, visit: Visit):
    page = visit(site.url)
    go_to(page, "Chat")
    page.click("#chat-send")
    says(page, "chat-status", "Say something first.")
    page.click("#chat-retry")
    says(page, "chat-status", "Say something first.")
    assert not site.fake.bodies
