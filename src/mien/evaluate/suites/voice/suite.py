"""Is the personality there? Held-out prompts are answered, and every reply is heard and measured.

The replies that this suite asks for are the ones that other suites look at too, so they are asked once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from mien.data.corpus import VOICES, Parallel
from mien.data.wording import ECHOED, REPEATED, distinct, echo, repetition
from mien.errors import UnableError
from mien.evaluate.classifier import METHOD
from mien.evaluate.compare import Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure, Transcript
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, Options, Said, Subject
from mien.evaluate.suites.held_out import questions, rows_for
from mien.evaluate.suites.voice import figures as drawn
from mien.evaluate.suites.voice.figures import says
from mien.persona.voice import DIMENSIONS, measure, measures_of
from mien.schema import Message, Strict, conversation

__all__ = ["MEANINGS", "NAME", "TITLE", "ahead", "figures", "run", "says"]

NAME = "voice"
TITLE = "Is the personality there?"
SEEDS = (0, 1)
ECHO = "echo"
_TRANSCRIPTS = 8
_SUREST = 7.0  # log-odds beyond which a classifier of this size knows no better

DIMENSION_WORDS = {
    "tone": "how positive and how certain it sounds",
    "pacing": "how long replies and sentences are, and how evenly they run",
    "vocabulary": "how plain and how varied the words are",
    "emotional_range": "how much feeling shows, and how it changes",
    "habits": "whether it asks questions and speaks to the reader",
}

MEANINGS = {
    "voice/rate": Meaning(
        "Voice heard",
        "Out of all replies, how many a trained classifier takes for this persona when it has to choose"
        " among all voices it knows.",
        1,
        True,
    ),
    "voice/topic/*": Meaning(
        "Voice heard, by topic", "The same, for the prompts of one topic.", 1, True
    ),
    "voice/strength": Meaning(
        "Strength of the voice",
        "How sure the classifier is that a reply is in this voice, as log-odds: 0 is one to one, 3 is"
        " twenty to one. It goes on rising where all replies are heard already.",
        1,
    ),
    "voice/in_band": Meaning(
        "On target",
        "Every reply is measured in several ways, such as the length of its sentences. This is how many"
        " of those measures fall within the persona's target range, on average.",
        1,
        True,
    ),
    **{
        f"voice/in_band/{name}": Meaning(
            f"On target: {name.replace('_', ' ')}", f"{words.capitalize()}.", 1, True
        )
        for name, words in DIMENSION_WORDS.items()
    },
    "voice/content": Meaning(
        "Content kept",
        "How close a reply comes in meaning to the authored plain answer to the same prompt; 1 would be"
        " the very same meaning.",
        1,
    ),
    "voice/variety": Meaning(
        "Variety",
        "How many of all pairs of neighbouring words are different. A low share means stock phrases.",
        1,
        True,
    ),
    "voice/repetition": Meaning(
        "Repetition",
        "How much of a reply says again, in the same four words, what it has said before. A model that"
        " has lost its way goes round in circles.",
        -1,
        True,
    ),
    "voice/echo": Meaning(
        "Echo",
        "How much of a reply only recites, four words at a time, what the model was given to read. What"
        " is more than half echo counts as nobody's voice.",
        -1,
        True,
    ),
    "voice/kl": Meaning(
        "Distance from the base",
        "How far the reply's words are from what the untouched base would have said, in nats a reply"
        " (KL divergence). What a voice costs, whatever it was bought with; of two that are heard alike,"
        " the nearer one is the better.",
    ),
    "voice/perplexity": Meaning(
        "Perplexity",
        "How surprised the system is by authored replies in this voice that it has never seen:"
        " 10 means as unsure as between 10 equally likely words, 1 means not surprised at all.",
        -1,
    ),
}


class Reply(Strict):
    """One reply and everything measured on it.

    Attributes:
        voice: What the classifier hears, or `echo`.
        confidence: Its probability for that.
        intended: Its probability for the intended voice.
        content: Cosine of its embedding with that of the authored neutral reply.
    """

    prompt_id: str
    topic: str
    prompt: str
    seed: int
    text: str
    tokens: int
    ended: bool
    voice: str
    confidence: float
    intended: float
    measures: dict[str, float]
    content: float
    repetition: float
    echo: float


def run(subject: Subject, setting: Setting) -> Finding:
    """Answer the corpus' test prompts, each once per seed, and measure every reply."""
    if setting.persona.name not in VOICES:
        why = f"the built-in corpus has no voice {setting.persona.name!r} to compare with"
        return Finding(suite=NAME, subject=subject.name, missing=(why,))
    rows = rows_for(setting)
    found = replies(subject, setting, rows, SEEDS[: setting.amounts.held_out.seeds])
    measures, missing = [*_measures(found, setting)], list[str]()
    for what, part in (
        ("perplexity", partial(_perplexity, subject, setting, rows)),
        ("distance from the base", partial(_moved, subject, setting, found)),
    ):
        try:
            measures.append(part())
        except UnableError as error:
            missing.append(f"{what}: {error.what}")
    return Finding(
        suite=NAME,
        subject=subject.name,
        measures=tuple(measures),
        detail={
            "replies": [reply.model_dump() for reply in found],
            "bands": setting.persona.voice.bands(),
            "authored": {row.id: row.replies[setting.persona.name] for row in rows},
        },
        transcripts=_transcripts(found),
        missing=tuple(missing),
    )


def ahead(setting: Setting) -> list[Asked]:
    """What is asked, for a large batch with the questions of other suites."""
    if setting.persona.name not in VOICES:
        return []
    return questions(setting, setting.amounts.held_out.seeds)


def replies(
    subject: Subject, setting: Setting, rows: Sequence[Parallel], seeds: Sequence[int]
) -> list[Reply]:
    """A subject's replies to rows of the corpus, heard and measured."""
    asked = [(row, seed) for seed in seeds for row in rows]
    said = setting.ask(subject, [Asked(conversation(row.prompt), seed) for row, seed in asked])
    texts = [each.text for each in said]
    mass = setting.ear.judge(texts)
    intended = setting.ear.labels.index(setting.persona.name)
    neutral = setting.embedder.embed([row.replies["neutral"] for row in rows])
    contents = dict(zip((row.id for row in rows), neutral, strict=True))
    vectors = setting.embedder.embed(texts)
    return [
        _reply(
            row,
            seed,
            each,
            heard=(setting.ear.labels[int(row_mass.argmax())], row_mass.max(), row_mass[intended]),
            content=float(vector @ contents[row.id]),
            told=system_prompt_of(subject),
        )
        for (row, seed), each, row_mass, vector in zip(asked, said, mass, vectors, strict=True)
    ]


def system_prompt_of(subject: Subject) -> str | None:
    """What a subject is given to read before everything it is asked, if it tells."""
    told = getattr(subject, "system_prompt", None)
    return told if isinstance(told, str) else None


def _reply(
    row: Parallel,
    seed: int,
    said: Said,
    *,
    heard: tuple[str, float, float],
    content: float,
    told: str | None,
) -> Reply:
    echoed = echo(said.text, conversation(row.prompt, system=told))
    voice, confidence, intended = heard
    return Reply(
        prompt_id=row.id,
        topic=row.topic,
        prompt=row.prompt,
        seed=seed,
        text=said.text,
        tokens=said.tokens,
        ended=said.ended,
        voice=ECHO if echoed > ECHOED else voice,
        confidence=float(confidence),
        intended=float(intended),
        measures=measure(said.text),
        content=content,
        repetition=repetition(said.text),
        echo=echoed,
    )


def _measures(found: Sequence[Reply], setting: Setting) -> list[Measure]:
    units = tuple(reply.prompt_id for reply in found)
    hits = [float(reply.voice == setting.persona.name) for reply in found]
    bands = setting.persona.voice.bands()

    def whole(name: str, values: Sequence[float], method: str, *, share: bool = False) -> Measure:
        return Measure(
            name=f"{NAME}/{name}",
            values=tuple(values),
            units=units,
            method=method,
            scale="share" if share else "mean",
        )

    on_target = "share of the persona's stated measures inside their band, per reply"
    repeated = f"share of word {REPEATED}-grams of a reply that"
    measures = [
        whole("rate", hits, METHOD, share=True),
        whole(
            "strength",
            [_log_odds(reply.intended) for reply in found],
            f"log-odds of the intended voice, at most {_SUREST:g}; {METHOD}",
        ),
        whole("in_band", [_in_band(reply, bands, list(bands)) for reply in found], on_target),
        *(
            whole(f"in_band/{dimension}", [_in_band(reply, bands, stated) for reply in found], on_target)
            for dimension in DIMENSIONS
            if (stated := [name for name in measures_of(dimension) if name in bands])
        ),
        whole(
            "content",
            [reply.content for reply in found],
            "cosine of MiniLM embeddings with the authored neutral reply",
        ),
        whole(
            "variety",
            [distinct(reply.text, 2) for reply in found],
            "distinct word pairs over all word pairs of a reply (Li et al. 2016)",
        ),
        whole("repetition", [reply.repetition for reply in found], f"{repeated} occurred earlier in it"),
        whole("echo", [reply.echo for reply in found], f"{repeated} the model was given to read"),
    ]
    return measures + [
        Measure(
            name=f"{NAME}/topic/{topic}",
            values=tuple(hit for hit, reply in zip(hits, found, strict=True) if reply.topic == topic),
            units=tuple(reply.prompt_id for reply in found if reply.topic == topic),
            method=METHOD,
            scale="share",
        )
        for topic in sorted({reply.topic for reply in found})
    ]


def _log_odds(share: float) -> float:
    odds = math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(_SUREST, share - 0.5)
    return max(-_SUREST, min(_SUREST, odds))


def _in_band(reply: Reply, bands: dict[str, tuple[float, float]], names: Sequence[str]) -> float:
    inside = [bands[name][0] <= reply.measures[name] <= bands[name][1] for name in names]
    return sum(inside) / len(inside) if inside else 1.0


def _perplexity(subject: Subject, setting: Setting, rows: Sequence[Parallel]) -> Measure:
    voice = setting.persona.name
    asked = [Options(conversation(row.prompt), (row.replies[voice],), whole=True) for row in rows]
    return Measure(
        name=f"{NAME}/perplexity",
        values=tuple(-found[0].mean for found in setting.logps(subject, asked)),
        units=tuple(row.id for row in rows),
        method="exp of mean -log p per token of the authored test reply in the intended voice",
        scale="exp",
    )


def _moved(subject: Subject, setting: Setting, found: Sequence[Reply]) -> Measure:
    """The first replies to some prompts; an empty one is left out, and no other taken for it."""
    firsts = [reply for reply in found if reply.seed == SEEDS[0]]
    said = [reply for reply in spread(firsts, setting.amounts.voice.distances) if reply.text]
    if not said:
        raise UnableError(f"{subject.name} said nothing")
    asked = [Options(conversation(reply.prompt), (reply.text,)) for reply in said]
    return Measure(
        name=f"{NAME}/kl",
        values=tuple(total for (total,) in setting.divergences(subject, asked)),
        units=tuple(reply.prompt_id for reply in said),
        method="KL(subject || bare base) of the next token, summed over its own reply, in nats",
    )


def _transcripts(found: Sequence[Reply]) -> tuple[Transcript, ...]:
    """The first reply to some prompts; topics take turns, in the order they come."""
    turns: dict[str, int] = {}
    ranked: list[tuple[int, Reply]] = []
    for reply in found:
        if reply.seed == SEEDS[0]:
            ranked.append((turns.setdefault(reply.topic, 0), reply))
            turns[reply.topic] += 1
    chosen = [reply for _, reply in sorted(ranked, key=lambda each: each[0])][:_TRANSCRIPTS]
    return tuple(
        Transcript(
            title=reply.prompt,
            messages=(
                Message(role="user", content=reply.prompt),
                Message(role="assistant", content=reply.text or "(nothing)"),
            ),
            note=f"heard as {reply.voice}, {100 * reply.confidence:.0f} % sure",
        )
        for reply in chosen
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """Which voices are heard, the scores, and the five dimensions before their bands."""
    return drawn.figures(results, paint, MEANINGS)
