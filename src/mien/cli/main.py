"""The command `mien`: its sub-commands by name, each imported when it is called."""

from __future__ import annotations

import click

import mien as package
from mien.cli.groups import Lazy, LazyGroup

COMMANDS = {
    "demo": Lazy("mien.cli.demo:demo", "The whole story in a few minutes, on this machine."),
    "base": Lazy("mien.cli.base:base", "Fetch base models, and list those at hand."),
    "persona": Lazy("mien.cli.persona:persona", "Read, write, check and measure personas."),
    "data": Lazy("mien.cli.data:data", "Make, check and convert training data."),
    "recipe": Lazy("mien.cli.train:recipe", "Write and check training recipes."),
    "train": Lazy("mien.cli.train:train", "Train a persona's adapter on a base model."),
    "leash": Lazy("mien.cli.leash:leash", "Show how far runs on preferences went, and for what."),
    "reward": Lazy("mien.cli.reward:reward", "Score replies with finished reward models."),
    "chat": Lazy("mien.cli.chat:chat", "Talk to a persona."),
    "eval": Lazy("mien.cli.evaluate:evaluate", "Measure whether a personality holds."),
    "adapter": Lazy("mien.cli.adapter:adapter", "List, promote, blend, move and remove adapters."),
    "serve": Lazy("mien.cli.serve:serve", "Serve personas over HTTP, as OpenAI's API."),
    "experiment": Lazy("mien.cli.experiment:experiment", "Test personas against each other on users."),
    "export": Lazy("mien.cli.export:export", "Write what other programs serve from."),
    "doctor": Lazy("mien.cli.doctor:doctor", "Check this machine, and say what to do."),
}
ENVIRONMENT = {
    "MIEN_HOME": "What can be fetched again: base models and the embedder. By default, `mien` in the"
    " user's cache folder.",
    "MIEN_WORKSPACE": "What cannot: runs, reports, scores. By default, `mien-out` in this folder.",
    "MIEN_PROMPTS": "A folder of prompts for teachers; its files replace those of the package.",
    "MIEN_API_KEYS": "Keys for `mien serve`, as name=KEY,name=KEY, where no file of keys is given.",
    "MIEN_DEBUG": "Set to 1, it shows the traceback of an error.",
}


@click.command(
    cls=LazyGroup,
    lazy=COMMANDS,
    environment=ENVIRONMENT,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package.__version__, prog_name="mien")
def mien() -> None:
    """Give a language model a personality, and prove that it holds.

    New here? `mien doctor` says whether this machine is ready, and `mien demo` shows everything once.
    `mien COMMAND --help` says more about a command.
    """


def main() -> None:
    """Run the command line and exit."""
    mien(prog_name="mien")
