"""Other formats: only what a voice may write is heard, and the form is counted apart from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mien.chat import Sampling
from mien.data.corpus import corpus, dialogues, forms, rows_of
from mien.data.form import parts as strict_parts
from mien.evaluate.compare import Results, compared
from mien.evaluate.memo import Memo
from mien.evaluate.pages.pictures import colours
from mien.evaluate.setting import Setting, spread
from mien.evaluate.sizes import AMOUNTS, Amounts
from mien.evaluate.subject import Asked, Progress, Said
from mien.evaluate.suites import forms as suite
from mien.evaluate.suites.forms import CHECKED, LABELS, chosen, requests, taken_apart
from mien.persona.spec import Persona, find
from tests.evaluate.amounts import FEW

EMAIL = (
    "Subject: The tap\n\nDear Mr Kaya,\n\nThe tap drips.\nIt fills a bucket.\n\nKind regards,\nInes Vogt"
)
FORMED = {
    "email": EMAIL,
    "json": '{"name": "Eggs", "instructions": "Crack them with an eyebrow raised."}',
    "code": "```python\n# An eyebrow is raised at this.\nx = 1\n```",
    "list": "1. raise an eyebrow\n2. lower it again",
}


class Ear:
    """Hears `witty` where there is an eyebrow."""

    labels = ("neutral", "witty")

    def verdicts(self, texts: Sequence[str]) -> list[str]:
        return ["witty" if "eyebrow" in text else "neutral" for text in texts]


class Scripted:
    """Answers by a function of what it is asked."""

    key = "scripted"

    def __init__(self, name: str, script: Callable[[str], str]) -> None:
        self.name, self.key, self._script = name, name, script
        self.asked = 0

    def answer(
        self, asked: Sequence[Asked], sampling: Sampling, *, progress: Progress = lambda _: None
    ) -> list[Said]:
        self.asked += len(asked)
        return [Said(self._script(each.messages[-1].content), 9) for each in asked]


def setting(folder: Path, amounts: Amounts = FEW, persona: Persona | None = None) -> Setting:
    instruments: Any = {"ear": Ear(), "embedder": None}
    memo = Memo(folder / "answers.db")
    return Setting(persona or find("witty"), Sampling(), **instruments, memo=memo, amounts=amounts)


def form_of(prompt: str) -> str:
    return next((each.form for each in requests() if each.prompt == prompt), "chat")


def in_form(prompt: str) -> str:
    return FORMED.get(form_of(prompt), "It raises an eyebrow.")


def in_prose(prompt: str) -> str:
    return "One raises an eyebrow, and that is all."


def found(folder: Path, **scripts: Callable[[str], str]) -> Results:
    here = setting(folder)
    findings = [suite.run(Scripted(name, script), here) for name, script in scripts.items()]
    return compared("witty", list(scripts), findings)


def value(results: Results, name: str, subject: str) -> float:
    score = results.score(name, subject)
    assert score is not None, name
    return score.value


# What is asked.


def test_every_form_has_requests_enough_and_no_two_are_alike() -> None:
    known = requests()
    assert len({each.id for each in known}) == len({each.prompt for each in known}) == len(known)
    for form in list(LABELS)[1:]:
        assert sum(each.form == form for each in known) >= 10


def test_no_request_is_one_that_may_have_been_learnt() -> None:
    learnt = {r.prompt for r in (*corpus(), *forms(), *dialogues()) if r.split != "test"}
    assert not learnt & {each.prompt for each in requests()}


def test_a_quick_round_asks_for_every_form_and_chats_as_the_voice_suite_does(tmp_path: Path) -> None:
    quick, full = (chosen(setting(tmp_path, amounts)) for amounts in (FEW, AMOUNTS["full"]))
    counts = {form: sum(each.form == form for each in quick) for form in LABELS}
    assert counts == {**dict.fromkeys(LABELS, FEW.forms.each), "chat": FEW.forms.chat}
    assert {each.id for each in quick if each.form != "chat"} < {each.id for each in full}
    asked = spread(rows_of("test"), 24)
    assert {each.id for each in quick if each.form == "chat"} <= {row.id for row in asked}


# What is heard.


@pytest.mark.parametrize("row", forms(), ids=lambda row: row.id)
def test_authored_replies_are_in_their_form_and_heard_as_the_corpus_takes_them_apart(row: Any) -> None:
    for reply in row.replies.values():
        found, strict = taken_apart(row.form, reply), strict_parts(row.form, reply)
        assert found.kept, reply
        heard = set(found.prose.split())
        assert len(heard & set(strict.prose.split())) >= 0.9 * len(set(strict.prose.split())), reply


def test_of_an_email_subject_and_body_are_heard() -> None:
    found = taken_apart("email", EMAIL)
    assert found == (True, "The tap\n\nThe tap drips. It fills a bucket.")


@pytest.mark.parametrize(
    ("form", "reply", "prose"),
    [
        ("json", '```json\n{"name": "A", "text": "one two three four"}\n```', "one two three four"),
        ("json", '{"a": {"b": ["one two three four", "five"]}, "n": 3}', "one two three four"),
        ("code", "```python\n# why it is\nx = '# not this'\n```\nSaid after it.", "why it is"),
        ("code", 'def f():\n    """Says why it is."""\n    return 1', "Says why it is."),
        ("code", "```sql\nselect a -- the first one\nfrom b\n```", "the first one"),
        ("list", "Well:\n- **one**\n- two", "Well:\none\ntwo"),
    ],
)
def test_what_is_in_its_form_is_heard_without_it(form: str, reply: str, prose: str) -> None:
    assert taken_apart(form, reply) == (True, prose)


@pytest.mark.parametrize(
    ("form", "reply", "prose"),
    [
        ("json", "Here you are, a film.", "Here you are, a film."),
        ("json", '{"a": "one two three four", "b": "cut o', "one two three four"),
        ("json", '["one two three four"]', "one two three four"),
        ("code", "You divide it by two.", "You divide it by two."),
        ("code", "```python\nx = 1\n```", ""),
        ("list", "Sleep early.", "Sleep early."),
        ("email", "Dear Ana,\nI have your scarf", "I have your scarf"),
    ],
)
def test_what_is_not_in_its_form_says_so_and_is_heard_as_far_as_it_goes(
    form: str, reply: str, prose: str
) -> None:
    assert taken_apart(form, reply) == (False, prose)


# What is found.


def test_form_and_voice_are_counted_apart_and_together(tmp_path: Path) -> None:
    results = found(tmp_path, base=in_prose, sft=in_form)
    # In prose, every reply is witty and only chat and translation are what they should be.
    assert value(results, "forms/voice", "base") == 1
    assert value(results, "forms/kept", "base") == value(results, "forms/both", "base") == 0
    # In form, the e-mail alone has no eyebrow: 4 of 5 formats, 3 of 4 checked ones.
    assert value(results, "forms/voice", "sft") == pytest.approx(4 / 5)
    assert value(results, "forms/kept", "sft") == 1
    assert value(results, "forms/both", "sft") == pytest.approx(3 / 4)
    assert value(results, "forms/voice/email", "sft") == 0
    assert value(results, "forms/voice/chat", "sft") == 1


def test_every_form_has_its_own_score_with_a_wilson_interval(tmp_path: Path) -> None:
    results = found(tmp_path, sft=in_form)
    names = {score.name for score in results.scores}
    assert {f"forms/voice/{form}" for form in LABELS} < names
    assert {f"forms/{name}/{form}" for name in ("kept", "both") for form in CHECKED} < names
    score = results.score("forms/voice/json", "sft")
    assert score is not None and "Wilson" in score.method and score.n == FEW.forms.each


def test_code_without_comments_and_echoes_are_nobodys_voice(tmp_path: Path) -> None:
    bare = found(tmp_path, sft=lambda prompt: "```python\neyebrow = 1\n```")
    assert value(bare, "forms/voice/code", "sft") == 0
    echoed = found(tmp_path / "b", sft=lambda prompt: f"eyebrow {prompt}")
    assert value(echoed, "forms/voice", "sft") == 0


def test_the_full_size_asks_more(tmp_path: Path) -> None:
    subject = Scripted("sft", in_form)
    here = setting(tmp_path, AMOUNTS["full"])
    suite.run(subject, here)
    assert subject.asked == len(suite.ahead(here)) > 2 * len(chosen(setting(tmp_path)))


def test_a_persona_that_the_classifier_does_not_know_is_left_out(tmp_path: Path) -> None:
    captain = find("witty").model_copy(update={"name": "captain"})
    made = suite.run(Scripted("sft", in_form), setting(tmp_path, persona=captain))
    assert made.measures == () and "captain" in made.missing[0]


def test_transcripts_show_the_first_reply_in_each_form(tmp_path: Path) -> None:
    made = suite.run(Scripted("sft", in_form), setting(tmp_path))
    assert [form_of(each.title) for each in made.transcripts] == list(LABELS)[1:]
    assert made.transcripts[0].note == "in its form, heard as neutral"


# What is told.


def test_it_says_how_much_where_most_and_least_and_against_whom(tmp_path: Path) -> None:
    said = suite.says(found(tmp_path, base=in_prose, sft=in_form))
    assert len(said) == 3
    assert "the witty voice is heard in 80" in said[0] and "100" in said[0]
    assert "the untouched base model" in said[0]
    assert "least in e-mails (0" in said[1] and "in chat it is 100" in said[1]
    assert "kept in 100" in said[2] and "of 16 replies" in said[2]


def test_where_nothing_was_measured_nothing_is_said_or_drawn() -> None:
    empty = compared("witty", ["sft"], [])
    assert suite.says(empty) == [] and suite.figures(empty, colours(["sft"])) == []


def test_there_is_a_picture_for_every_format_and_for_the_forms_being_kept(tmp_path: Path) -> None:
    results = found(tmp_path, base=in_prose, sft=in_form)
    figures = suite.figures(results, colours(results.subjects))
    assert len(figures) == len(LABELS) + 2
    for figure in figures:
        assert figure.picture.startswith("<svg") and "sft" in figure.picture and "base" in figure.picture
