"""Every suite asks every subject; what a subject cannot do is said and nothing else is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mien.errors import UnableError
from mien.evaluate.compare import Results
from mien.evaluate.evaluation import Evaluation, Hearing
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure
from mien.evaluate.roster import Suite
from mien.evaluate.run import AHEAD, evaluate, training
from mien.evaluate.setting import Setting
from mien.evaluate.subject import Asked, LocalSubject, Subject
from mien.schema import Score, conversation
from tests import models
from tests.evaluate.test_setting import Ear, Parrot, setting
from tests.registry.test_cards import card

ACCURACY = Score(name="accuracy", system="authored", value=0.9, low=0.8, high=1, n=9, method="counted")


HEARING = Hearing(
    labels=Ear.labels,
    confusion=((9, 0), (1, 8)),
    accuracy=ACCURACY,
    macro_f1=0.9,
    topics={},
    trained_on=18,
)


class Mute:
    """Answers nothing."""

    name, key = "mute", "mute"

    def answer(self, asked: Sequence[Asked], sampling: Any, **_: Any) -> list[Any]:
        raise UnableError("mute: says nothing.")


def lengths(subject: Subject, here: Setting) -> Finding:
    (said,) = here.ask(subject, [Asked(conversation("hello"))])
    value = (float(len(said.text)),)
    measure = Measure(name="length/words", values=value, units=("hello",), method="letters")
    return Finding(suite="length", subject=subject.name, measures=(measure,))


def together(subjects: Sequence[Subject], here: Setting) -> list[Finding]:
    rank = Score(name="length/rank", system="all", value=1, low=1, high=1, n=2, method="counted")
    return [Finding(suite="length", subject="all", scores=(rank,))]


def suite(**changes: Any) -> Suite:
    def nothing(_: Results) -> list[str]:
        return []

    def none(_: Results, __: Mapping[str, str]) -> list[Figure]:
        return []

    meanings = {"length/words": Meaning("Length")}
    return Suite(**{
        "name": "length", "title": "How long?", "meanings": meanings, "run": lengths, "says": nothing,
        "figures": none, **changes,
    })  # fmt: skip


def run(folder: Path, subjects: Sequence[Any], suites: Sequence[Suite], **changes: Any) -> Evaluation:
    given: dict[str, Any] = {"cards": {}, "runs": folder / "runs", "hearing": HEARING}
    return evaluate(models.tiny_base(), subjects, setting(folder), suites, **given | changes)


def test_every_subject_is_asked_and_compared(tmp_path: Path) -> None:
    longer = Parrot()
    longer.name, longer.key = "base", "other"  # type: ignore[misc]
    found = run(tmp_path, [longer, Parrot()], [suite(together=together)], command="mien eval")
    assert found.results.subjects == ("base", "parrot") and found.judged == "parrot"
    assert found.results.difference("length/words", "parrot", "base") is not None
    assert found.results.score("length/rank", "all") is not None
    assert (found.suites, found.size, found.command) == (("length",), "quick", "mien eval")
    assert set(found.seconds) == {"length"}
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_who_cannot_be_asked_is_left_out_of_that_suite_with_the_reason(tmp_path: Path) -> None:
    found = run(tmp_path, [Mute(), Parrot()], [suite()])
    mute, parrot = (found.results.finding("length", name) for name in ("mute", "parrot"))
    assert mute is not None and mute.missing == ("mute: says nothing.",) and mute.measures == ()
    assert parrot is not None and parrot.measures


def test_what_is_wrong_with_the_suite_itself_is_not_hidden(tmp_path: Path) -> None:
    def broken(*_: object) -> Finding:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        run(tmp_path, [Parrot()], [suite(run=broken)])


def test_adapters_are_told_with_what_their_training_took(tmp_path: Path) -> None:
    made = card(seconds=12.5)
    folder = tmp_path / "runs" / made.run
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "epoch": 0.5, "loss": 2.0, "grad_norm": 1}\n')
    found = run(tmp_path, [Parrot()], [suite()], cards={"parrot": made})
    assert found.adapters["parrot"].run == made.run and found.adapters["parrot"].seconds == 12.5
    assert [(point.step, point.loss) for point in found.training["parrot"]] == [(1, 2.0)]
    assert training(tmp_path / "none") == ()


def test_what_is_only_labelled_as_the_base_is_told_apart(tmp_path: Path) -> None:
    base, server = models.tiny_base(), Parrot()
    server.name = "base"  # type: ignore[misc]
    bare, dry = LocalSubject("base", base), LocalSubject("prompt", base, system_prompt="be dry")
    nothing = suite(run=lambda subject, _: Finding(suite="length", subject=subject.name))
    assert run(tmp_path, [bare, dry], [nothing]).stand_ins == ()
    assert run(tmp_path, [server, dry], [nothing]).stand_ins == ("base",)
    bent = [replace(dry, name="base"), LocalSubject("prompt", base, "sft-1", system_prompt="be dry")]
    assert run(tmp_path, bent, [nothing]).stand_ins == ("base", "prompt")


def test_what_several_suites_ask_is_asked_at_once_and_by_each_suite_where_that_fails(
    tmp_path: Path,
) -> None:
    hello, wind = (Asked(conversation(text)) for text in ("hello", "wind"))
    parrot = Parrot()
    suites = [suite(ahead=lambda _: [hello, wind]), suite(name="other", ahead=lambda _: [hello])]
    found = run(tmp_path, [Mute(), parrot], suites)
    assert parrot.asked == [hello, wind]
    assert set(found.seconds) == {AHEAD, "length", "other"}
    mute = found.results.finding("length", "mute")
    assert mute is not None and mute.missing == ("mute: says nothing.",)


def test_what_one_suite_asks_is_left_to_it(tmp_path: Path) -> None:
    parrot = Parrot()
    found = run(tmp_path, [parrot], [suite(ahead=lambda _: [Asked(conversation("wind"))])])
    assert [each.messages[0].content for each in parrot.asked] == ["hello"]
    assert set(found.seconds) == {"length"}
