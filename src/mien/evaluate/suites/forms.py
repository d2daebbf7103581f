"""Does the voice hold where a reply has to be something: an e-mail, JSON, code, a list, a translation?

Training shows a persona in prose. Here the same classifier hears only what a voice may write: the texts
in JSON, the comments in code, an e-mail without its greeting. Whether the form itself was kept is
counted apart, because a charming paragraph is no JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from importlib import resources
from typing import Any, NamedTuple

from pydantic import Field

from mien import specfile
from mien.data.corpus import VOICES, forms, rows_of
from mien.data.form import FREE_WORDS
from mien.data.wording import ECHOED, echo
from mien.evaluate.classifier import METHOD
from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.pages import pictures
from mien.evaluate.pages.words import called, direction, ends, listed, show
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Subject
from mien.evaluate.suites.held_out import rows_for
from mien.evaluate.suites.voice.suite import ECHO, system_prompt_of
from mien.schema import Message, Score, Strict, conversation

NAME = "forms"
TITLE = "Does it hold in other formats?"
SEEDS = (0, 1)
LABELS = {
    "chat": "chat",
    "email": "e-mails",
    "json": "JSON",
    "code": "code comments",
    "list": "lists",
    "translation": "translations",
}
CHECKED = ("email", "json", "code", "list")  # forms that a program can tell

MEANINGS = {
    "forms/voice": Meaning(
        "Voice in other formats",
        "Out of all replies that had to be an e-mail, JSON, code, a list or a translation, how many a"
        " trained classifier takes for this persona. Only what a voice may write is heard: the texts in"
        " JSON, the comments in code.",
        1,
        True,
    ),
    "forms/voice/*": Meaning(
        "Voice, by format", "The same, for one format; chat is for comparison.", 1, True
    ),
    "forms/kept": Meaning(
        "Format kept",
        "How many of the replies that had to be an e-mail, JSON, code with comments or a list are one,"
        " whatever they say.",
        1,
        True,
    ),
    "forms/kept/*": Meaning("Format kept, by format", "The same, for one format.", 1, True),
    "forms/both": Meaning(
        "Voice and format at once", "How many of those replies keep the format and the voice.", 1, True
    ),
    "forms/both/*": Meaning("Both at once, by format", "The same, for one format.", 1, True),
}
_SHARE = MEANINGS["forms/voice"]


# What is asked for.


class Request(NamedTuple):
    """Something that has to be answered in a form."""

    id: str
    form: str
    prompt: str


class Requests(Strict):
    """Our own requests, by form."""

    email: tuple[str, ...] = Field(min_length=1)
    json_: tuple[str, ...] = Field(min_length=1, alias="json")
    code: tuple[str, ...] = Field(min_length=1)
    list_: tuple[str, ...] = Field(min_length=1, alias="list")
    translation: tuple[str, ...] = Field(min_length=1)


@lru_cache(maxsize=1)
def requests() -> tuple[Request, ...]:
    """All requests but for chat: those of the corpus' test split, then our own."""
    file = resources.files("mien.evaluate.suites") / "data" / "forms.yaml"
    own = specfile.parse(file.read_text(encoding="utf-8"), Requests, source="forms.yaml")
    return (
        *(Request(row.id, row.form, row.prompt) for row in rows_of("test", forms())),
        *(
            Request(f"own-{form}-{number:02}", form, prompt)
            for form, prompts in own.model_dump(by_alias=True).items()
            for number, prompt in enumerate(prompts, 1)
        ),
    )


def chosen(setting: Setting) -> list[Request]:
    """What is asked: some of every form, and of the chat prompts that the voice suite asks as well."""
    amount = setting.amounts.forms
    chat = spread(rows_for(setting), amount.chat)
    asked = [Request(row.id, "chat", row.prompt) for row in chat]
    for form in LABELS:
        mine = [request for request in requests() if request.form == form]
        asked += spread(mine, amount.each)
    return asked


def asked_for(setting: Setting) -> list[tuple[Request, int]]:
    """Requests with the seeds of their replies."""
    return [(each, seed) for seed in SEEDS[: setting.amounts.forms.seeds] for each in chosen(setting)]


# What is heard of a reply.

_GREETING = re.compile(r"(?i)(dear|hi|hello|hey|good (morning|afternoon|evening)|to whom)\b.{0,60}")
_SIGN_OFF = re.compile(
    r"(?i)((kind|best|warm|many|with)\b.{0,40}|yours\b.{0,20}"
    r"|regards|sincerely|thanks|thank you|cheers|love)[,.!]?|(\S+ ){0,4}\S+,"
)
_SUBJECT = re.compile(r"(?im)^\W{0,2}subject\W{0,3}:\W{0,3}(.+)$")
_FENCED = re.compile(r"```\w*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_VALUE = re.compile(r':\s*"((?:\\.|[^"\\])*)"')
_ITEM = re.compile(r"(?m)^\s*(?:\d+[.)]|[-*•])\s+(?=\S)")
_CODE_LINE = re.compile(r"(?im)^\s*(def |import |function |const |let |select |#!|for .*:\s*$|print\()")
_SAID = re.compile(
    r'"""(?P<a>.*?)"""|\'\'\'(?P<b>.*?)\'\'\'|/\*(?P<c>.*?)\*/|(?:#|//|--)(?P<d>[^\n]*)'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
    re.DOTALL,
)


class Parts(NamedTuple):
    """A reply as it is judged.

    Attributes:
        kept: Whether it is in the form that was asked for.
        prose: What of it a voice has written; "" where there is nothing to be heard.
    """

    kept: bool
    prose: str


def taken_apart(form: str, reply: str) -> Parts:
    """A reply as it is judged; one that is not in its form is heard whole."""
    return _PARTS[form](reply) if form in _PARTS else Parts(True, reply)


def _email(reply: str) -> Parts:
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    subject = _SUBJECT.search(reply)
    starts = [place for place, line in enumerate(lines) if _GREETING.fullmatch(line)]
    stops = [place for place, line in enumerate(lines) if _SIGN_OFF.fullmatch(line)]
    first = starts[0] + 1 if starts else 0
    last = stops[-1] if stops and stops[-1] > first else len(lines)
    body = [line for line in lines[first:last] if not _SUBJECT.fullmatch(line)]
    prose = "\n\n".join([*([subject[1]] if subject else []), " ".join(body)])
    return Parts(bool(starts and body and last < len(lines)), prose)


def _json(reply: str) -> Parts:
    fenced = _FENCED.search(reply)
    text = (fenced[1] if fenced else reply).strip()
    try:
        value = json.loads(text)
    except ValueError:
        found = [each for each in _VALUE.findall(text) if _free(each)]
        return Parts(False, " ".join(found) or reply)
    return Parts(isinstance(value, dict), " ".join(_texts(value)))


def _texts(value: Any) -> Iterator[str]:
    """All free texts in a JSON value; names, dates and choices are none."""
    if isinstance(value, str):
        yield from [value] if _free(value) else []
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _free(text: str) -> bool:
    return len(text.split()) >= FREE_WORDS


def _code(reply: str) -> Parts:
    blocks = _FENCED.findall(reply)
    if not blocks and not _CODE_LINE.search(reply):
        return Parts(False, reply)
    code = "\n".join(blocks) or reply
    said = (match[match.lastgroup] for match in _SAID.finditer(code) if match.lastgroup)
    comments = [" ".join(text.split()) for text in said]
    prose = " ".join(each for each in comments if len(each.split()) > 1)
    return Parts(bool(prose), prose)


def _list(reply: str) -> Parts:
    return Parts(len(_ITEM.findall(reply)) > 1, _ITEM.sub("", reply).replace("**", ""))


_PARTS: Mapping[str, Callable[[str], Parts]] = {
    "email": _email,
    "json": _json,
    "code": _code,
    "list": _list,
}


# What is found.


class Heard(NamedTuple):
    """One reply to one request."""

    request: Request
    seed: int
    text: str
    kept: bool
    prose: str
    voice: str


def run(subject: Subject, setting: Setting) -> Finding:
    """Ask for every form, and hear what of the replies a voice has written."""
    if setting.persona.name not in VOICES:
        why = f"the classifier has never heard {setting.persona.name!r}"
        return Finding(suite=NAME, subject=subject.name, missing=(why,))
    found = heard(subject, setting, asked_for(setting))
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=tuple(_measures(found, setting.persona.name)),
        transcripts=tuple(_transcripts(found)),
    )


def ahead(setting: Setting) -> list[Asked]:
    """What is asked, for a large batch with the questions of other suites."""
    if setting.persona.name not in VOICES:
        return []
    return [Asked(conversation(each.prompt), seed) for each, seed in asked_for(setting)]


def heard(subject: Subject, setting: Setting, asked: Sequence[tuple[Request, int]]) -> list[Heard]:
    """Replies to requests, each with a seed, taken apart and heard."""
    said = setting.ask(subject, [Asked(conversation(each.prompt), seed) for each, seed in asked])
    parts = [taken_apart(each.form, reply.text) for (each, _), reply in zip(asked, said, strict=True)]
    verdicts = setting.ear.verdicts([each.prose or "." for each in parts])
    told = system_prompt_of(subject)
    return [
        Heard(request, seed, reply.text, part.kept, part.prose, _voice(part, request, told, verdict))
        for (request, seed), reply, part, verdict in zip(asked, said, parts, verdicts, strict=True)
    ]


def _voice(part: Parts, request: Request, told: str | None, verdict: str) -> str:
    if not part.prose.strip():
        return "nobody"
    echoed = echo(part.prose, conversation(request.prompt, system=told))
    return ECHO if echoed > ECHOED else verdict


def _measures(found: Sequence[Heard], persona: str) -> Iterator[Measure]:
    others = [each for each in found if each.request.form != "chat"]
    checked = [each for each in found if each.request.form in CHECKED]
    tests: dict[str, tuple[Sequence[Heard], Callable[[Heard], bool], str]] = {
        "voice": (others, lambda each: each.voice == persona, METHOD),
        "kept": (checked, lambda each: each.kept, "the reply is in its form, told by rules"),
        "both": (
            checked,
            lambda each: each.kept and each.voice == persona,
            f"the reply is in its form, told by rules, and {METHOD}",
        ),
    }
    for name, (whole, test, method) in tests.items():
        yield _share(f"{NAME}/{name}", whole, test, method)
        for form in LABELS:
            rows = [each for each in (found if name == "voice" else whole) if each.request.form == form]
            if rows:
                yield _share(f"{NAME}/{name}/{form}", rows, test, method)


def _share(name: str, found: Sequence[Heard], test: Callable[[Heard], bool], method: str) -> Measure:
    return Measure(
        name=name,
        values=tuple(float(test(each)) for each in found),
        units=tuple(each.request.id for each in found),
        method=method,
        scale="share",
    )


def _transcripts(found: Sequence[Heard]) -> Iterator[Transcript]:
    """The first reply in each form."""
    for form in list(LABELS)[1:]:
        each = next(each for each in found if each.request.form == form)
        kept = "" if form not in CHECKED else "in its form, " if each.kept else "not in its form, "
        yield Transcript(
            title=each.request.prompt,
            messages=(
                Message(role="user", content=each.request.prompt),
                Message(role="assistant", content=each.text or "(nothing)"),
            ),
            note=f"{kept}heard as {each.voice}",
        )


# What is told.


def says(results: Results) -> list[str]:
    """How often the voice is heard outside chat, where most and least, and whether the form is kept."""
    judged = results.subjects[-1]
    voice, kept = (results.score(f"{NAME}/{name}", judged) for name in ("voice", "kept"))
    if voice is None or kept is None:
        return []
    said = f"Outside chat the {results.persona} voice is heard in {_with_ends(voice)}"
    return [
        f"{said}{_against(results, voice)}.",
        *_best_and_worst(results, judged),
        f"The format that was asked for is kept in {_with_ends(kept)}{_against(results, kept)}.",
    ]


def _with_ends(score: Score) -> str:
    return f"{show(_SHARE, score.value)} of {score.n} replies ({ends(_SHARE, score)})"


def _against(results: Results, score: Score) -> str:
    found = (results.score(score.name, each) for each in CONTROLS if each != score.system)
    others = [f"{show(_SHARE, each.value)} from {called(each.system)}" for each in found if each]
    return f", against {listed(others)}" if others else ""


def _best_and_worst(results: Results, judged: str) -> list[str]:
    found = {form: results.score(f"{NAME}/voice/{form}", judged) for form in LABELS}
    known = {form: score for form, score in found.items() if score}
    chat = known.pop("chat", None)
    if len(known) < 2:
        return []
    worst, *_, best = sorted(known, key=lambda form: known[form].value)
    said = (
        f"It is heard most in {LABELS[best]} ({show(_SHARE, known[best].value)}) and least in"
        f" {LABELS[worst]} ({show(_SHARE, known[worst].value)}, {ends(_SHARE, known[worst])})"
    )
    return [f"{said}; in chat it is {show(_SHARE, chat.value)}." if chat else f"{said}."]


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """The voice in every format, and how often the format is kept."""
    names = {f"{NAME}/voice/{form}": f"Voice heard in {label}" for form, label in LABELS.items()}
    names |= {f"{NAME}/{name}": MEANINGS[f"{NAME}/{name}"].label for name in ("kept", "both")}
    return [
        Figure(
            title,
            pictures.dot_plot(title, found, paint=paint, show=partial(show, _SHARE), within=(0.0, 1.0)),
            direction(_SHARE),
        )
        for name, title in names.items()
        if (found := [score for each in results.subjects if (score := results.score(name, each))])
    ]
