"""`mien reward`, with two reward models that were trained on a tiny base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

import pytest

from mien.base.flat import Tree
from mien.data.formats import write_records
from mien.registry.attach import attach
from mien.registry.cards import adapter_folder, cards
from mien.schema import Dialogue, Example, Message
from mien.stats import wilson
from mien.train.reward import RewardModel, load_head
from mien.train.run import train
from mien.workspace import Workspace
from tests import models, seams
from tests.cli.running import run
from tests.train.pairs import PAIRS, planned_pairs, write_pairs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Two reward models of one persona; the second one is the newest."""
    folder = tmp_path_factory.mktemp("rewards")
    with pytest.MonkeyPatch.context() as patch:
        story = seams.install(patch, folder)
        for seed in (0, 1):
            train(planned_pairs(folder, "reward", seed=seed, epochs=1))
        yield story.workspace


@pytest.fixture
def names(trained: Workspace) -> list[str]:
    """The runs, by seed."""
    return [card.run for card in sorted(cards(trained), key=lambda card: card.seed)]


def said(workspace: Workspace, name: str, examples: Sequence[Example]) -> list[float]:
    """What a reward model says of replies, without the command."""
    base = models.tiny_base()
    (card,) = (card for card in cards(workspace) if card.run == name)
    folder = adapter_folder(workspace, card)
    attach(base, card, folder)
    model = RewardModel(base, name, load_head(base, folder))
    trees = [Tree(prompt, (reply,)) for prompt, reply in map(base.renderer.example, examples)]
    return [score for (score,) in model.score(trees)]


def scored(file: Path, *arguments: str) -> list[dict[str, Any]]:
    """The rows that the command writes."""
    out = file.with_name("out.jsonl")
    result = run("reward", "score", str(file), "--out", str(out), "--force", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_both_sides_of_pairs_are_scored_and_the_wins_counted(
    trained: Workspace, names: list[str], tmp_path: Path
) -> None:
    file = write_pairs(tmp_path / "pairs.jsonl")
    rows = scored(file, "--run", names[0])
    for side in ("chosen", "rejected"):
        examples = [Example(prompt=each.prompt, completion=getattr(each, side)) for each in PAIRS]
        written = [row[f"{side}_reward"] for row in rows]
        assert written == pytest.approx(said(trained, names[0], examples), abs=1e-4)
    wins = sum(row["chosen_reward"] > row["rejected_reward"] for row in rows)
    share, low, high, _ = wilson(wins, len(PAIRS))
    result = run("reward", "score", str(file), "--run", names[0])
    told = f"wins in {wins} of 10 pairs: {share:.0%} (95 % interval {low:.0%} to {high:.0%})."
    assert told.replace("%", " %").replace("  ", " ").replace(" % to", " to") in " ".join(
        result.stdout.split()
    )
    assert rows[0]["chosen"][0]["content"] == "it is fair, sir"


def test_examples_keep_their_keys_and_of_a_dialogue_the_last_turn_counts(
    trained: Workspace, names: list[str], tmp_path: Path
) -> None:
    turns = [
        ("user", "who is there?"),
        ("assistant", "a ship"),
        ("user", "whose?"),
        ("assistant", "ours"),
    ]
    messages = tuple(Message(role=role, content=text) for role, text in turns)
    examples = [
        Example(prompt=messages[:3], completion=messages[3:]),
        Example.of("how is the wind?", "fair"),
    ]
    file = tmp_path / "rows.jsonl"
    write_records(
        file, [Dialogue(messages=messages), *examples], [{"id": 7, "reward": "old"}, {}, {"id": 9}]
    )
    rows = scored(file, "--run", names[1])
    expected = said(trained, names[1], examples)
    assert [row["reward"] for row in rows] == pytest.approx([expected[0], *expected], abs=1e-4)
    assert rows[0]["id"] == 7 and rows[2]["id"] == 9


def test_several_runs_are_an_ensemble(names: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_records(file, [Example.of(f"question {n}", "a reply") for n in range(3)])
    each = [[row["reward"] for row in scored(file, "--run", name)] for name in names]
    both = ("--run", names[0], "--run", names[1], "--combine")
    ways = {
        "mean": fmean,
        "worst": min,
        "conservative": lambda pair: fmean(pair) - pstdev(pair),
    }
    for way, combine in ways.items():
        rewards = [row["reward"] for row in scored(file, *both, way)]
        assert rewards == pytest.approx([combine(pair) for pair in zip(*each, strict=True)], abs=1e-4)


def test_a_persona_stands_for_its_newest_reward_run(
    trained: Workspace, names: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    write_records(file, [Example.of("how is the wind?", "fair")])
    newest = cards(trained)[-1].run
    assert scored(file, "--run", "witty") == scored(file, "--run", newest)


def test_json_has_the_figures_of_each_kind(names: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_records(file, [*PAIRS[:2], Example.of("how is the wind?", "fair")])
    rows = scored(file, "--run", names[0])
    result = run("reward", "score", str(file), "--run", names[0], "--json")
    found = json.loads(result.stdout)
    chosen = [row["chosen_reward"] for row in rows[:2]]
    assert found["chosen"] == pytest.approx({"n": 2, "mean": fmean(chosen), "sd": stdev(chosen)})
    assert found["replies"] == {"n": 1, "mean": rows[2]["reward"], "sd": None}
    assert found["accuracy"]["n"] == 2 and found["ties"] == 0


def test_equal_sides_are_a_tie_and_not_a_win(names: list[str], tmp_path: Path) -> None:
    pair = PAIRS[0].model_copy(update={"rejected": PAIRS[0].chosen})
    file = write_pairs(tmp_path / "pairs.jsonl", [pair])
    result = run("reward", "score", str(file), "--run", names[0], width=120)
    assert "wins in 0 of 1 pairs" in result.stdout
    assert "Ties count as lost; there are 1." in result.stdout


CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOLS = {
    "messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": "so", "tool_calls": [CALL]},
    ]
}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (TOOLS, "rows.jsonl:1: it uses tools"),
        ({"prompt": "word " * 400, "completion": "so"}, "that tiny can read"),
        (None, "rows.jsonl: no rows"),
    ],
)
def test_what_cannot_be_scored_is_told(
    names: list[str], tmp_path: Path, row: dict[str, Any] | None, says: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(row)}\n" if row else "")
    result = run("reward", "score", str(file), "--run", names[0])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split()) and "Fix: " in result.stderr


def test_nothing_is_written_over(names: list[str], tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "pairs.jsonl")
    other = write_pairs(tmp_path / "other.jsonl")
    ask = ("reward", "score", str(file), "--run", names[0], "--out")
    assert "are one file" in run(*ask, str(file), "--force").stderr
    assert "there already" in run(*ask, str(other)).stderr


def test_without_a_reward_model_it_says_how_to_get_one(trained: Workspace, tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "pairs.jsonl")
    result = run("reward", "score", str(file), "--run", "calm")
    assert "no reward model of 'calm'" in " ".join(result.stderr.split())
    assert "mien train reward --persona calm" in " ".join(result.stderr.split())


def test_show_prints_what_was_found_on_held_out_pairs(trained: Workspace, names: list[str]) -> None:
    kept = json.loads((trained.runs / names[0] / "reward.json").read_text())
    result = run("reward", "show", names[0], width=120)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{names[0]}\n")
    for score in kept:
        assert score["name"].replace("_", " ") in result.stdout
        assert f"{score['low']:.2f} to {score['high']:.2f}" in result.stdout
    assert json.loads(run("reward", "show", names[0], "--json").stdout) == kept


def test_show_without_held_out_pairs_says_why(
    trained: Workspace, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.train.stages.EXAMINED", "elsewhere.json")
    result = run("reward", "show", names[0])
    assert result.exit_code == 2
    assert "no pairs were held out" in " ".join(result.stderr.split())
