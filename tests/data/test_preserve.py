"""What a restyled reply has to keep, what it may change, and how the reason is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from mien.data import preserve
from mien.data.corpus import VOICES, forms
from mien.data.preserve import faults
from mien.schema import Message
from tests.data import plants


def told(source: str, restyled: str, context: str = "") -> list[str]:
    return [f"{fault.check}: {fault.message}" for fault in faults(source, restyled, context=context)]


@pytest.mark.parametrize(
    ("source", "restyled"),
    [
        ("It costs 382 euros.", "That will be 382 euros, please."),
        ("It costs 1,200 dollars.", "You pay 1200 dollars."),
        ("It costs $1,200.", "You pay 1,200 dollars."),
        ("It takes 20 minutes.", "Give it twenty minutes."),
        ("It takes twenty-five minutes.", "Give it 25 minutes."),
        ("There were 100 of them.", "There were a hundred of them."),
        ("There were 2,000 of them.", "There were two thousand of them."),
        ("It begins at 7:30.", "Half past seven it begins."),
        ("Use 10 percent.", "Use 10%."),
        ("Bring two friends.", "Bring a pair of friends."),
        ("There is one rule.", "There is a rule."),
        ("The two of them agree.", "Both agree, and three cheers for that."),
        ("It was 3 March.", "It was on the 3rd of March."),
        ("It was 3 March.", "March 3 it was."),
    ],
)
def test_the_same_number_in_other_words_is_kept(source: str, restyled: str) -> None:
    assert told(source, restyled) == []


@pytest.mark.parametrize(
    ("source", "restyled", "reason"),
    [
        ("It costs 382 euros.", "It costs a lot.", "number: the number 382 is missing"),
        ("It costs 382 euros.", "It costs 328 euros.", "number: the number 328 is new"),
        ("It costs a lot.", "It costs 328 euros.", "number: the number 328 is new"),
        ("Wait twenty minutes.", "Wait a while.", "number: the number 20 is missing"),
        ("Wait five minutes.", "Wait six minutes.", "number: the number 5 is missing"),
        ("Boil 2 kg of rice.", "Boil 2 g of rice.", "unit: 2 kg has become 2 g"),
        ("Wait 3 days.", "Wait 3 weeks.", "unit: 3 day has become 3 week"),
        ("Come at 7 pm.", "Come at 7 am.", "unit: 7 pm has become 7 am"),
        ("Pay $40.", "Pay 40 euros.", "unit: 40 dollar has become 40 euro"),
        ("From 3 May to 9 June.", "From 3 June to 9 May.", "unit: 3 may has become 3 june"),
    ],
)
def test_another_number_or_unit_is_a_fault(source: str, restyled: str, reason: str) -> None:
    assert reason in told(source, restyled)


def test_what_the_user_said_may_stay_unsaid_unless_something_else_is_said() -> None:
    source, context = (
        "The rule of 72 and the test on Friday stand.",
        "Does my rule of 72 hold on friday?",
    )
    assert told(source, "Your rule and the test stand.", context) == []
    assert told(source, "Your rule of 70 and the test stand.", context)
    assert told(source, "Your rule of 72 and the test on Monday stand.", context) == [
        "name: the name Friday is missing"
    ]


def test_in_a_draft_nothing_stays_unsaid() -> None:
    """Its readers do not know what the user knows."""
    source, context = (
        "Dear Priya,\nI am late by 15 minutes on Friday.",
        "Tell Priya I'm 15 late on Friday.",
    )
    assert told(source, "Hello,\nI shall be late by minutes.", context) == [
        "number: the number 15 is missing",
        "name: the name Friday is missing",
        "name: the name Priya is missing",
    ]
    quoted = 'Say: "I shall be late for the meeting with Priya, I fear."'
    assert told(quoted, 'Say: "I fear I shall be late for the meeting."', context)


def test_a_number_of_the_user_is_not_new() -> None:
    assert told("That is enough.", "Your 15 are enough.", "I have 15 of them.") == []


@pytest.mark.parametrize(
    ("source", "restyled"),
    [
        ("Ask Priya about it.", "Priya's the one to ask."),
        ("Ask O'Brien about NASA.", "NASA? O'Brien knows."),
        ("The poet was Japanese.", "A poet from Japan."),
        ("It is closed on Sundays.", "On Sunday, closed."),
        ("I said so. However, I was wrong.", "I said so, and was wrong."),
        ("Steps:\n1. Buy milk.\n2. Boil it.", "Steps:\n1. Milk is bought.\n2. It is boiled."),
        ('He said "Never mind that old thing at all" and left.', "He told us to forget it, and left."),
    ],
)
def test_a_name_in_another_form_is_kept_and_a_capital_is_not_always_a_name(
    source: str, restyled: str
) -> None:
    assert told(source, restyled) == []


@pytest.mark.parametrize(
    ("source", "restyled", "context", "lost"),
    [
        ("Please ask Priya about it.", "Please ask her about it.", "", "Priya"),
        ("Dear Mr. Kaya, it drips.", "Dear landlord, it drips.", "", "Kaya"),
        ("Marta knows.", "She knows.", "Is it Marta who could be asked by Tom?", ""),
        ("Marta knows.", "Tom Baker knows.", "Is it Marta who could be asked by Tom?", "Marta"),
        ("NASA knows.", "They know.", "", "NASA"),
        ("Hi! JavaScript does it.", "Hi! The browser does it.", "", "JavaScript"),
        ("The road to Rome is long.", "The road is long.", "", "Rome"),
    ],
)
def test_a_name_that_is_gone_is_a_fault(source: str, restyled: str, context: str, lost: str) -> None:
    assert told(source, restyled, context) == ([f"name: the name {lost} is missing"] if lost else [])


@pytest.mark.parametrize(
    "literal",
    [
        "https://example.org/a?b=1",
        "ines@example.com",
        "report_final.pdf",
        "/etc/hosts",
        "{first_name}",
        "`git  push`",
        "max_tokens",
        "print()",
        "@ines_k",
        "#garden",
    ],
)
def test_a_literal_is_kept_to_the_letter(literal: str) -> None:
    assert told(f"Look at {literal}, then go on.", f"Go on after {literal}.") == []
    other = literal[:2] + literal[2:].upper() if literal != "/etc/hosts" else "/etc/host"
    assert any("is missing" in each for each in told(f"Look at {literal} now.", f"Look at {other} now."))


def test_a_new_link_is_a_fault() -> None:
    reasons = told("Look it up.", "Look it up at www.example.org/page.")
    assert reasons == ["literal: www.example.org/page is new"]


def test_short_quotations_are_kept_and_long_ones_are_drafts() -> None:
    source = 'Press "Save as" and say "I am sorry that I snapped at you in front of all of them".'
    assert told(source, "Say \u201cI regret that I was rude\u201d and press \u201csave as\u201d.") == []
    assert told(source, "Press the button and apologise.") == [
        'quotation: the quotation "Save as" is missing'
    ]


CODE = "Run this:\n\n```python\nif a:\n    b = 1\n```\n"


@pytest.mark.parametrize(
    ("restyled", "reason"),
    [
        (CODE.replace("    b", "  b"), "code: code block 1 has changed; keep all of it as it is"),
        (CODE.replace("b = 1", "b=1"), "code: code block 1 has changed; keep all of it as it is"),
        ("Run nothing.", "code: it has 0 code blocks; the source has 1"),
        (CODE + CODE, "code: it has 2 code blocks; the source has 1"),
    ],
)
def test_code_is_kept_byte_for_byte(restyled: str, reason: str) -> None:
    assert told(CODE, CODE.replace("Run this", "Here you are")) == []
    assert reason in told(CODE, restyled)


def test_the_numbers_in_code_are_no_numbers_of_the_prose() -> None:
    assert told("Short.\n\n```\nx = 12345\n```", "Brief.\n\n```\nx = 12345\n```") == []


JSON = (
    '{"stars": 4, "when": "9 May", "review": "It starts slowly and then it shines.", "tags": ["a", "b"]}'
)


@pytest.mark.parametrize(
    ("restyled", "reason"),
    [
        (JSON.replace("4", "5"), "json: the value of `stars` must stay 4"),
        (JSON.replace("4", '"4"'), "json: the value of `stars` must stay 4"),
        (JSON.replace("9 May", "May 9"), 'json: the value of `when` must stay "9 May"'),
        (
            JSON.replace("stars", "rating"),
            "json: the keys must be stars, when, review, tags, in this order",
        ),
        (JSON.replace(', "b"', ""), "json: the list of `tags` must have 2 values"),
        (JSON.replace('"b"', '"c"'), 'json: the value of `tags[1]` must stay "b"'),
        (JSON[:-1], "json: it is not valid JSON; answer with the JSON value alone"),
        (
            JSON.replace('"It starts slowly and then it shines."', "7"),
            "json: the value of `review` must stay free text",
        ),
    ],
)
def test_json_keeps_all_but_the_wording_of_its_free_text(restyled: str, reason: str) -> None:
    assert (
        told(
            JSON, JSON.replace("It starts slowly and then it shines.", "Slow at first. Do stay with it!")
        )
        == []
    )
    assert reason in told(JSON, restyled)


def test_a_list_keeps_its_items() -> None:
    source = "Do this:\n\n- Eat.\n- Sleep.\n- Read."
    assert told(source, "So:\n\n- Have a bite.\n- Have a nap.\n- Have a book.") == []
    assert told(source, "So:\n\n- Have a bite.\n- Have a nap.") == [
        "list: it has 2 bulleted list items; the source has 3"
    ]
    assert len(told(source, "So:\n\n1. Have a bite.\n2. Have a nap.\n3. Have a book.")) == 2
    assert told("100. That is the number.", "It is 100.") == []


def test_the_length_stays_about_the_same() -> None:
    source = "word " * 40
    assert told(source, "other " * 60) == []
    assert told(source, "other " * 20) == ["length: it has 20 words; write 24 to 68"]
    assert told(source, "other " * 90) == ["length: it has 90 words; write 24 to 68"]
    assert told("Yes, of course.", "Yes.") == []


def test_meaning_is_asked_of_the_embedder_that_is_passed_in() -> None:
    asked: list[tuple[str, str]] = []

    def cosine(one: str, other: str) -> float:
        asked.append((one, other))
        return 0.1

    found = faults("Sleep well.\n```\nx\n```", "Cars are red.\n```\nx\n```", cosine=cosine)
    assert [fault.check for fault in found] == ["meaning"]
    assert "0.10" in found[0].message
    assert "x" not in asked[0][0]  # prose only


def test_calls_of_tools_are_kept() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    source = Message(role="assistant", content="One moment.", tool_calls=(call,))
    assert list(preserve.tool_calls(source, source.model_copy(update={"content": "Wait."}))) == []
    other = {**call, "function": {"name": "f", "arguments": '{"a":1}'}}
    changed = source.model_copy(update={"tool_calls": (other,)})
    assert [fault.message for fault in preserve.tool_calls(source, changed)] == [
        "`tool_calls` has changed"
    ]


def test_a_writer_can_be_told_what_to_keep() -> None:
    source = 'Pay 382 euros to Priya by 3 March, see report.pdf and press "Save as".'
    assert preserve.must_keep(source) == ["3", "382", "March", "Priya", "Save as", "report.pdf"]


def test_every_reply_keeps_itself() -> None:
    texts = [row.replies[voice] for row in forms() for voice in VOICES]
    texts += [pair.restyled for pair in plants.pairs("test")]
    assert [text for text in texts if faults(text, text)] == []


def test_forms_of_the_corpus_keep_their_form() -> None:
    """E-mails, lists and JSON, neutral to each voice; code differs on purpose, in its comments."""
    rows = [row for row in forms() if row.form != "code"]
    found = [
        {fault.check for fault in faults(row.replies["neutral"], row.replies[voice], context=row.prompt)}
        for row in rows
        for voice in VOICES[1:]
    ]
    assert not any(each & {"json", "list", "literal", "length", "code"} for each in found)
    assert sum(map(bool, found)) <= 0.05 * len(found)


@pytest.mark.parametrize(
    ("plant", "check"), [(plants.changed_numbers, "number"), (plants.dropped_names, "name")]
)
def test_planted_faults_are_found_all_over_the_corpus(
    plant: Callable[[plants.Pair], Iterator[str]], check: str
) -> None:
    planted = [(pair, text) for pair in plants.good("test") for text in plant(pair)]
    missed = [(pair.source, text) for pair, text in planted if check not in plants.faults(pair, text)]
    assert len(planted) >= 50
    assert len(missed) <= 0.02 * len(planted), missed[:5]


def test_no_torch_is_imported() -> None:
    code = "import sys, mien.data.restyled; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
