"""Write docs/images/page-*.png: the page of `minigpt serve --ui`, in a headless Chromium.

    PYTHONPATH=. .venv/bin/python docs/make_page_screenshots.py   # of this checkout, as it is built

Needs what docs/make_screenshots.py needs, and Playwright, which the tests bring.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from make_screenshots import FLAGS, HERE, IMAGES, find_chromium, write
from playwright.sync_api import Page, expect, sync_playwright

from minigpt.process import quiet_environment

WAIT_SECONDS = 240
WIDE = {"width": 1200, "height": 820}
PHONE = {"width": 390, "height": 844}
PROMPT = "prompt=My+fellow+citizens"


def fill_write(page: Page) -> None:
    """A text."""
    page.click("#write-start")
    ended(page, "write")


def fill_chat(page: Page) -> None:
    """A conversation."""
    message = page.get_by_label("Message")
    for turn in ("To be, or not to be", "What says the king?"):
        message.fill(turn)
        message.press("Enter")
        expect(page.locator("#chat-output")).to_contain_text(turn)
        ended(page, "chat")


def fill_compare(page: Page) -> None:
    """Two texts."""
    page.click("#compare-start")
    for side in ("left", "right"):
        ended(page, f"compare-{side}")


def fill_tokens(page: Page) -> None:
    """A text whose tokens can be looked at, and one that is."""
    page.click("#tokens-start")
    ended(page, "tokens")
    page.locator("#tokens-output [role=option]").nth(16).focus()
    expect(page.locator("#mg-panel li").first).to_be_visible()


def ended(page: Page, name: str) -> None:
    """Wait until the text is whole."""
    expect(page.locator(f"#{name}-status")).to_contain_text("tokens a second")


SHOTS: tuple[tuple[str, str, Callable[[Page], None], dict[str, Any]], ...] = (
    ("page-write", PROMPT, fill_write, {"viewport": WIDE}),
    ("page-chat", "tab=chat&max_tokens=60", fill_chat, {"viewport": WIDE}),
    ("page-compare", f"tab=compare&{PROMPT}&max_tokens=80", fill_compare, {"viewport": WIDE}),
    ("page-tokens", f"tab=tokens&{PROMPT}&max_tokens=90", fill_tokens, {"viewport": WIDE}),
    (
        "page-dark", f"tab=tokens&{PROMPT}&max_tokens=90", fill_tokens,
        {"viewport": WIDE, "color_scheme": "dark"},
    ),
    ("page-phone", f"{PROMPT}&max_tokens=60", fill_write, {"viewport": PHONE, "has_touch": True}),
)  # fmt: skip
"""Name, address, what is done there, and in what window."""


def main() -> int:
    """Serve, open every tab, and write its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=HERE.parent, help="a checkout that is built")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    quiet_environment()
    chromium = find_chromium()
    expect.set_options(timeout=1000 * WAIT_SECONDS)
    flags = [flag for flag in FLAGS if not flag.startswith("--remote")]
    options.out.mkdir(parents=True, exist_ok=True)
    with serving(options.root) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for name, query, fill, window in SHOTS:
            page = browser.new_context(reduced_motion="reduce", **window).new_page()
            page.goto(f"{url}/ui/?{query}")
            page.locator("body[data-ready=true]").wait_for(timeout=1000 * WAIT_SECONDS)
            fill(page)
            path = options.out / f"{name}.png"
            write(path, page.screenshot())
            sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")
            page.context.close()
        browser.close()
    return 0


@contextlib.contextmanager
def serving(root: Path) -> Iterator[str]:
    """Where champion and the base model are served, with the page."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minigpt.cli.main", "serve", "--also", "models/base", "--ui",
         "--port", "0"],
        cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        said = ""
        for line in process.stdout or ():
            said += line
            if line.startswith("ready"):
                break
        address = re.search(r"page +(http\S+)", said)
        if address is None:
            raise SystemExit(f"minigpt serve does not start: {said}")
        yield address[1]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
