"""`mien eval`: how long conversations are, and who plays the user in them."""

from __future__ import annotations

import json

import pytest

from mien.evaluate.evaluation import Evaluation
from mien.evaluate.suites.drift.users import book
from tests.cli.running import run
from tests.seams import Seams

DRIFT = ("eval", "--persona", "witty", "--systems", "base", "--only", "drift")


def test_conversations_are_as_long_and_with_whom_the_command_says(story: Seams) -> None:
    result = run(*DRIFT, "--turns", "2", "--user", "base", "--json")
    assert result.exit_code == 0, result.output
    found = Evaluation.model_validate(json.loads(result.stdout))
    drift = found.results.finding("drift", "base")
    assert drift is not None and drift.detail["turns"] == 2
    script = {line for each in book().scripts for line in book().turns(each)}
    opened, went_on = zip(
        *([m.content for m in t.messages[::2]] for t in drift.transcripts), strict=True
    )
    assert set(opened) <= script and went_on[0] not in script


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (("--turns", "500"), "No conversation of the scripts has 500 turns."),
        (("--user", "mother"), "Nobody is called 'mother'."),
        (("--only", "voice", "--turns", "20"), "for the suite `drift`, which is left out"),
    ],
)
def test_what_cannot_be_is_said_before_a_base_is_loaded(
    story: Seams, given: tuple[str, ...], what: str
) -> None:
    result = run(*DRIFT, *given)
    assert result.exit_code == 2 and what in result.stderr
    assert story.loaded == []
