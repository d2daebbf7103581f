"""The suite on a tiny base: every system answers everything, and the numbers are the replies'."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.base import model
from mien.base.lora import LoraConfig
from mien.base.machine import Machine
from mien.base.model import Base
from mien.chat import Sampling
from mien.data.corpus import Parallel, rows_of
from mien.data.wording import bag_of_words, distinct, echo, repetition
from mien.evaluate import suite, systems
from mien.evaluate.results import Evaluation
from mien.evaluate.suite import evaluate
from mien.evaluate.systems import BARE_PROMPTS, Answer, System, answer, bare_replies, systems_of
from mien.persona.spec import find
from mien.persona.voice import MEASURES, measure
from mien.registry.cards import Card
from mien.schema import Example, conversation
from tests import models
from tests.registry.test_cards import card

SAMPLING = Sampling(max_tokens=6, temperature=1.0)
SEEDS = (0, 1)
WITTY = find("witty")


class Words:
    """Stands in for the sentence embedder."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return bag_of_words(texts)


class Told:
    """What an evaluation says while it runs."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.parts: list[int] = []

    def stage(self, name: str, total: int) -> None:
        self.stages.append((name, total))
        self.parts.append(0)

    def advance(self, parts: int) -> None:
        self.parts[-1] += parts


def small(adapter: str | None = None) -> Base:
    base = models.tiny_base()
    if adapter:
        base.adapters.create(adapter, LoraConfig(r=4, alpha=8.0), seed=0)
        models.shake(base.adapters, adapter, size=0.3)
    return base


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIEN_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(model, "probe", lambda: Machine("cpu", 1, 50.0, None, None))
        yield


@pytest.fixture(scope="module")
def rows() -> list[Parallel]:
    return rows_of("test")[:4]


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    lines = [{"step": 1, "epoch": 0.5, "loss": 2.0, "grad_norm": 1.0}, {"step": 2, "epoch": 1.0}]
    text = "".join(f"{json.dumps(line)}\n" for line in [lines[0], lines[1] | {"validation_loss": 1.5}])
    (folder / "metrics.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def found(rows: list[Parallel], told: Told, run_folder: Path) -> Evaluation:
    made: Card = card()
    return evaluate(
        small(made.run),
        WITTY,
        {"witty": made},
        embedder=Words(),  # type: ignore[arg-type]
        sampling=SAMPLING,
        seeds=SEEDS,
        rows=rows,
        run_folder=run_folder,
        stage=told.stage,
        advance=told.advance,
    )


def test_every_system_answers_every_prompt_with_every_seed(
    found: Evaluation, rows: list[Parallel]
) -> None:
    assert found.systems == ("base", "prompt", "witty")
    for system in found.systems:
        asked = [(reply.prompt_id, reply.seed) for reply in found.replies if reply.system == system]
        assert sorted(asked) == sorted((row.id, seed) for row in rows for seed in SEEDS)
    assert all(0 < reply.tokens <= SAMPLING.max_tokens for reply in found.replies if reply.text)


def test_the_adapter_answers_under_itself_and_the_others_without(
    found: Evaluation, rows: list[Parallel]
) -> None:
    base = small(card().run)
    for system in systems_of(WITTY, {"witty": card()}):
        again = {
            (each.row.id, each.seed): each.text for each in answer(base, system, rows, SAMPLING, SEEDS)
        }
        theirs = {(r.prompt_id, r.seed): r.text for r in found.replies if r.system == system.name}
        assert theirs == again
    texts = {s: [r.text for r in found.replies if r.system == s] for s in found.systems}
    assert texts["base"] != texts["witty"] and texts["base"] != texts["prompt"]


def test_a_score_is_the_mean_of_its_replies_and_lies_in_its_interval(found: Evaluation) -> None:
    for system in found.systems:
        replies = [reply for reply in found.replies if reply.system == system]
        expected = {
            "voice_rate": fmean(reply.voice == "witty" for reply in replies),
            "content_kept": fmean(reply.content for reply in replies),
            "repetition": fmean(reply.repetition for reply in replies),
            "echo": fmean(reply.echo for reply in replies),
            "distinct_2": fmean(distinct(reply.text, 2) for reply in replies),
        }
        for name, value in expected.items():
            score = found.score(name, system)
            assert score is not None and score.value == pytest.approx(value)
            assert score.low <= score.value <= score.high and score.n == len(replies)
            assert "bootstrap over prompts" in score.method


def test_each_reply_carries_what_was_measured_on_it(found: Evaluation, rows: list[Parallel]) -> None:
    by_id = {row.id: row for row in rows}
    for reply in found.replies:
        assert reply.measures == measure(reply.text)
        ours, neutral = Words().embed([reply.text, by_id[reply.prompt_id].replies["neutral"]])
        assert reply.content == pytest.approx(float(ours @ neutral), abs=1e-6)
        assert reply.confidence >= reply.intended
        assert (reply.voice == "witty") == (reply.confidence == reply.intended)


def test_the_share_in_band_is_counted_from_the_personas_bands(found: Evaluation) -> None:
    bands = WITTY.voice.bands()
    assert found.bands == bands
    replies = [reply for reply in found.replies if reply.system == "base"]
    shares = [
        fmean(low <= reply.measures[name] <= high for name, (low, high) in bands.items())
        for reply in replies
    ]
    score = found.score("in_band", "base")
    assert score is not None and score.value == pytest.approx(fmean(shares))


def test_perplexity_is_on_the_authored_replies_in_the_intended_voice(
    found: Evaluation, rows: list[Parallel]
) -> None:
    examples = [Example.of(row.prompt, row.replies["witty"]) for row in rows]
    expected = math.exp(fmean(small().mean_nll(examples)))
    score = found.score("perplexity", "base")
    assert score is not None and score.value == pytest.approx(expected, rel=1e-3)
    assert score.n == len(rows)


def test_differences_are_the_adapter_minus_each_other_paired_by_prompt(found: Evaluation) -> None:
    assert {each.system for each in found.differences} == {"witty - base", "witty - prompt"}
    for each in found.differences:
        ours, theirs = (found.score(each.name, name) for name in each.system.split(" - "))
        assert ours is not None and theirs is not None
        assert each.value == pytest.approx(ours.value - theirs.value)
        assert each.low <= each.value <= each.high
        assert each.n == found.prompts
    assert "tokens_per_second" not in {each.name for each in found.differences}


def test_it_says_what_it_is_of_and_how_it_was_made(
    found: Evaluation, rows: list[Parallel], run_folder: Path
) -> None:
    assert (found.persona, found.persona_hash) == ("witty", WITTY.digest())
    assert (found.base, found.base_hash, found.adapter) == ("tiny", "0" * 64, card().adapter_hash)
    assert found.sampling == SAMPLING.model_dump() and found.seeds == SEEDS
    assert found.prompts == len(rows)
    assert found.authored == {row.id: row.replies["witty"] for row in rows}
    assert [(p.step, p.loss, p.validation_loss) for p in found.training] == [
        (1, 2, None),
        (2, None, 1.5),
    ]
    assert set(found.quantiles) == {*found.systems, "authored"}
    assert all(list(five) == sorted(five) for five in found.quantiles["base"].values())
    assert set(found.quantiles["base"]) == set(MEASURES)


def test_it_goes_to_disk_and_comes_back(found: Evaluation) -> None:
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_progress_adds_up_stage_by_stage(found: Evaluation, told: Told, rows: list[Parallel]) -> None:
    names = [name.partition(":")[0] for name, _ in told.stages]
    assert names == ["bare replies for the classifier", "base", "prompt", "witty"]
    assert told.parts == [total for _, total in told.stages]
    assert told.parts == [BARE_PROMPTS] + [len(rows) * len(SEEDS)] * 3


def test_without_an_adapter_base_and_prompt_are_compared(rows: list[Parallel]) -> None:
    result = evaluate(
        small(),
        WITTY,
        {},
        embedder=Words(),  # type: ignore[arg-type]
        sampling=SAMPLING,
        seeds=(0,),
        rows=rows,
    )
    assert result.systems == ("base", "prompt") and result.adapter is None
    assert {each.system for each in result.differences} == {"prompt - base"}
    assert result.training == ()


def test_bare_replies_are_of_training_prompts_made_once_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MIEN_HOME", str(tmp_path))
    first = bare_replies(small(), SAMPLING)
    assert len(first) == BARE_PROMPTS
    monkeypatch.setattr(systems, "generate", None)  # a second making would fail
    assert bare_replies(small(), SAMPLING) == first
    with pytest.raises(TypeError):
        bare_replies(small(), SAMPLING.model_copy(update={"temperature": 0.1}))


def test_the_system_prompt_is_part_of_what_the_prompt_system_is_given() -> None:
    base, prompt = systems_of(WITTY, {})
    assert base == System("base") and prompt.adapter is None
    assert [m.role for m in base.conversation("hi")] == ["user"]
    assert prompt.conversation("hi")[0].content == WITTY.system_prompt.strip()
    name, prompted = card().run, card(under_prompt=True)
    assert systems_of(WITTY, {"witty": card()})[2] == System("witty", adapter=name)
    assert systems_of(WITTY, {"witty": prompted})[2] == System(
        "witty", name, WITTY.system_prompt.strip()
    )


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0),
        ("a b c", 0),
        ("a b c d", 0),
        ("a b c d a b c d", 1 / 5),  # abcd bcda cdab dabc abcd: one of five occurred before
        ("A b C d a B c D", 1 / 5),
        ("a a a a a a", 2 / 3),  # three grams, one distinct
    ],
)
def test_repetition_is_the_share_of_runs_of_four_words_that_came_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("", 2, 1),
        ("one", 2, 1),
        ("a b a b", 2, 2 / 3),  # ab ba ab
        ("a b c d", 2, 1),
        ("a a a a a", 2, 1 / 4),
        ("a b A", 1, 2 / 3),
    ],
)
def test_distinct_is_distinct_runs_over_all_runs(text: str, n: int, share: float) -> None:
    assert distinct(text, n) == pytest.approx(share)


def test_what_recites_its_instructions_is_an_echo_and_what_quotes_a_little_is_not() -> None:
    given = conversation("why is the sky blue", system="You are a dry, witty assistant. Be brief.")
    assert echo("You are a dry, witty assistant. Be brief.", given) == 1.0
    assert echo("You ask: why is the sky blue", given) == 0.5
    assert echo("Because the air scatters blue light best of all.", given) == 0.0
    assert echo("Because.", given) == 0.0


def test_an_echo_is_nobodys_voice(rows: list[Parallel], monkeypatch: pytest.MonkeyPatch) -> None:
    def recite(
        base: Base, system: System, asked: Sequence[Parallel], *_: object, **told: Any
    ) -> list[Answer]:
        text = system.system_prompt or "The air scatters blue light best of all, as it happens."
        told["progress"](2 * len(asked), len(asked))
        return [Answer(row, seed, text, (1, 2)) for seed in SEEDS for row in asked]

    monkeypatch.setattr(suite, "answer", recite)
    found = evaluate(
        small(),
        WITTY,
        {},
        embedder=Words(),
        sampling=SAMPLING,
        seeds=SEEDS,
        rows=rows,  # type: ignore[arg-type]
    )
    heard = {name: {r.voice for r in found.replies if r.system == name} for name in found.systems}
    assert heard["prompt"] == {"echo"} and "echo" not in heard["base"]
    assert found.score("voice_rate", "prompt").value == 0
    assert found.score("echo", "prompt").value > 0.9
