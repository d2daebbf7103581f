from __future__ import annotations

import json

import pytest

from mien.data.corpus import Form, Parallel, forms
from mien.data.form import parts

EMAIL = "Subject: The tap\n\nDear Mr Kaya,\n\nIt drips.\n\nPlease send a plumber.\n\nKind regards,\nInes"
CODE = '''```python
def half(x):
    """Half of it,
    and no more."""
    # Why 2? "Because."

    return "#" if x else x / 2  # not // here
```'''
CARD = {
    "name": "Steel Box",
    "price": 24,
    "parts": ["a lid", "one two three four five"],
    "tip": "Dry it well, please.",
}


@pytest.mark.parametrize("row", forms(), ids=lambda row: row.id)
def test_every_built_in_reply_is_of_its_form(row: Parallel) -> None:
    frames = {parts(row.form, reply).frame for reply in row.replies.values()}
    assert len(frames) == 1
    assert all(parts(row.form, reply).prose for reply in row.replies.values())


def test_prose_that_is_chat_has_no_frame() -> None:
    assert parts("chat", "Boil it.") == ("", "Boil it.")


def test_an_email_is_subject_and_body_under_a_name() -> None:
    assert parts("email", EMAIL) == ("Ines", "The tap\n\nIt drips.\n\nPlease send a plumber.")


def test_json_keeps_its_keys_and_short_values_and_gives_up_its_sentences() -> None:
    frame, prose = parts("json", json.dumps(CARD, indent=2))
    assert json.loads(frame) == CARD | {"tip": None}
    assert prose == "Dry it well, please."


@pytest.mark.parametrize(
    ("reply", "frame"),
    [
        ("- One\n- Two", "- -"),
        ("1. One\n2. Two", "1. 2."),
        ("These.\n\n- One\n- Two", "line\n- -"),
        ("- One\n- Two\n\nDone.", "- -\nline"),
        ("These.\n\n1. One\n2. Two\n\nDone.", "line\n1. 2.\nline"),
    ],
)
def test_a_list_is_its_marks_and_the_lines_around_it(reply: str, frame: str) -> None:
    found = parts("list", reply)
    assert found.frame == frame
    assert set(found.prose.split()) == set(reply.split()) - {"-", "1.", "2."}


def test_code_is_bared_of_comments_and_docstrings_but_not_of_strings() -> None:
    frame, prose = parts("code", CODE)
    assert frame == 'python\ndef half(x):\n    return "#" if x else x / 2'
    assert prose == 'Half of it, and no more. Why 2? "Because. not // here'


@pytest.mark.parametrize(
    ("language", "line", "bare"),
    [
        ("javascript", 'go("//"); // said', 'go("//");'),
        ("javascript", "/* said\nso */ go();", " go();"),
        ("sql", "SELECT '--' -- said", "SELECT '--'"),
        ("bash", 'echo "#" $# # said', 'echo "#" $#'),
    ],
)
def test_comments_in_other_languages(language: str, line: str, bare: str) -> None:
    frame, prose = parts("code", f"```{language}\n{line}\n```")
    assert frame == f"{language}\n{bare}"
    assert prose.startswith("said")


@pytest.mark.parametrize(
    ("form", "reply", "reason"),
    [
        ("email", EMAIL.replace("Subject: ", ""), "not a subject"),
        ("email", EMAIL.replace("Dear Mr Kaya,\n\n", ""), "not a subject"),
        ("email", EMAIL.replace("Kind regards,\n", ""), "not a subject"),
        ("email", EMAIL.replace("\n\nKind", "\nKind"), "not a subject"),
        ("json", '{"a": 1', "delimiter"),
        ("json", '["a"]', "no object"),
        ("json", '{"a": 1}', "indented"),
        ("list", "One. Two.", "not one list"),
        ("list", "- One\n- Two\n\n- Three", "not one list"),
        ("list", "Well.\nSo.\n\n- One", "not one list"),
        ("list", "1. One\n3. Two", "1. 3."),
        ("list", "1. One\n- Two", "1. -"),
        ("code", "x = 1", "fenced"),
        ("code", "```cobol\nx\n```", "fenced"),
        ("code", "Here:\n```python\nx = 1\n```", "fenced"),
        ("code", "```python\nx = = 1\n```", "not Python"),
    ],
)
def test_what_is_not_of_a_form_is_refused_with_the_reason(form: Form, reply: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parts(form, reply)
