"""Restyling: what is asked, what is taken, what is asked again, and what is set aside."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from mien.chat import ScriptedModel
from mien.data import preserve
from mien.data.calls import Calls
from mien.data.corpus import dialogues, rows_of
from mien.data.formats import Record
from mien.data.restyle import Checks, Masked, Restyler, Source, Variant, sources, style
from mien.data.teacher import Teacher
from mien.errors import DataError
from mien.persona.spec import Persona, library
from mien.schema import Dialogue, Example, Message, Preference, conversation
from tests.data import plants, rewriter

PERSONAS = library()
ROW = next(
    row
    for row in rows_of("test")
    if not plants.faults(
        plants.Pair(row.prompt, row.replies["neutral"], row.replies["direct"], "direct")
    )
)
PLAIN, DIRECT = ROW.replies["neutral"], ROW.replies["direct"]
CODE = "```python\nif a:\n\tb  =  1\n```"


def restyler(
    folder: Path, script: Sequence[str] | Callable[[Sequence[Message], int], str], **settings: object
) -> tuple[Restyler, ScriptedModel]:
    model = ScriptedModel(script)
    return Restyler(Teacher(model, Calls(folder / "calls.db")), **settings), model  # type: ignore[arg-type]


def one(row: Example | Dialogue, restyling: Restyler, voice: str = "direct") -> Variant:
    return restyling.one(Source("1", row), PERSONAS[voice])


def told(model: ScriptedModel, call: int = -1) -> str:
    return model.heard[call][-1].content


def test_a_reply_that_keeps_content_and_changes_style_is_taken(tmp_path: Path) -> None:
    restyling, model = restyler(tmp_path, [DIRECT])
    made = one(Example.of(ROW.prompt, PLAIN, system="Be brief."), restyling)
    assert made.row == Example.of(ROW.prompt, DIRECT, system="Be brief.")
    assert [turn.rejected for turn in made.turns] == [()]
    for part in (
        PLAIN,
        ROW.prompt,
        PERSONAS["direct"].system_prompt.strip(),
        "User: ",
        "System: Be brief.",
    ):
        assert part in told(model)


def test_a_rejected_reply_is_asked_for_again_with_the_reasons(tmp_path: Path) -> None:
    source = f"{PLAIN} That costs 382 euros, as Priya says."
    good = f"{DIRECT} That costs 382 euros. Priya says so."
    bad = f"{DIRECT} That costs 328 euros. Somebody says so."
    restyling, model = restyler(tmp_path, [bad, good])
    made = one(Example.of(ROW.prompt, source), restyling)
    assert isinstance(made.row, Example) and made.row.reply == good
    messages = [fault.message for fault in made.turns[0].rejected[0].faults]
    assert messages == [
        "the number 382 is missing",
        "the number 328 is new",
        "the name Priya is missing",
    ]
    assert all(f"- {message}\n" in told(model) for message in messages)
    assert bad in told(model)
    assert "382" in told(model, 0).split("as they are:")[1].splitlines()[0]


def test_after_the_tries_a_conversation_is_set_aside_with_all_reasons(tmp_path: Path) -> None:
    restyling, model = restyler(tmp_path, lambda *_: PLAIN, tries=3)
    turns = (*conversation(ROW.prompt), Message(role="assistant", content=PLAIN))
    more = (*conversation("And then?"), Message(role="assistant", content=PLAIN))
    made = one(Dialogue(messages=turns + more), restyling)
    assert made.row is None
    assert len(model.heard) == 3  # the second turn is not asked for
    (turn,) = made.turns
    assert (turn.kept, turn.place, len(turn.rejected)) == (False, 1, 3)
    assert {fault.check for attempt in turn.rejected for fault in attempt.faults} == {"copy"}


def test_a_dialogue_goes_on_from_its_rewritten_turns(tmp_path: Path) -> None:
    source = next(each for each in dialogues() if each.split == "train")
    restyling, model = restyler(tmp_path, rewriter.script, tries=1)
    made = one(source.dialogue("neutral"), restyling, "calm")
    wanted = source.dialogue("calm").messages
    got = made.row.messages if isinstance(made.row, Dialogue) else wanted[: 2 * len(made.turns) - 1]
    assert got == wanted[: len(got)]
    for place, heard in enumerate(model.heard):
        before = heard[-1].content.split("<reply>")[0]
        assert all(message.content in before for message in wanted[: 2 * place + 1])
        assert source.turns[place].replies["neutral"] not in before


CALL = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q":  "tea"}'}}


def test_tools_and_code_never_change(tmp_path: Path) -> None:
    messages = (
        Message(role="user", content="How?"),
        Message(role="assistant", tool_calls=(CALL,)),
        Message(role="tool", content='{"found": [1,2]}', tool_call_id="1", name="find"),
        Message(role="assistant", content=f"{PLAIN}\n\n{CODE}", tool_calls=(CALL,)),
        Message(role="user", content="Only the code, please."),
        Message(role="assistant", content=CODE),
    )
    restyling, model = restyler(tmp_path, [f"{DIRECT}\n\n[[code 1]]"])
    made = one(Dialogue(messages=messages), restyling)
    assert isinstance(made.row, Dialogue)
    assert made.row.messages[3].content == f"{DIRECT}\n\n{CODE}"
    for old, new in zip(messages, made.row.messages, strict=True):
        assert list(preserve.tool_calls(old, new)) == []
        assert old.role == "assistant" or old == new
    assert made.row.messages[5] == messages[5]  # nothing to restyle, nothing asked
    assert len(model.heard) == 1 and CODE not in told(model).split("<reply>")[1]


@pytest.mark.parametrize(
    "answer",
    [DIRECT, f"{DIRECT}\n[[code 1]]\n[[code 1]]", f"{DIRECT}\n```python\nif a:\n    b = 1\n```"],
)
def test_code_that_is_lost_doubled_or_typed_again_is_a_fault(tmp_path: Path, answer: str) -> None:
    restyling, _ = restyler(tmp_path, [answer], tries=1)
    made = one(Example.of(ROW.prompt, f"{PLAIN}\n{CODE}"), restyling)
    assert "code" in {fault.check for fault in made.turns[0].rejected[0].faults}


@pytest.mark.parametrize("wrap", ["```json\n{}\n```", '"{}"', "Assistant: {}", "<think>hm</think>\n{}"])
def test_what_models_put_around_an_answer_is_taken_off(tmp_path: Path, wrap: str) -> None:
    restyling, _ = restyler(tmp_path, [wrap.replace("{}", DIRECT)], tries=1)
    assert one(Example.of(ROW.prompt, PLAIN), restyling).row == Example.of(ROW.prompt, DIRECT)


def test_the_judge_hears_what_passes_the_rules_and_its_reasons_count(tmp_path: Path) -> None:
    heard: list[tuple[str, str, str]] = []

    def judge(source: str, restyled: str, persona: Persona) -> Sequence[str]:
        heard.append((source, restyled, persona.name))
        return ["the advice is turned round"]

    restyling, _ = restyler(tmp_path, [PLAIN, DIRECT], checks=Checks(judge=judge), tries=2)
    made = one(Example.of(ROW.prompt, PLAIN), restyling)
    assert made.row is None
    assert heard == [(PLAIN, DIRECT, "direct")]
    assert made.turns[0].rejected[-1].faults[0].message == "the advice is turned round"


def test_a_masked_text_comes_back_whole() -> None:
    text = f"One.\n{CODE}\nTwo.\n~~~\nx\n~~~\nThree."
    masked = Masked.of(text)
    assert masked.text == "One.\n[[code 1]]\nTwo.\n[[code 2]]\nThree."
    assert masked.put_back(masked.text) == text
    assert not Masked.of(CODE).has_prose


def test_sources_have_ids() -> None:
    row = Example.of("Hi", "Hello.")
    assert [
        each.id
        for each in sources([Record(number=4, row=row, extra={"id": "a"}), Record(number=5, row=row)])
    ] == ["a", "5"]
    chosen = Preference(
        prompt=row.prompt, chosen=row.completion, rejected=(Message(role="assistant", content="No."),)
    )
    assert sources([Record(number=1, row=chosen)])[0].row == row
    with pytest.raises(DataError, match="another row"):
        sources([Record(number=1, row=row), Record(number=2, row=row, extra={"id": "1"})])


def test_short_replies_have_no_style_to_be_heard() -> None:
    assert list(style("Yes, that is right.", "Yes, that is right.", PERSONAS["witty"])) == []


def test_a_text_that_leaves_the_bands_is_told_by_how_much() -> None:
    shouted = (
        "WOW! Really?! Is it? Yes! You! Go, go, go! Is it you? It is! You are it! Are you? You are!"
    )
    (fault,) = style(
        "The tap drips because its washer is worn, and a new one costs very little.",
        shouted,
        PERSONAS["calm"],
    )
    assert fault.check == "bands"
    assert "not 0 to 0" in fault.message


def ear(**voices: float) -> Callable[[str], Mapping[str, float]]:
    return lambda text: voices if text == DIRECT else {**voices, "direct": 0.2}


@pytest.mark.parametrize(
    ("probability", "reasons"),
    [(0.3, []), (0.2, []), (0.19, ["it does not sound direct, but calm"])],
)
def test_the_voice_has_to_be_heard_better_than_in_the_source(
    probability: float, reasons: list[str]
) -> None:
    heard = ear(direct=probability, calm=0.7)
    found = style(PLAIN, DIRECT, PERSONAS["direct"], heard)
    assert [fault.message for fault in found] == reasons


def test_a_persona_that_the_classifier_does_not_know_is_not_heard() -> None:
    captain = PERSONAS["direct"].model_copy(update={"name": "captain"})
    assert list(style(PLAIN, DIRECT, captain, ear(calm=1.0))) == []


def test_planted_faults_are_caught_twenty_of_twenty() -> None:
    draw = random.Random(0)
    good = draw.sample(plants.good("test"), len(plants.good("test")))
    caught: dict[str, list[bool]] = {"number": [], "name": [], "copy": [], "code": []}
    for check, plant in (("number", plants.changed_numbers), ("name", plants.dropped_names)):
        for pair in good:
            planted = list(plant(pair))
            if planted and len(caught[check]) < 5:
                caught[check].append(check in plants.faults(pair, draw.choice(planted)))
    for pair, place in zip(good, range(5), strict=False):
        caught["copy"].append("copy" in plants.faults(pair, list(plants.unchanged_styles(pair))[place]))
    for block, alter in zip(plants.coded(), draw.sample(plants.ALTERED, 5), strict=False):
        altered = block.altered(alter)
        assert altered != block.restyled
        found = preserve.faults(block.source, altered)
        caught["code"].append("code" in {fault.check for fault in found})
    assert {check: sum(each) for check, each in caught.items()} == dict.fromkeys(caught, 5)


def test_unchanged_styles_and_altered_code_are_found_all_over_the_corpus() -> None:
    styles = [(pair, text) for pair in plants.good("test") for text in plants.unchanged_styles(pair)]
    missed = [text for pair, text in styles if not plants.faults(pair, text) & {"copy", "bands"}]
    assert len(missed) <= 0.02 * len(styles), missed[:3]
    blocks = [(each, each.altered(alter)) for each in plants.coded() for alter in plants.ALTERED]
    altered = [(each, text) for each, text in blocks if text != each.restyled]
    assert len(altered) > 50
    assert all(
        "code" in {fault.check for fault in preserve.faults(each.source, text)} for each, text in altered
    )
    whole = [preserve.faults(each.source, each.restyled) for each in plants.coded()]
    assert not any(fault.check == "code" for each in whole for fault in each)


def spread(pairs: Sequence[plants.Pair], wanted: int) -> list[plants.Pair]:
    return [pairs[place * len(pairs) // wanted] for place in range(wanted)]


def alarms(pairs: Sequence[plants.Pair], checks: Checks) -> list[tuple[str, str, set[str]]]:
    found = [(pair.voice, pair.prompt, plants.faults(pair, checks=checks)) for pair in pairs]
    return [each for each in found if each[2]]


def test_no_more_than_two_false_alarms_in_fifty_good_rows() -> None:
    false = alarms(spread(plants.pairs("test"), 50), Checks())
    assert len(false) <= 2, false


def test_false_alarms_are_rare_in_every_split() -> None:
    rates = {
        split: len(alarms(plants.pairs(split), Checks())) / len(plants.pairs(split))
        for split in ("train", "validation", "test")
    }
    assert max(rates.values()) <= 0.05, rates


@pytest.mark.model
def test_with_embeddings_and_ear_false_alarms_stay_rare() -> None:
    from mien.base.embed import Embedder
    from mien.evaluate.classifier import VoiceClassifier

    embedder, classifier = Embedder.load(), VoiceClassifier()

    def cosine(one: str, other: str) -> float:
        first, second = embedder.embed([one, other])
        return float(first @ second)

    def heard(text: str) -> Mapping[str, float]:
        return dict(zip(classifier.labels, map(float, classifier.judge([text])[0]), strict=True))

    checks = Checks(cosine=cosine, heard=heard)
    good = spread(plants.pairs("test"), 50)
    false = alarms(good, checks)
    assert len(false) <= 2, false
    strangers = [one._replace(source=other.source) for one, other in pairwise(good)]
    told = ["meaning" in plants.faults(pair, checks=checks) for pair in strangers]
    assert sum(told) >= 0.75 * len(told)  # replies to another prompt; 40 of 49 when this was written
