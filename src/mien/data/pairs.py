"""Preferences from five sources: voices, samples, labels of people, distillation, and use.

Each source is one function that yields a `Preference`, or a `Dropped` with the reason where there is
none to be had; `mien.data.selection.finish` makes a data set of what they yield. What needs a model is
passed in as a callable. `Label` and `Feedback` are the rows that studies and servers append, and
`Samples` those of whoever samples or scores elsewhere.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from mien.chat import Reply
from mien.data.corpus import Parallel, ParallelDialogue, ParallelTurn
from mien.data.formats import Record, iter_records
from mien.data.rows import Raw, iter_raw
from mien.data.shapes import told
from mien.errors import DataError
from mien.schema import Dialogue, Message, Preference, Strict, conversation


def _ends_with_the_user(prompt: tuple[Message, ...]) -> tuple[Message, ...]:
    if prompt[-1].role != "user":
        raise ValueError("the last turn must be the user's")
    return prompt


Prompt = Annotated[
    tuple[Message, ...],
    BeforeValidator(lambda given: conversation(given) if isinstance(given, str) else given),
    Field(min_length=1),
    AfterValidator(_ends_with_the_user),
]
Text = Annotated[str, Field(min_length=1)]


class Label(Strict):
    """One person's judgement of two replies to one prompt. Rows are appended and never changed.

    Attributes:
        item: What was judged. The same two replies may stand either way round, as they were shown.
        prompt: The conversation before the replies; a plain string is one turn of the user.
        rater: Who judged; of two labels of one rater for one item, the later one counts.
        made: When, with the time zone.
    """

    item: str
    prompt: Prompt
    a: Text
    b: Text
    choice: Literal["a", "b", "tie"]
    rater: str
    made: AwareDatetime

    @property
    def winner(self) -> str | None:
        """The reply that was chosen; None for a tie."""
        return {"a": self.a, "b": self.b}.get(self.choice)


class Feedback(Strict):
    """What a user did about one reply while it was served. Rows are appended and never changed.

    Attributes:
        reply: What the model said.
        kind: A thumb, a wish for another reply, or a correction by hand.
        other: The reply that came instead, or the corrected text; a thumb has none.
    """

    prompt: Prompt
    reply: Text
    kind: Literal["thumb_up", "thumb_down", "regenerate", "edit"]
    other: Text | None = None
    user: str
    made: AwareDatetime

    @model_validator(mode="after")
    def _other_where_there_is_one(self) -> Self:
        thumb = self.kind.startswith("thumb")
        if thumb != (self.other is None):
            raise ValueError(f"{self.kind} {'has no' if thumb else 'needs the'} `other` text")
        return self


class Samples(Strict):
    """Several replies to one prompt, and their scores where they have been scored already."""

    prompt: Prompt
    samples: tuple[Text, ...] = Field(min_length=2)
    scores: tuple[FiniteFloat, ...] | None = None

    @model_validator(mode="after")
    def _one_score_each(self) -> Self:
        if self.scores is not None and len(self.scores) != len(self.samples):
            raise ValueError(f"{len(self.scores)} scores for {len(self.samples)} samples")
        return self


class Dropped(NamedTuple):
    """A pair that was not made, and why, in a word or two that can be counted."""

    reason: str


Found = Preference | Dropped
Key = tuple[tuple[str, str, str], ...]
Content = Mapping[str, Dialogue]
Score = Callable[[Sequence[Message], str], float]
Row = TypeVar("Row", bound=Strict)


def read_rows(path: Path, model: type[Row]) -> list[Row]:
    """The rows of a JSONL file as one of the models above.

    Raises:
        DataError: The file is missing, or a row is no such thing.
    """
    return [_row(raw, model) for raw in iter_raw(path)]


def _row(raw: Raw, model: type[Row]) -> Row:
    try:
        return model.model_validate(raw.row)
    except ValidationError as error:
        fields = ", ".join(f"`{name}`" for name in model.model_fields)
        raise DataError(f"{raw.where}: {told(error)}.", fix=f"A row has {fields}.") from error


def preference(
    prompt: Sequence[Message],
    chosen: str,
    rejected: str,
    source: str,
    *,
    margin: float | None = None,
    agreement: float | None = None,
) -> Preference:
    """A preference between two texts."""
    return Preference(
        prompt=tuple(prompt),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        margin=margin,
        agreement=agreement,
        source=source,
    )


def contents(rows: Iterable[Parallel | ParallelDialogue]) -> Iterator[Content]:
    """The rows of a parallel corpus as one dialogue per voice."""
    for row in rows:
        turns = row.turns if isinstance(row, ParallelDialogue) else (_only_turn(row),)
        whole = ParallelDialogue(id=row.id, topic=row.topic, turns=turns)
        shared = [voice for voice in turns[0].replies if all(voice in turn.replies for turn in turns)]
        yield {voice: whole.dialogue(voice) for voice in shared}


def _only_turn(row: Parallel) -> ParallelTurn:
    return ParallelTurn(user=row.prompt, points=row.points, replies=row.replies)


def aligned(files: Mapping[str, Path]) -> list[Content]:
    """One content in several voices, from one file per voice.

    Rows belong together that have the same `id`; a row without one goes by its line, as it does in
    `mien data restyle`. Where no row of any file has an `id`, those belong together in which the user
    says the same. A row that a voice lacks is no fault.

    Args:
        files: By voice; in any form that `formats.iter_records` reads.

    Raises:
        DataError: A row cannot be read, or one file has two that belong together.
    """
    read = {voice: list(iter_records(path)) for voice, path in files.items()}
    named = any("id" in record.extra for records in read.values() for record in records)
    rows: defaultdict[str | Key, dict[str, Dialogue]] = defaultdict(dict)
    for voice, records in read.items():
        for record in records:
            row = rows[_name(record) if named else _said(record)]
            if voice in row:
                what = f"{files[voice]}:{record.number}: cannot be told from an earlier row."
                raise DataError(what, fix="Give every row an `id`, the same one in each voice.")
            row[voice] = Dialogue(messages=record.messages)
    return list(rows.values())


def _name(record: Record) -> str:
    return str(record.extra.get("id", record.number))


def _said(record: Record) -> Key:
    return asked([turn for turn in record.messages if turn.role == "user"])


def voices(
    rows: Iterable[Content], persona: str, against: Sequence[str] | None = None
) -> Iterator[Found]:
    """The same content in the persona's voice and in another.

    Two voices of one content differ in style alone, so that neither facts nor length can be what is
    learnt. There is one pair per turn of the assistant; the turns before it, which are part of the
    prompt, are those of the chosen voice.

    Args:
        rows: One dialogue per voice, turn by turn the same but for the assistant's words.
        persona: The voice of what is chosen.
        against: The voices of what is rejected; each other voice in turn by default.
    """
    for row in rows:
        for other in row if against is None else against:
            if other != persona:
                yield from _turns(row, persona, other)


def _turns(row: Content, persona: str, other: str) -> Iterator[Found]:
    ours, theirs = row.get(persona), row.get(other)
    if ours is None or theirs is None:
        yield Dropped("voice missing")
    elif _frame(ours) != _frame(theirs):
        yield Dropped("not aligned")
    else:
        source = f"voices/{persona}/{other}"
        for wanted, unwanted in zip(ours.examples(), theirs.examples(), strict=True):
            yield Preference(
                prompt=wanted.prompt,
                chosen=wanted.completion,
                rejected=unwanted.completion,
                source=source,
            )


def _frame(dialogue: Dialogue) -> list[tuple[str, str]]:
    """What is the same in every voice: who speaks when, and all that others than the assistant say."""
    return [
        (turn.role, "" if turn.role == "assistant" else turn.content)
        for turn in dialogue.messages
        if turn.role != "system"
    ]


def best_of(row: Samples, score: Score, *, source: str = "samples", least: float = 0.0) -> Found:
    """The best against the worst of several replies.

    Args:
        row: The replies; scores it has are used as they are.
        score: How good a reply to the prompt is; more is better.
        source: Kept with the pair: who sampled and who scored.
        least: A smaller difference between the two scores is a tie.
    """
    scores = row.scores or tuple(score(row.prompt, sample) for sample in row.samples)
    if not all(map(math.isfinite, scores)):
        return Dropped("no score")
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    margin = scores[best] - scores[worst]
    if margin <= 0 or margin < least:
        return Dropped("tie")
    return preference(row.prompt, row.samples[best], row.samples[worst], source, margin=margin)


def labels(
    rows: Iterable[Label], *, keep: Collection[str] = (), least_agreement: float = 0.0
) -> Iterator[Found]:
    """What most raters chose, item by item.

    The margin is by how many votes the chosen reply leads, and the agreement how many it has, both as a
    share of the raters of the item.

    Args:
        rows: In any order; of two labels of one rater for one item, the later one counts.
        keep: `tie` keeps items that more raters call a tie than choose either reply, `split` those
            without a winner; both with the margin that they have, which may be 0.
        least_agreement: An item with less is dropped.
    """
    for given in _by_item(rows):
        verdict, pair = _majority(given)
        won = verdict == "won"
        if verdict in keep or (won and (pair.agreement or 0) >= least_agreement):
            yield pair
        else:
            yield Dropped("low agreement" if won else verdict)


def _by_item(rows: Iterable[Label]) -> list[list[Label]]:
    """One label per rater for each item, items in the order of their first label."""
    items: defaultdict[tuple[str, Key, frozenset[str]], dict[str, Label]] = defaultdict(dict)
    for row in rows:
        given = items[row.item, asked(row.prompt), frozenset((row.a, row.b))]
        if row.rater not in given or row.made >= given[row.rater].made:
            given[row.rater] = row
    return [list(given.values()) for given in items.values()]


def _majority(given: Sequence[Label]) -> tuple[str, Preference]:
    votes = Counter(label.winner for label in given)
    first, second = given[0].a, given[0].b
    chosen, rejected = (first, second) if votes[first] >= votes[second] else (second, first)
    if votes[None] > votes[chosen]:
        verdict = "tie"
    else:
        verdict = "won" if votes[chosen] > max(votes[rejected], votes[None]) else "split"
    lead, share = ((votes[chosen] - less) / len(given) for less in (votes[rejected], 0))
    return verdict, preference(given[0].prompt, chosen, rejected, "labels", margin=lead, agreement=share)


def distilled(
    prompt: Sequence[Message], persona: Reply, bare: Reply, *, source: str = "distill"
) -> Found:
    """The persona's reply over the bare model's, on the same prompt.

    As in character distillation (Maiya et al. 2025, arXiv:2511.01689): what a teacher says in character
    is preferred to what the model that is to be trained says of itself, and the instruction that put the
    teacher in character is no part of the pair.

    Args:
        prompt: The conversation so far, without the persona's instruction.
        persona: From a teacher in character.
        bare: From the model that is to be trained, as it is.
        source: Kept with the pair: who answered.
    """
    if "length" in (persona.ended, bare.ended):  # a reply without an end would teach not to end
        return Dropped("cut short")
    wanted, unwanted = persona.text.strip(), bare.text.strip()
    if not (wanted and unwanted):
        return Dropped("empty reply")
    return preference(prompt, wanted, unwanted, source)


def feedback(rows: Iterable[Feedback]) -> Iterator[Found]:
    """What use says: an edit over what it mends, a kept reply over a discarded one, thumbs over thumbs.

    A reply on which thumbs point both ways is left out, each row counted; of two thumbs of one user on
    one reply the later one counts. Pairs that contradict each other are left to `selection.finish`.

    Args:
        rows: In any order.
    """
    in_time = sorted(rows, key=lambda row: row.made)
    for row in in_time:
        if row.kind == "edit" and row.other:
            yield preference(row.prompt, row.other, row.reply, "feedback/edit")
    yield from _regenerated([row for row in in_time if row.kind == "regenerate"])
    yield from _thumbs([row for row in in_time if row.kind in ("thumb_up", "thumb_down")])


def _regenerated(rows: Sequence[Feedback]) -> Iterator[Preference]:
    """Each discarded reply under the one that its user kept in the end."""
    kept: defaultdict[tuple[str, Key], dict[str, str]] = defaultdict(dict)
    pairs = []
    for row in reversed(rows):
        ends = kept[row.user, asked(row.prompt)]
        other = row.other or row.reply
        ends[row.reply] = ends.get(other, other)
        pairs.append(preference(row.prompt, ends[row.reply], row.reply, "feedback/regenerate"))
    return reversed(pairs)


def _thumbs(rows: Sequence[Feedback]) -> Iterator[Found]:
    last = {(asked(row.prompt), row.reply, row.user): row for row in rows}
    prompts: defaultdict[Key, defaultdict[str, list[Feedback]]] = defaultdict(lambda: defaultdict(list))
    for (prompt, reply, _), row in last.items():
        prompts[prompt][reply].append(row)
    for replies in prompts.values():
        sides: dict[str, list[Feedback]] = {"thumb_up": [], "thumb_down": []}
        for given in replies.values():
            if len({row.kind for row in given}) > 1:
                yield from (Dropped("contradictory") for _ in given)
            else:
                sides[given[0].kind].append(given[0])
        for up, down in product(sides["thumb_up"], sides["thumb_down"]):
            yield preference(up.prompt, up.reply, down.reply, "feedback/thumbs")


def asked(messages: Sequence[Message]) -> Key:
    """A conversation as a key of dictionaries, which messages that call tools cannot be."""
    return tuple((turn.role, turn.content, repr(turn.tool_calls)) for turn in messages)
