"""The options that say which model is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mien.chat import Sampling
from mien.cli.teacher import teacher_of, teacher_options
from mien.data.teacher import Budget, Teacher
from mien.decode.local import LocalChat
from mien.errors import AdapterError, InputError
from mien.schema import conversation
from tests.seams import Seams
from tests.stub_server import serving


def given(*arguments: str) -> dict[str, Any]:
    """What a command with the options is called with."""
    got: dict[str, Any] = {}

    @click.command()
    @teacher_options
    def command(**asking: Any) -> None:
        got.update(asking)

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got


def teacher(*arguments: str) -> Teacher:
    return teacher_of(**given(*arguments))


def test_a_model_behind_a_server_is_asked_and_its_answers_are_kept_at_home(
    home: Path, tmp_path: Path
) -> None:
    with serving(tmp_path) as server:
        url = ("--model", "stub", "--base-url", server.url)
        for _ in range(2):
            asked = teacher(*url, "--parallel", "3", "--timeout", "9")
            assert asked.ask(conversation("hello"), Sampling(), seed=1).text
        assert len(server.log()) == 1
    assert (asked.parallel, asked.tally.cached) == (3, 1)
    assert (home / "calls.db").is_file()


def test_a_budget_and_prices_are_handed_on(home: Path) -> None:
    url = ("--model", "stub", "--base-url", "http://localhost:1/v1")
    limits = ("--budget-tokens", "1000", "--budget-money", "2.5", "--price-in", "1", "--price-out", "3")
    assert teacher(*url, *limits).budget == Budget(tokens=1000, money=2.5, price_in=1, price_out=3)
    assert teacher(*url).budget == Budget()


def test_the_local_base_is_asked_where_it_is_said(story: Seams) -> None:
    asked = teacher("--local")
    assert isinstance(asked.model, LocalChat) and asked.model.adapter is None
    assert asked.parallel == 1
    reply = asked.ask(conversation("how are you today"), Sampling(max_tokens=6, temperature=1), seed=1)
    assert reply.completion_tokens <= 6
    assert story.loaded == ["smollm2-135m"]


def test_a_persona_may_follow_local_and_none_is_the_base() -> None:
    assert given("--local")["local"] == "base"
    assert given("--local", "witty")["local"] == "witty"
    assert given()["local"] is None


def test_a_persona_that_is_not_trained_is_told(story: Seams) -> None:
    with pytest.raises(AdapterError, match="no trained adapter of 'nobody'"):
        teacher("--local", "nobody")


@pytest.mark.parametrize(
    ("arguments", "told", "fix"),
    [
        ((), "No model to ask", "--local"),
        (("--model", "stub", "--local"), "Both --model and --local", "--model NAME"),
        (("--model", "stub", "--budget-money", "3"), "needs prices", "--price-in"),
    ],
)
def test_what_does_not_fit_together_is_told_with_what_to_pass(
    arguments: tuple[str, ...], told: str, fix: str
) -> None:
    with pytest.raises(InputError, match=told) as caught:
        teacher(*arguments)
    assert fix in caught.value.fix


def test_the_options_wait_for_nothing_heavy() -> None:
    code = "import sys, mien.cli.teacher; assert not {'openai', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
