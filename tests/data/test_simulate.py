"""Simulating dialogues with a scripted model in all parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mien.chat import Reply, Sampling, ScriptedModel
from mien.data.cells import draw
from mien.data.plan import Cell, Plan
from mien.data.simulate import SAMPLING, Parts, Simulated, Simulator, bound
from mien.data.teacher import Budget, Calls, Teacher, Unfinished
from mien.persona import library
from mien.schema import Message
from tests.actors import script

WITTY = library()["witty"]
PLAN = Plan.of(WITTY)
CELL: Cell = {
    **{name: next(iter(each.levels)) for name, each in PLAN.dimensions.items()},
    **{"turns": "3", "topic": "travel", "length": "terse"},
}


class Actor(ScriptedModel):
    """Plays every part by name: `say` has what each says in turn, and the last of them for ever."""

    def __init__(self, **say: Sequence[str]) -> None:
        super().__init__(self._say)
        self.say = {part: list(texts) for part, texts in say.items()}

    def _say(self, messages: Sequence[Message], seed: int) -> str:
        opening = messages[0]
        is_user = opening.content.startswith("You play the user")
        part = "persona" if opening.role == "system" else "user" if is_user else "scenario"
        if part not in self.say:
            return script(messages, seed)
        texts = self.say[part]
        return texts.pop(0) if len(texts) > 1 else texts[0]


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    return Calls(tmp_path / "calls.db")


def simulate(calls: Calls, model: ScriptedModel, cell: Cell = CELL, **settings: int) -> Simulated:
    teacher = Teacher(model, calls, tries=1, wait=lambda _: None)
    return Simulator(teacher, WITTY, PLAN, **settings).one(0, cell)


def test_user_and_persona_take_turns_as_often_as_the_cell_says(calls: Calls) -> None:
    made = simulate(calls, model := Actor())
    assert [each.role for each in made.messages] == ["user", "assistant"] * 3
    assert len(model.heard) == 7 + sum(made.again.values())
    assert made.aside is None and len(made.dialogue.examples()) == 3


def test_each_part_hears_what_it_is_told_and_no_more(calls: Calls) -> None:
    places = ["Ferry lost. Now what?", "And the ticket?", "Who pays?"]
    model = Actor(scenario=["The user stands at the pier."], user=places)
    made = simulate(calls, model)
    scenario, first, reply, second = (heard for heard in model.heard[:4])
    assert (
        "a journey, near or far" in scenario[0].content
        and "Messages of the user: three" in scenario[0].content
    )
    assert "The user stands at the pier." in first[0].content and "number 1 of 3" in first[0].content
    assert WITTY.system_prompt.strip() in reply[0].content and "at most 35 words" in reply[0].content
    assert all(rule in reply[0].content for rule in WITTY.boundaries)
    assert [each.role for each in reply] == ["system", "user"] and reply[1].content == places[0]
    assert f"User: {places[0]}\n\nAssistant: {made.messages[1].content}" in second[0].content
    assert not any(WITTY.system_prompt[:40] in heard[0].content for heard in (scenario, first, second))
    assert "at the pier" not in reply[0].content


def test_the_system_prompt_is_no_part_of_the_dialogue(calls: Calls) -> None:
    assert all(each.role != "system" for each in simulate(calls, Actor()).messages)


def test_a_dialogue_is_a_function_of_its_seed_and_its_number(tmp_path: Path) -> None:
    def made(folder: str, seed: int, number: int) -> Simulated:
        teacher = Teacher(ScriptedModel(script), Calls(tmp_path / folder))
        return Simulator(teacher, WITTY, PLAN, seed=seed).one(number, CELL)

    first = made("a", 1, 1)
    assert made("b", 1, 1) == first
    assert first.messages != made("c", 2, 1).messages != made("d", 1, 2).messages


def test_a_second_run_asks_nothing(calls: Calls) -> None:
    first = simulate(calls, ScriptedModel(script))
    assert simulate(calls, again := ScriptedModel(script)) == first
    assert again.heard == []


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("Assistant: here you are.", "speaks for a role"),
        ("\N{HORIZONTAL ELLIPSIS}", "empty"),
        (
            "I write no name or label before it, no quotation marks around it, no remark.",
            "reads its instructions",
        ),
    ],
)
def test_a_bad_message_is_asked_for_again_and_counted(calls: Calls, bad: str, kind: str) -> None:
    good = ["The bus has gone.", "It was the last one today.", "A taxi costs forty."]
    made = simulate(calls, Actor(user=[bad, bad, *good]))
    assert made.again == {f"user: {kind}": 2}
    assert [each.content for each in made.messages[::2]] == good


def test_a_repeated_message_is_asked_for_again(calls: Calls) -> None:
    said = "Where does the ferry to the island leave from?"
    made = simulate(calls, Actor(user=[said, said, "And when does it leave?", "How much?"]))
    assert made.again == {"user: repeats a message": 1}


def test_a_dialogue_that_stays_bad_is_set_aside_with_the_reason(calls: Calls) -> None:
    bad = "As I said, an oven."
    made = simulate(calls, Actor(persona=["Fine, a kettle.", f"User: {bad}"]), tries=3)
    assert made.aside == "persona: speaks for a role"
    assert made.again == {"persona: speaks for a role": 3}
    assert [each.role for each in made.messages] == ["user", "assistant", "user"]


def test_a_reply_that_was_cut_is_asked_for_again(calls: Calls) -> None:
    class Cutting(ScriptedModel):
        def reply(self, messages: Sequence[Message], sampling: Sampling, *, seed: int) -> Reply:
            whole = super().reply(messages, sampling, seed=seed)
            return whole.model_copy(update={"ended": "length"}) if len(self.heard) == 1 else whole

    assert simulate(calls, Cutting(script)).again["scenario: cut short"] == 1


def test_json_is_asked_for_until_it_is_json(calls: Calls) -> None:
    replies = ["Certainly!", '{"ferry": 9}', '{"bus": 7}', '{"taxi": 40}']
    made = simulate(calls, Actor(persona=replies), {**CELL, "format": "json"})
    assert made.again["persona: no json"] == 1
    assert [json.loads(each.content) for each in made.messages[1::2]] == [
        *({"ferry": 9}, {"bus": 7}, {"taxi": 40})
    ]


def test_dialogues_keep_their_order_and_a_spent_budget_leaves_the_rest_unfinished(calls: Calls) -> None:
    cells = list(enumerate(draw(PLAN, 8, 0)))
    teacher = Teacher(ScriptedModel(script), calls, budget=Budget(tokens=9000), parallel=3)
    steps: list[None] = []
    made = Simulator(teacher, WITTY, PLAN).all(cells, done=lambda: steps.append(None))
    assert any(isinstance(each, Unfinished) for each in made) and teacher.stopped
    whole = Simulator(Teacher(ScriptedModel(script), calls, parallel=3), WITTY, PLAN).all(cells)
    assert [each.number for each in whole if isinstance(each, Simulated)] == list(range(8))


def test_what_a_job_is_a_function_of_can_be_named(calls: Calls) -> None:
    job = Simulator(Teacher(ScriptedModel([]), calls), WITTY, PLAN).job
    assert job["persona_hash"] == WITTY.digest() and job["plan_hash"] == PLAN.digest()
    assert job["model"] == "scripted" and len(job["prompts"]) == 3


def test_a_persona_without_examples_or_boundaries_can_be_simulated() -> None:
    bare = WITTY.model_copy(update={"examples": (), "boundaries": ()})
    told = Parts(bare, PLAN).system(CELL)
    assert "(as described above)" in told and "$" not in told


def test_the_bound_is_above_what_is_used(calls: Calls) -> None:
    cells = draw(PLAN, 10, 0)
    model = ScriptedModel(script)
    teacher = Teacher(model, calls)
    made = Simulator(teacher, WITTY, PLAN).all(list(enumerate(cells)))
    again = sum(sum(each.again.values()) for each in made if isinstance(each, Simulated))
    most = bound(Parts(WITTY, PLAN), cells)
    assert most.calls == len(model.heard) - again
    assert most.prompt_tokens > teacher.tally.prompt_tokens
    assert most.completion_tokens > teacher.tally.completion_tokens
    assert bound(Parts(WITTY, PLAN), ()).calls == 0


def test_every_part_has_its_sampling() -> None:
    assert set(SAMPLING) == {"scenario", "user", "persona"}
