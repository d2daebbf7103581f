"""The page as its readers see it: a real browser, a real server, a tiny real model."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from mien.base.model import Base
from mien.errors import BusyError, ModelError
from mien.serve.catalogue import Catalogue
from mien.serve.experiments import arms, start, stop
from mien.serve.gateway import Gateway
from mien.serve.keys import Key, Keys
from mien.serve.server import Server
from mien.workspace import Workspace
from tests.serve.gateways import House, expected, wait_for
from tests.serve.page.browsers import Reader
from tests.serve.page.told import Told
from tests.serve.serving import held

MARKUP = '<script>document.title = "run"</script><img src=x onerror="document.title = 1">'


@contextmanager
def telling(base: Base, shop: Workspace, told: Told, **options: object) -> Iterator[tuple[Gateway, str]]:
    """A real server whose replies are told to it, and its address."""
    gateway = Gateway(told, Catalogue(base.files, shop), **options)  # type: ignore[arg-type]
    server = Server(gateway, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield gateway, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def holding(house: House) -> Iterator[None]:
    """Let nobody have a token until the end."""
    gate, _ = held(house.engine)
    try:
        yield
    finally:
        gate.opened.set()


def test_one_question_is_answered_by_two_personas_at_once(
    reader: Reader, house: House, base: Base
) -> None:
    page = reader.open("witty", "calm")
    expect(page.locator("#personas h3")).to_have_text(["Dry and witty", "Calm and grounding"])
    with holding(house):
        witty, calm = reader.ask("the wind")
        expect(page.get_by_text("Waiting for its turn")).to_have_count(2)
        wait_for(lambda: house.engine.figures().waiting == 2)
    for card, adapter in ((witty, "poet"), (calm, "clerk")):
        reader.until(card, "done")
        text = card.locator(".text").inner_text()
        assert text.split() == expected(base, adapter, "the wind").split()
        expect(card.locator(".figures")).to_contain_text("to first token")
        expect(card.locator(".figures")).to_contain_text("tokens/s")
        expect(card.locator(".figures")).to_contain_text(re.compile(r"8\s+tokens"))
    assert all(request.url.startswith(house.url) for request in reader.asked) and not reader.errors


@pytest.mark.slow
def test_each_goes_on_with_a_talk_of_its_own(reader: Reader) -> None:
    reader.open("witty", "calm:prompt")
    first = reader.ask("the wind")
    for card in first:
        reader.until(card, "done")
    said = [card.locator(".text").inner_text() for card in first]
    for card in reader.ask("and the ship?"):
        reader.until(card, "done")
    asked = {body["model"]: body["messages"] for body in reader.sent[2:]}
    assert set(asked) == {"witty", "calm:prompt"}
    for messages, text in zip((asked["witty"], asked["calm:prompt"]), said, strict=True):
        assert [each["role"] for each in messages] == ["user", "assistant", "user"]
        assert messages[1]["content"].split() == text.split()


def test_stop_ends_a_reply_where_it_is(reader: Reader, house: House) -> None:
    page = reader.open("witty", "base")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Longest reply").fill("900")
    cards = reader.ask("the wind")
    reader.until(cards[0], "answering")
    page.get_by_role("button", name="Stop").last.click()
    for card in cards:
        reader.until(card, "stopped")
        expect(card.get_by_text("Stopped.")).to_be_visible()
    house.until_idle()
    expect(page.locator("#send")).to_have_text("Ask")
    assert not reader.errors


@pytest.mark.slow
def test_a_reply_can_be_asked_for_again(reader: Reader) -> None:
    page = reader.open("calm")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Temperature").fill("2")
    page.get_by_label("Seed").fill("7")
    card = reader.ask("the wind")[0]
    reader.until(card, "done")
    before = card.locator(".text").inner_text()
    with page.expect_request("**/chat/completions") as sent:
        card.get_by_role("button", name="Again").click()
    assert sent.value.post_data_json["seed"] == 8
    reader.until(card, "done")
    assert card.locator(".text").inner_text() != before


@pytest.mark.slow
def test_a_reply_is_copied_as_the_request_that_it_answers(reader: Reader, house: House) -> None:
    reader.open("calm")
    card = reader.ask("What's the wind?")[0]
    reader.until(card, "done")
    command = reader.copied(card.get_by_role("button", name="curl"))
    _, url, _, header, _, body = shlex.split(command.replace("\\\n", ""))
    name, _, value = header.partition(": ")
    reply = httpx2.post(url, content=body, headers={name: value}, trust_env=False).json()
    text = card.locator(".text").inner_text()
    assert reply["choices"][0]["message"]["content"].split() == text.split()


def test_what_a_model_says_is_only_ever_text(browser: Browser, base: Base, shop: Workspace) -> None:
    told = Told("First.\n\n", MARKUP, " **bold** &amp;")
    with telling(base, shop, told) as (_, url):
        reader = Reader(browser, url)
        page = reader.open("base")
        card = reader.ask(MARKUP)[0]
        reader.until(card, "done")
        assert card.locator(".text p").all_inner_texts() == ["First.", f"{MARKUP} **bold** &amp;"]
        expect(page.locator(".asked")).to_have_text(MARKUP)
        assert page.locator(".round img, .round script, .round b:not(.figures b)").count() == 0
        assert page.title().startswith("mien") and not reader.errors
        reader.close()


def test_a_busy_server_is_said_to_be_busy_and_asked_again(
    browser: Browser, base: Base, shop: Workspace
) -> None:
    told = Told(BusyError("Too many wait.", kind="overload", wait=60))
    with telling(base, shop, told) as (_, url):
        reader = Reader(browser, url)
        reader.page.clock.install()
        page = reader.open("base")
        card = reader.ask("hello")[0]
        reader.until(card, "failed")
        expect(card.get_by_text("Too many wait.")).to_be_visible()
        expect(page.locator("#notice")).to_have_text(
            re.compile(r"The server is busy: ask again in \d+ s\.")
        )
        retry = card.get_by_role("button", name="Ask again")
        expect(retry).to_be_disabled()
        told.says = ("Here.",)
        page.clock.fast_forward(61_000)
        retry.click()
        reader.until(card, "done")
        expect(card.locator(".text")).to_have_text("Here.")
        expect(page.locator("#notice")).to_be_empty()
        reader.close()


@pytest.mark.slow
def test_a_reply_that_fails_on_the_way_keeps_what_was_said(
    browser: Browser, base: Base, shop: Workspace
) -> None:
    told = Told("So far.", ModelError("The engine has stopped.", fix=""))
    with telling(base, shop, told) as (_, url):
        reader = Reader(browser, url)
        reader.open("base")
        card = reader.ask("hello")[0]
        reader.until(card, "failed")
        expect(card.locator(".text")).to_have_text("So far.")
        expect(card.locator(".failed")).to_have_text("The model does not answer now.")
        told.says = ("So far.", RuntimeError("and then the connection breaks"))
        card.get_by_role("button", name="Ask again").click()
        expect(card.locator(".failed")).to_have_text("The connection broke off.")
        reader.close()


@pytest.mark.slow
def test_a_server_that_stops_is_waited_for(browser: Browser, base: Base, shop: Workspace) -> None:
    with telling(base, shop, Told("Here.")) as (gateway, url):
        reader = Reader(browser, url)
        page = reader.open("base")
        expect(page.get_by_label("Your question")).to_be_visible()
        gateway.door.inflight += 1  # somebody else's, who is still being answered
        gateway.drain()
        reader.ask("hello")
        expect(page.locator("#notice")).to_contain_text("The server is stopping")
        gateway.door.draining = False
        gateway.door.inflight -= 1
        expect(page.locator("#notice")).to_be_empty()
        reader.close()


@pytest.mark.slow
def test_a_server_that_wants_a_key_is_given_one(
    browser: Browser, base: Base, shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "open sesame")
    keys = Keys([Key(name="me", env="THE_KEY")])
    with telling(base, shop, Told("Here."), keys=keys) as (_, url):
        reader = Reader(browser, url)
        page = reader.open("base")
        field = page.get_by_label("This server asks for a key.")
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That key is not known here.")).to_be_visible()
        field.fill("open sesame")
        page.get_by_role("button", name="Come in").click()
        card = reader.ask("hello")[0]
        reader.until(card, "done")
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        command = reader.copied(card.get_by_role("button", name="curl"))
        assert "$MIEN_KEY" in command and "sesame" not in command
        page.reload()
        expect(page.get_by_label("Your question")).to_be_visible()
        reader.close()


def test_at_most_four_are_chosen_and_versions_by_their_name(reader: Reader) -> None:
    page = reader.open("base")
    page.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    for name in ("Dry and witty, trained", "Dry and witty, prompt"):
        dialog.get_by_label(name, exact=True).check()
    field = dialog.get_by_label("Somebody else")
    field.fill("nobody")
    field.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("There is no model 'nobody'")
    field.fill("witty@witty-1")
    field.press("Enter")
    expect(dialog.get_by_text("4 of 4")).to_be_visible()
    expect(dialog.get_by_label("Calm and grounding, trained")).to_be_disabled()
    dialog.get_by_role("button", name="Done").click()
    expect(page.locator("#personas .card")).to_have_count(4)
    page.reload()
    expect(page.locator("#personas .card")).to_have_count(4)
    expect(page.get_by_text("witty@witty-1", exact=True).first).to_be_visible()


@pytest.fixture
def experiment(house: House, shop: Workspace) -> Iterator[str]:
    """The name of one that is running."""
    start(shop, "tone", arms("witty:1,calm:1"))
    house.gateway.trials.refresh()
    yield "tone"
    stop(shop, "tone")
    house.gateway.trials.refresh()


@pytest.mark.slow
def test_a_thumb_is_asked_for_where_it_is_counted(reader: Reader, experiment: str) -> None:
    page = reader.open(experiment, "witty")
    tried, witty = reader.ask("the wind")
    for card in (tried, witty):
        reader.until(card, "done")
    expect(witty.locator("[data-part=up]")).to_be_hidden()
    thumb = tried.get_by_role("button", name="Good reply")
    with page.expect_response("**/v1/feedback") as told:
        thumb.click()
    assert told.value.status == 200 and told.value.json()["kind"] == "thumb_up"
    expect(thumb).to_have_attribute("aria-pressed", "true")
    with page.expect_response("**/v1/feedback") as told:
        tried.get_by_role("button", name="Again").click()
    assert told.value.status == 200 and told.value.json()["kind"] == "regenerate"


def test_nothing_is_wider_than_a_phone(browser: Browser, base: Base, shop: Workspace) -> None:
    with telling(base, shop, Told("Donaudampfschiff" * 20, " or not.")) as (_, url):
        reader = Reader(browser, url, 320, 640)
        page = reader.open("witty", "calm", "witty:prompt", "base")
        expect(page.get_by_label("Your question")).to_be_visible()
        assert reader.sideways() == 0
        for summary in page.locator("summary:visible").all():
            summary.click()
        assert reader.sideways() == 0
        page.get_by_role("button", name="Voices").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert reader.sideways() == 0
        page.keyboard.press("Escape")
        for card in reader.ask("Rindfleischetikettierung" * 9):
            reader.until(card, "done")
        assert reader.sideways() == 0
        reader.close()


@pytest.mark.slow
def test_shift_enter_breaks_the_line_and_escape_stops(reader: Reader, house: House) -> None:
    page = reader.open("base")
    question = page.get_by_label("Your question")
    question.press_sequentially("the wind")
    question.press("Shift+Enter")
    question.press_sequentially("the ship")
    with holding(house):
        question.press("Enter")
        expect(page.locator(".asked")).to_have_text("the wind\nthe ship", use_inner_text=True)
        page.keyboard.press("Escape")
        reader.until(page.locator(".reply-card"), "stopped")
