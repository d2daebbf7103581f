"""How much the sizes `quick` and `full` ask of every system: the one place where that is decided.

A step of decoding takes half as long for eight rows as for 96. So what costs is how many tokens follow
each other and how many are read, and hardly how many replies are made at once: long conversations and
questionnaires cost most, and a prompt more costs little. None means all there are.
"""

from __future__ import annotations

from typing import Literal

from mien.schema import Strict

Size = Literal["quick", "full"]


class HeldOut(Strict):
    """Held-out prompts of the corpus, which several suites look at, and replies to each of them."""

    prompts: int | None
    seeds: int


class Voice(Strict):
    """Replies to held-out prompts whose distance from the base is taken."""

    distances: int | None


class Forms(Strict):
    """Requests in each form, held-out prompts in chat, and replies to each of them."""

    each: int | None
    chat: int | None
    seeds: int


class Drift(Strict):
    """Conversations with each kind of user, turns of one, tokens of a reply, and probes of one.

    Attributes:
        probes: The first before the conversation and the last after it.
    """

    conversations: int
    turns: int
    tokens: int
    probes: int


class Pressure(Strict):
    """Held-out prompts, how many of them each technique is tried on, facts, and dilemmas.

    Attributes:
        doubts: Ways in which a right answer is doubted, which take turns at the facts.
        wordings: Of each dilemma.
    """

    prompts: int | None
    each: int | None
    facts: int | None
    doubts: int | None
    dilemmas: int | None
    wordings: int | None


class Judged(Strict):
    """Prompts whose replies are rated, and those where two are compared; how often each is asked.

    Attributes:
        everybody: Whether a subject is compared with all others, and not only with its neighbours.
    """

    rated: int | None
    ratings: int
    compared: int | None
    comparisons: int
    everybody: bool


class Ability(Strict):
    """Ways in which a multiple choice is put, tasks of each kind, and replies to each of them."""

    openings: int | None
    tasks: int | None
    seeds: int


class Safety(Strict):
    """Pairs of requests in each category, provocations, replies to each, and doubtful claims.

    Attributes:
        leads: Ways in which the user believes in a claim.
    """

    pairs: int | None
    provocations: int | None
    seeds: int
    claims: int | None
    leads: int | None


class Diversity(Strict):
    """Questions of fact, beside the held-out prompts."""

    facts: int | None


class Revealed(Strict):
    """Every how many adjectives one is taken, and whom each of them meets.

    Attributes:
        distances: Those so far away around a ring of the words; None: all others.
    """

    every: int
    distances: tuple[int, ...] | None


class Ocean(Strict):
    """Items of each trait beside all contrasts, which forms take turns at, and described respondents.

    Attributes:
        scenes: Of each trait.
        statements: Of each trait.
        crossed: Items of each trait that are put in all forms, which says how much the form matters.
        respondents: Described people as whom the subject answers as well.
        written: Statements of each trait that are also answered in writing, as a check.
        doses: Whether the adapter's update is multiplied.
    """

    scenes: int | None
    statements: int | None
    crossed: int
    respondents: int
    written: int
    doses: bool


class Latency(Strict):
    """Repeats, and tokens of each of them."""

    repeats: int
    tokens: int


class Amounts(Strict):
    """What every suite asks of one system.

    Attributes:
        size: Its name.
    """

    size: Size
    held_out: HeldOut
    voice: Voice
    forms: Forms
    drift: Drift
    pressure: Pressure
    judged: Judged
    ability: Ability
    safety: Safety
    diversity: Diversity
    revealed: Revealed
    ocean: Ocean
    latency: Latency


AMOUNTS: dict[Size, Amounts] = {
    "quick": Amounts(
        size="quick",
        held_out=HeldOut(prompts=18, seeds=2),
        voice=Voice(distances=8),
        forms=Forms(each=3, chat=6, seeds=1),
        drift=Drift(conversations=3, turns=5, tokens=20, probes=0),
        pressure=Pressure(prompts=10, each=1, facts=8, doubts=1, dilemmas=4, wordings=2),
        judged=Judged(rated=6, ratings=2, compared=5, comparisons=1, everybody=False),
        ability=Ability(openings=1, tasks=6, seeds=1),
        safety=Safety(pairs=2, provocations=8, seeds=1, claims=8, leads=1),
        diversity=Diversity(facts=10),
        revealed=Revealed(every=2, distances=(1, 3)),
        ocean=Ocean(scenes=2, statements=4, crossed=0, respondents=0, written=0, doses=False),
        latency=Latency(repeats=2, tokens=4),
    ),
    "full": Amounts(
        size="full",
        held_out=HeldOut(prompts=None, seeds=2),
        voice=Voice(distances=24),
        forms=Forms(each=8, chat=None, seeds=1),
        drift=Drift(conversations=8, turns=14, tokens=30, probes=2),
        pressure=Pressure(prompts=None, each=12, facts=None, doubts=None, dilemmas=None, wordings=None),
        judged=Judged(rated=None, ratings=3, compared=22, comparisons=2, everybody=True),
        ability=Ability(openings=1, tasks=20, seeds=1),
        safety=Safety(pairs=None, provocations=16, seeds=1, claims=None, leads=2),
        diversity=Diversity(facts=24),
        revealed=Revealed(every=1, distances=None),
        ocean=Ocean(scenes=None, statements=None, crossed=2, respondents=10, written=2, doses=True),
        latency=Latency(repeats=5, tokens=4),
    ),
}
