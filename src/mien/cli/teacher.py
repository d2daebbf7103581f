"""The options that say which model a command asks, and what that may cost.

A command takes them as keywords and hands them on::

    @click.command()
    @teacher_options
    def simulate(**asking: Any) -> None:
        teacher = teacher_of(**asking)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.chat import ChatModel
    from mien.data.teacher import Teacher

Command = TypeVar("Command", bound=Callable[..., Any])

_OPENAI = "https://api.openai.com/v1"
_above_0 = click.FloatRange(min=0, min_open=True)
_OPTIONS = (
    click.option("--model", help="The model to ask, by its server's name for it."),
    click.option(
        "--base-url",
        default=_OPENAI,
        envvar="OPENAI_BASE_URL",
        show_default=True,
        help="A server that speaks OpenAI's chat protocol.",
    ),
    click.option(
        "--key-env",
        metavar="NAME",
        help="The environment variable with the server's key; OPENAI_API_KEY for OpenAI. Local servers"
        " need none.",
    ),
    click.option(
        "--local",
        metavar="[PERSONA]",
        is_flag=False,
        flag_value="base",
        help="Ask the local base instead, with a persona's adapter if one is named.",
    ),
    click.option(
        "--parallel", type=click.IntRange(min=1), default=8, show_default=True, help="Calls at once."
    ),
    click.option(
        "--timeout", type=_above_0, default=120.0, show_default=True, help="Seconds of silence."
    ),
    click.option(
        "--budget-tokens", type=click.IntRange(min=1), help="Stop before more tokens are used."
    ),
    click.option("--budget-money", type=_above_0, help="Stop before more is spent; needs the prices."),
    click.option("--price-in", type=click.FloatRange(min=0), help="Of a million tokens that are read."),
    click.option(
        "--price-out", type=click.FloatRange(min=0), help="Of a million tokens that are written."
    ),
)


def teacher_options(command: Command) -> Command:
    """Add the options to a command, which gets them as the keywords of `teacher_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def teacher_of(
    *,
    model: str | None,
    base_url: str,
    key_env: str | None,
    local: str | None,
    parallel: int,
    timeout: float,
    budget_tokens: int | None,
    budget_money: float | None,
    price_in: float | None,
    price_out: float | None,
) -> Teacher:
    """The teacher that the options describe, with its store of calls in the home.

    Raises:
        InputError: They name no model, or two, or a limit of money without prices.
        MienError: The model or the store cannot be had.
    """
    from mien.data.teacher import Budget, Calls, Teacher

    if bool(model) == bool(local):
        raise InputError(
            "No model to ask is named." if not model else "Both --model and --local are given.",
            fix="Pass `--model NAME`, with `--base-url` and `--key-env` where it is not OpenAI's, or"
            " `--local` for the base model on this machine.",
        )
    if budget_money and not (price_in or price_out):
        raise InputError(
            "A limit of money needs prices.",
            fix="Pass `--price-in` and `--price-out`, per million tokens.",
        )
    budget = Budget(
        tokens=budget_tokens, money=budget_money, price_in=price_in or 0, price_out=price_out or 0
    )
    asked = _endpoint(str(model), base_url, key_env, timeout, parallel) if model else _local(str(local))
    return Teacher(asked, Calls(), budget=budget)


def _endpoint(
    model: str, base_url: str, key_env: str | None, timeout: float, parallel: int
) -> ChatModel:
    from mien.endpoint import Endpoint

    return Endpoint(base_url, model, key_env=key_env, timeout=timeout, parallel=parallel)


def _local(name: str) -> ChatModel:
    from mien.base.model import Base
    from mien.chat import Sampling
    from mien.cli.chat import Cast
    from mien.cli.output import stages
    from mien.workspace import Workspace

    with stages("Loading the base model ...") as report:
        base = Base.load(report=report)
        return Cast(base, Workspace.open(), Sampling(), name, seed=0).model(name)
