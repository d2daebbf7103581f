"""A real browser, where this machine has one, and the page in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.serve.gateways import wait_for

VARIABLE = "MIEN_BROWSER"
SLOWEST = 60_000  # milliseconds that a step may take on a busy machine
_ALLOWED = ["clipboard-read", "clipboard-write"]
_CLIPBOARD = "navigator.clipboard.readText()"
_WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def installed() -> str:
    """The path of a browser of Chromium's family; the test is skipped where there is none."""
    found = os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, _NAMES)), None)
    if not found and not _MAC.exists():
        pytest.skip(f"no Chromium here: install one, or let {VARIABLE} name one")
    return found or str(_MAC)


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window."""
    path = installed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, timeout=SLOWEST)
        yield browser
        browser.close()


class Reader:
    """Somebody at the page.

    Attributes:
        page: In a tab of its own.
        asked: What the page asked for.
        errors: What the browser complained of.
    """

    def __init__(self, browser: Browser, url: str, width: int = 1280, height: int = 800) -> None:
        size = {"width": width, "height": height}
        context = browser.new_context(viewport=size, permissions=_ALLOWED)  # type: ignore[arg-type]
        context.set_default_timeout(SLOWEST)
        self.url, self.page = url, context.new_page()
        self.asked: list[Request] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request))  # noqa: PLW0108
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    @property
    def sent(self) -> list[Any]:
        """What the page posted."""
        return [request.post_data_json for request in self.asked if request.post_data]

    def open(self, *voices: str) -> Page:
        """The page, with these voices; none named: as it comes."""
        self.page.goto(f"{self.url}/#voices={','.join(voices)}" if voices else self.url)
        return self.page

    def ask(self, question: str) -> list[Locator]:
        """Type a question and press Enter; the cards of its replies."""
        self.page.get_by_label("Your question").fill(question)
        self.page.keyboard.press("Enter")
        return self.page.locator(".round").last.locator(".reply-card").all()

    def until(self, card: Locator, state: str) -> None:
        """Wait until a reply is done, stopped, failed, waiting or answering."""
        expect(card).to_have_attribute("data-state", state)

    def copied(self, button: Locator) -> str:
        """What a button puts on the clipboard."""
        self.page.evaluate("navigator.clipboard.writeText('')")
        button.click()
        wait_for(lambda: bool(self.page.evaluate(_CLIPBOARD)), SLOWEST / 1000)
        return str(self.page.evaluate(_CLIPBOARD))

    def sideways(self) -> int:
        """Pixels by which the page is wider than its window."""
        wide: int = self.page.evaluate(_WIDER)
        return wide

    def close(self) -> None:
        self.page.context.close()
