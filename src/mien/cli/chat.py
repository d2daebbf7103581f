"""`mien chat`: talk to a persona, or to several at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel

from mien.base.fetch import DEFAULT_BASE
from mien.chat import ChatModel, Sampling
from mien.cli.output import console, stages
from mien.errors import AdapterError, InputError, MienError
from mien.persona.spec import Persona, find
from mien.schema import Message

if TYPE_CHECKING:
    from mien.base.model import Base
    from mien.workspace import Workspace

_HELP = "/persona NAME  switch      /reset  forget the conversation      /quit  leave"


@click.command("chat")
@click.option(
    "--persona", default="witty", show_default=True, help="A trained persona, `base`, or a run."
)
@click.option("--compare", help="Systems to answer side by side, such as base,prompt,witty.")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
@click.option("--temperature", type=click.FloatRange(0, 5), help="0 takes the likeliest token.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest reply, in tokens.")
@click.option("--seed", default=0, show_default=True, help="Of the replies.")
def chat(
    persona: str,
    compare: str | None,
    base_ref: str,
    temperature: float | None,
    max_tokens: int | None,
    seed: int,
) -> None:
    """Talk to a persona.

    The base is loaded once: `/persona NAME` switches in the middle of a conversation without loading
    it again. `base` is the bare model; `prompt` is the persona by its system prompt alone.
    """
    from mien.base.model import Base
    from mien.evaluate.setting import SAMPLING
    from mien.workspace import Workspace

    given = {"temperature": temperature, "max_tokens": max_tokens}
    sampling = SAMPLING.model_validate(
        SAMPLING.model_dump() | {key: value for key, value in given.items() if value is not None}
    )
    with stages("Loading the base model ...") as report:
        cast = Cast(Base.load(base_ref, report=report), Workspace.open(), sampling, persona, seed)
        names = compare.split(",") if compare else [persona]
        for name in names:
            cast.model(name)
    Conversation(cast, names, console()).run()


class Cast:
    """The systems one may talk to, all on one base, made when first asked for.

    Args:
        base: In memory, once.
        workspace: Where adapters are.
        sampling: For all of them.
        persona: Whose system prompt `prompt` stands for.
        seed: Of the first reply.
    """

    def __init__(
        self, base: Base, workspace: Workspace, sampling: Sampling, persona: str, seed: int
    ) -> None:
        self.base, self.workspace, self.sampling = base, workspace, sampling
        self.persona, self.seed = persona, seed
        self._models: dict[str, ChatModel] = {}

    def model(self, name: str) -> ChatModel:
        """The chat model behind a name.

        Raises:
            MienError: There is no such system.
        """
        if name not in self._models:
            self._models[name] = self._make(name.strip())
        return self._models[name]

    def _make(self, name: str) -> ChatModel:
        from mien.decode.local import LocalChat
        from mien.registry.attach import attach
        from mien.registry.cards import adapter_folder, newest, persona_of

        if name == "base":
            return LocalChat(self.base, sampling=self.sampling, seed=self.seed)
        if name == "prompt" or name.startswith("prompt:"):
            prompt = self._specification(name.partition(":")[2]).system_prompt.strip()
            return LocalChat(self.base, None, prompt, self.sampling, self.seed)
        card = newest(self.workspace, name, base_hash=self.base.files.sha256)
        attach(self.base, card, adapter_folder(self.workspace, card))
        under = persona_of(self.workspace, card).system_prompt.strip() if card.under_prompt else None
        return LocalChat(self.base, card.run, under, self.sampling, self.seed)

    def _specification(self, name: str) -> Persona:
        """Of the persona by that name or, without one, of the persona that is talked to."""
        from mien.registry.cards import newest, persona_of

        if name:
            return find(name)
        try:
            return persona_of(self.workspace, newest(self.workspace, self.persona))
        except AdapterError:  # not trained yet: it may be built in
            return find(self.persona)


class Conversation:
    """A conversation on a terminal, with one system or with several side by side."""

    def __init__(self, cast: Cast, names: list[str], out: Console) -> None:
        self.cast, self.names, self.out = cast, names, out
        self.histories: dict[str, list[Message]] = {name: [] for name in names}

    def run(self) -> None:
        """Read and answer until the end of input, `/quit`, or Ctrl-C at the prompt."""
        self.out.print(f"[dim]{_HELP}[/]\n")
        with suppress(EOFError, KeyboardInterrupt):
            while True:
                label = " | ".join(self.names)
                line = self.out.input(f"[bold cyan]you -> {escape(label)}:[/] ").strip()
                if line == "/quit":
                    return
                with _survivable(self.out):
                    self.turn(line)

    def turn(self, line: str) -> None:
        """One line of the user: a command or something to answer."""
        if line.startswith("/"):
            self._command(line)
        elif line:
            for history in self.histories.values():
                history.append(Message(role="user", content=line))
            try:
                self._one() if len(self.names) == 1 else self._several()
            except KeyboardInterrupt:
                pass  # it ends the reply, not the conversation
            finally:
                self._close_turn()

    def _command(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        if command == "/persona" and rest.strip():
            name = rest.strip()
            self.cast.model(name)
            kept = next(iter(self.histories.values()))
            self.names, self.histories = [name], {name: kept}
        elif command == "/reset":
            self.histories = {name: [] for name in self.names}
        else:
            raise InputError(f"There is no command {command!r} here.", fix=_HELP)

    def _one(self) -> None:
        (name,) = self.names
        said = ""
        try:
            for piece in self.cast.model(name).stream(self.histories[name]):
                said += piece
                self.out.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
        finally:
            self.out.print("\n")
            self._remember(name, said)

    def _several(self) -> None:
        said = dict.fromkeys(self.names, "")
        with Live(console=self.out, auto_refresh=False, vertical_overflow="visible") as live:
            for name in self.names:
                for piece in self.cast.model(name).stream(self.histories[name]):
                    said[name] += piece
                    live.update(self._beside(said), refresh=self.out.is_terminal)
                self._remember(name, said[name])
            live.update(self._beside(said), refresh=True)

    def _beside(self, said: dict[str, str]) -> Columns:
        width = max(24, self.out.width // len(said) - 1)
        panels = [Panel(escape(text), title=escape(name), width=width) for name, text in said.items()]
        return Columns(panels, padding=(0, 0))

    def _remember(self, name: str, said: str) -> None:
        if said.strip():
            self.histories[name].append(Message(role="assistant", content=said.strip()))

    def _close_turn(self) -> None:
        """A question without an answer would leave two user turns in a row: forget it."""
        for history in self.histories.values():
            if history and history[-1].role == "user":
                history.pop()


@contextmanager
def _survivable(out: Console) -> Iterator[None]:
    """Say what went wrong, and go on talking."""
    try:
        yield
    except MienError as error:
        out.print(f"[red]{escape(error.what)}[/] {escape(error.fix)}")
