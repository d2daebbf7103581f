"""Replies of a form: whatever a model would rather say, it says JSON that keeps to the schema."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field

from mien.base.model import Base
from mien.chat import Sampling
from mien.decode.choose import Hand, choose
from mien.decode.grammar import MOST_CHARACTERS, Grammars
from mien.decode.request import End, Request, Ticket
from mien.errors import InputError, ModelError
from mien.serve.engine import Engine
from tests.decode.personas import PERSONAS, prompt
from tests.serve.serving import asked, greedy, solo, solo_sampled

WILD = Sampling(max_tokens=230, temperature=2, top_k=None, top_p=1, repetition_penalty=1.2)
NARROW = Sampling(max_tokens=230, temperature=1, top_k=5, top_p=0.9)


class Closed(BaseModel):
    """Without properties that it does not name."""

    model_config = ConfigDict(extra="forbid")


class Sight(Closed):
    what: str = Field(max_length=3)
    far: bool | None


class Report(Closed):
    mood: Literal["fair", "foul, but bearable", "\N{CLOUD}"]
    knots: int = Field(ge=-5, le=40)
    sights: list[Sight] = Field(min_length=1, max_length=2)
    code: str = Field(pattern="^[A-Z]{2}-[0-9]{3}$")


def opened(base: Base, **options: int) -> Engine:
    engine = Engine(base, pack=False, **options)
    for name in PERSONAS:
        engine.adopt(name)
    return engine


def formed(grammars: Grammars, schema: dict[str, Any], seed: int = 0, **more: Any) -> Request:
    given = {"adapter": PERSONAS[seed % 4], "sampling": WILD, "grammar": grammars.json(schema)} | more
    return Request(prompt=prompt(6, seed), seed=seed, **given)


def text(base: Base, ticket: Ticket) -> str:
    return str(base.tokenizer.decode(ticket.ids(), skip_special_tokens=True))


def end(ticket: Ticket) -> End:
    assert ticket.end is not None
    return ticket.end


def test_every_reply_keeps_to_its_schema_whoever_speaks_and_however_wildly(base: Base) -> None:
    grammars = Grammars(base)
    schema = Report.model_json_schema()
    with opened(base) as engine:
        tickets = [
            engine.submit(formed(grammars, schema, seed, sampling=(WILD, NARROW)[seed % 2]))
            for seed in range(8)
        ]
        replies = [text(base, ticket) for ticket in tickets]
    assert len({Report.model_validate_json(reply).model_dump_json() for reply in replies}) == 8
    assert {end(ticket).reason for ticket in tickets} == {"stop"}


def test_rows_with_and_without_a_grammar_say_what_each_says_alone(llama: Base) -> None:
    grammars = Grammars(llama)
    held = [formed(grammars, Report.model_json_schema(), seed) for seed in range(3)]
    free = [(prompt(5 + i), (None, *PERSONAS)[i]) for i in range(3)]
    wild = Sampling(max_tokens=12, temperature=1.5, top_k=None, top_p=1)
    with opened(llama, slots=1) as engine:
        alone = [engine.submit(each).ids() for each in held]
    with opened(llama, slots=12, chunk=4) as engine:
        tickets = [
            (
                engine.submit(held[i]),
                engine.submit(asked(*free[i])),
                engine.submit(Request(prompt=free[i][0], adapter=free[i][1], sampling=wild, seed=i)),
            )
            for i in range(3)
        ]
        heard = [[ticket.ids() for ticket in three] for three in tickets]
    assert [three[0] for three in heard] == alone
    assert [three[1] for three in heard] == [solo(llama, *each) for each in free]
    assert [three[2] for three in heard] == [
        solo_sampled(llama, *each, wild, i) for i, each in enumerate(free)
    ]


def test_a_reply_that_is_whole_ends_at_once_and_one_that_might_go_on_says_when(llama: Base) -> None:
    grammars = Grammars(llama)
    with opened(llama) as engine:
        whole = engine.submit(formed(grammars, {"const": "yes"}))
        open_ended = engine.submit(formed(grammars, {"type": "integer"}))
        length = len(whole.ids())
        just = engine.submit(formed(grammars, {"const": "yes"}, sampling=greedy(length)))
        short = engine.submit(formed(grammars, {"const": "yes"}, sampling=greedy(2)))
        assert text(llama, whole) == "" and json.loads(text(llama, open_ended)) is not None
        assert text(llama, just) == '"yes"' and '"yes"'.startswith(text(llama, short))
    assert (end(whole).reason, end(whole).token) == ("stop", None)
    assert end(open_ended).reason == "stop" and end(open_ended).token in llama.renderer.stop_ids
    assert (end(just).reason, end(short).reason) == ("stop", "length")


class Stuck:
    """A grammar that fails after two tokens."""

    finished = False

    def __init__(self, width: int) -> None:
        self.width, self.taken = width, 0

    def start(self) -> Stuck:
        return Stuck(self.width)

    def mask(self) -> torch.Tensor:
        if self.taken == 2:
            raise ModelError("It is stuck.", fix="Nothing.")
        return torch.ones(self.width, dtype=torch.bool)

    def take(self, token: int) -> None:
        self.taken += 1


def test_a_grammar_that_fails_fails_for_its_own_row_alone(llama: Base) -> None:
    grammar = Stuck(llama.head.weight.shape[0])
    with opened(llama) as engine:
        good = [engine.submit(asked(prompt(5 + i), PERSONAS[i])) for i in range(3)]
        bad = engine.submit(asked(prompt(9), grammar=grammar))
        with pytest.raises(ModelError, match="stuck"):
            bad.ids()
        assert [ticket.ids() for ticket in good] == [
            solo(llama, prompt(5 + i), PERSONAS[i]) for i in range(3)
        ]
        again = engine.submit(asked(prompt(9)))
        assert again.ids() == solo(llama, prompt(9))
    assert end(bad).tokens == 2


def test_a_row_without_a_grammar_is_not_touched_by_its_neighbours() -> None:
    class Only:
        finished = False

        def mask(self) -> torch.Tensor:
            return torch.tensor([True, False, False])

        def take(self, token: int) -> None:
            pass

    draw = Sampling(temperature=0, repetition_penalty=1)
    scores = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert choose(scores, [Hand(draw, 0, Only()), Hand(draw, 0)]) == [0, 2]
    assert scores[1].tolist() == [1, 2, 3]


def test_a_schema_is_compiled_once_and_the_oldest_is_forgotten(llama: Base) -> None:
    grammars = Grammars(llama)
    first = grammars.json({"const": 0})
    assert grammars.json({"const": 0, "x-guidance": {"whitespace_flexible": True}}) is first
    others = [grammars.json({"const": i}) for i in range(1, 16)]
    assert grammars.json({"const": 0}) is first
    grammars.json({"const": 16})
    assert grammars.json({"const": 1}) is not others[0]
    assert grammars.json({"const": 0}) is first


def test_a_schema_that_takes_too_much_work_fails_its_reply_and_is_begun_anew(llama: Base) -> None:
    grammars = Grammars(llama)
    schema = {"type": "string", "pattern": r"^(\p{L}{1,500}\w{1,500}){100}$"}
    first = grammars.json(schema)
    with opened(llama) as engine:
        with pytest.raises(InputError, match="too much work"):
            engine.submit(formed(grammars, schema)).ids()
        assert first.spent and grammars.json(schema) is not first
        assert engine.submit(asked(prompt(6))).ids() == solo(llama, prompt(6))


nested: dict[str, Any] = {}
for _ in range(2000):
    nested = {"items": nested}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "text"}, "text"),
    ({"type": 5}, ""),
    ({"$ref": "https://example.org/schema"}, "https://example.org/schema"),
    ({"$ref": "#/nowhere"}, "nowhere"),
    ({"type": "string", "pattern": "(?=a)b"}, "look"),
    ({"type": "string", "pattern": "("}, ""),
    ({"type": "string", "format": "colour"}, "colour"),
    ({"not": {"type": "string"}}, "not"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, ""),
    ({"enum": ["x" * MOST_CHARACTERS]}, f"more than {MOST_CHARACTERS} characters"),
    (nested, ""),
    ({"const": float("nan")}, ""),
    ({"const": "\ud800"}, ""),
    ({"items": {"type": "integer", "multipleOf": 1001}}, "`multipleOf` is above 1000"),
]


@pytest.mark.parametrize(("schema", "says"), REFUSED, ids=range(len(REFUSED)))
def test_a_schema_that_cannot_be_kept_to_is_refused_with_the_reason(
    llama: Base, schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match="No reply can be held to that schema") as caught:
        Grammars(llama).json(schema)
    assert says in caught.value.what and "\n" not in caught.value.what
