"""`mien chat`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rich.console import Console

from mien.chat import ScriptedModel
from mien.cli.chat import Conversation
from mien.decode.local import LocalChat
from mien.errors import InputError
from mien.schema import Message
from tests.cli.running import run
from tests.cli.test_train import SHORT
from tests.seams import SAMPLING, Seams


class Scripts:
    """Stands in for the cast: a script per name."""

    def __init__(self, **scripts: list[str]) -> None:
        self.models: dict[str, Any] = {name: ScriptedModel(said) for name, said in scripts.items()}

    def model(self, name: str) -> Any:
        if name not in self.models:
            raise InputError(f"There is no {name!r}.", fix="Use a or b.")
        return self.models[name]


def talk(
    scripts: Scripts, lines: Sequence[str], names: Sequence[str] = ("a",)
) -> tuple[str, Conversation]:
    """What is on the screen after these lines."""
    out = Console(file=io.StringIO(), width=100)
    conversation = Conversation(scripts, list(names), out)  # type: ignore[arg-type]
    typed = iter(lines)

    def read(*_: Any, **__: Any) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    out.input = read  # type: ignore[method-assign]
    conversation.run()
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue(), conversation


def turns(history: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.role[0], message.content) for message in history]


def test_a_conversation_is_answered_turn_by_turn_and_remembered() -> None:
    scripts = Scripts(a=["Hello there.", "I am well."])
    screen, conversation = talk(scripts, ["hi", "", "how are you"])
    assert "Hello there.\n" in screen and "I am well.\n" in screen
    wanted = [("u", "hi"), ("a", "Hello there."), ("u", "how are you"), ("a", "I am well.")]
    assert turns(conversation.histories["a"]) == wanted
    assert turns(scripts.models["a"].heard[1]) == wanted[:3]


def test_another_persona_goes_on_with_the_same_conversation() -> None:
    scripts = Scripts(a=["One."], b=["Two."])
    _, conversation = talk(scripts, ["hi", "/persona b", "and you"])
    assert conversation.names == ["b"]
    assert turns(scripts.models["b"].heard[0]) == [("u", "hi"), ("a", "One."), ("u", "and you")]


def test_an_unknown_persona_is_one_line_and_the_conversation_goes_on() -> None:
    scripts = Scripts(a=["One.", "Two."])
    screen, conversation = talk(scripts, ["hi", "/persona nobody", "still there"])
    assert "There is no 'nobody'. Use a or b." in screen
    assert conversation.names == ["a"]
    assert [len(history) for history in conversation.histories.values()] == [4]


def test_reset_forgets_the_conversation() -> None:
    scripts = Scripts(a=["One.", "Two."])
    talk(scripts, ["hi", "/reset", "again"])
    assert turns(scripts.models["a"].heard[1]) == [("u", "again")]


def test_an_unknown_command_lists_the_commands() -> None:
    for line in ("/nope", "/persona"):
        screen, _ = talk(Scripts(a=[]), [line])
        assert f"There is no command '{line}' here." in screen
        assert screen.count("/reset") == 2  # at the beginning, and now


def test_quit_and_the_end_of_input_leave() -> None:
    scripts = Scripts(a=["One."])
    talk(scripts, ["/quit", "never asked"])
    assert scripts.models["a"].heard == []


def test_side_by_side_each_has_its_own_history() -> None:
    scripts = Scripts(a=["From a.", "More a."], b=["From b.", "More b."])
    screen, conversation = talk(scripts, ["hi", "and"], names=("a", "b"))
    assert all(text in screen for text in ("From a.", "From b.", "More a.", "More b."))
    assert turns(scripts.models["b"].heard[1]) == [("u", "hi"), ("a", "From b."), ("u", "and")]
    assert turns(conversation.histories["a"])[-1] == ("a", "More a.")


class Breaks(ScriptedModel):
    """Ctrl-C in the middle of its first reply."""

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        first = not self.heard
        for piece in super().stream(messages):
            yield piece
            if first:
                raise KeyboardInterrupt


def test_ctrl_c_ends_the_reply_and_keeps_what_was_said() -> None:
    scripts = Scripts()
    scripts.models["a"] = Breaks(["One two three.", "Four."])
    _, conversation = talk(scripts, ["hi", "go on"])
    assert turns(conversation.histories["a"]) == [
        ("u", "hi"),
        ("a", "One"),
        ("u", "go on"),
        ("a", "Four."),
    ]


def test_a_reply_that_failed_leaves_no_question_without_an_answer() -> None:
    screen, conversation = talk(Scripts(a=[]), ["hi"])
    assert "The script has no reply left." in screen
    assert conversation.histories["a"] == []


def test_markup_in_a_reply_is_text() -> None:
    for names in (("a",), ("a", "b")):
        scripts = Scripts(a=["[bold]x[/] [/nope]"], b=["y"])
        assert "[bold]x[/] [/nope]" in talk(scripts, ["hi"], names)[0]


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, list[Message]]]:
    """(adapter, conversation) of every reply the local model gives."""
    given: list[tuple[str | None, list[Message]]] = []
    real = LocalChat.stream

    def spy(self: LocalChat, messages: Sequence[Message]) -> Iterator[str]:
        given.append((self.adapter, [*messages]))
        yield from real(self, messages)

    monkeypatch.setattr(LocalChat, "stream", spy)
    return given


def test_a_switch_of_persona_keeps_the_conversation_and_does_not_load_the_base_again(
    story: Seams, streamed: list[tuple[str | None, list[Message]]]
) -> None:
    for persona in ("witty", "calm"):
        run("train", "sft", "--persona", persona, "--epochs", "1")
    story.loaded.clear()
    script = "hello\n/persona calm\nand you\n/persona base\nwho\n/persona witty\nback\n/quit\n"
    result = run("chat", stdin=script)
    assert result.exit_code == 0, result.output
    assert story.loaded == ["smollm2-135m"]
    adapters = [adapter or "" for adapter, _ in streamed]
    assert [name.partition("-")[0] for name in adapters] == ["witty", "calm", "", "witty"]
    asked = [[m.content for m in messages if m.role == "user"] for _, messages in streamed]
    assert asked == [["hello", "and you", "who", "back"][: n + 1] for n in range(4)]


def test_compare_answers_with_base_prompt_and_adapter(
    story: Seams, streamed: list[tuple[str | None, list[Message]]]
) -> None:
    run(*SHORT)
    result = run(
        "chat", "--persona", "witty", "--compare", "base,prompt,witty", stdin="hello\n", width=120
    )
    assert result.exit_code == 0, result.output
    assert [bool(adapter) for adapter, _ in streamed] == [False, False, True]
    heads = result.stdout.partition("╭")[2].splitlines()[0]
    assert all(f" {name} " in heads for name in ("base", "prompt", "witty"))


def test_an_unknown_persona_ends_it_at_once_and_in_the_middle_does_not(story: Seams) -> None:
    result = run("chat", "--persona", "captain", stdin="hello\n")
    assert result.exit_code != 0
    assert "captain" in result.stderr and "Fix: " in result.stderr
    result = run("chat", "--persona", "base", stdin="/persona captain\n/quit\n")
    assert result.exit_code == 0
    assert "no trained adapter of 'captain'" in " ".join(result.stdout.split())


def test_the_options_of_decoding_are_taken(
    story: Seams, monkeypatch: pytest.MonkeyPatch, streamed: list[Any]
) -> None:
    seen = list[Any]()
    real = LocalChat.__init__

    def spy(self: LocalChat, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        seen.append((self.sampling, self.seed))

    monkeypatch.setattr(LocalChat, "__init__", spy)
    options = ("--temperature", "0", "--max-tokens", "3", "--seed", "5")
    assert run("chat", "--persona", "base", *options, stdin="hi\n").exit_code == 0
    assert seen == [(SAMPLING.model_copy(update={"temperature": 0.0, "max_tokens": 3}), 5)]


def test_a_temperature_out_of_bounds_is_bad_input(story: Seams) -> None:
    result = run("chat", "--persona", "base", "--temperature", "9", stdin="hi\n")
    assert result.exit_code == 2 and "Traceback" not in result.output
    assert "--temperature" in result.stderr and "0<=x<=5" in result.stderr
