"""Experiments: who meets whom, and epochs, in a real database."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.serve.experiments import Arm, Experiment, arms, called, experiments, running, start, stop
from mien.workspace import DATABASE, Workspace

EVEN = arms("witty:0.5,warm:0.5")
_WEIGHTS = st.lists(st.floats(0.05, 20), min_size=1, max_size=5)


def of(weights: list[float]) -> Experiment:
    """A new one, with a salt of its own."""
    return Experiment(name="x", arms=tuple(Arm(name=f"m{i}", weight=w) for i, w in enumerate(weights)))


def drawn(experiment: Experiment, users: int = 300) -> list[str]:
    return [experiment.arm(experiment.person("web", f"user {i}")) for i in range(users)]


@settings(max_examples=30, deadline=None)
@given(_WEIGHTS, st.text(max_size=20), st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_a_user_always_meets_the_same_arm_whoever_reads_the_experiment(
    weights: list[float], user: str, key: str
) -> None:
    experiment = of(weights)
    again = Experiment.model_validate_json(experiment.model_dump_json())
    met = experiment.arm(experiment.person(key, user))
    assert met == again.arm(again.person(key, user))
    assert met in [arm.name for arm in experiment.arms]


@settings(max_examples=15, deadline=None)
@given(_WEIGHTS)
def test_users_are_drawn_by_the_weights(weights: list[float]) -> None:
    experiment, users = of(weights), 2000
    met = Counter(drawn(experiment, users))
    for arm in experiment.arms:
        share = experiment.share(arm)
        sure = 6 * (share * (1 - share) * users) ** 0.5  # six standard deviations: one in a billion
        assert abs(met[arm.name] - share * users) <= sure + 1


def test_users_of_two_keys_are_strangers_though_they_have_one_name() -> None:
    experiment = of([1, 1])
    people = {experiment.person(key, "ann") for key in ("", "web", "app", "we")}
    assert len(people) == 4
    assert experiment.person("we", "bann") != experiment.person("web", "ann")
    pairs = [
        (
            experiment.arm(experiment.person("web", f"{i}")),
            experiment.arm(experiment.person("app", f"{i}")),
        )
        for i in range(400)
    ]
    assert 140 <= sum(one == other for one, other in pairs) <= 260


def test_a_pseudonym_tells_nothing_outside_of_its_epoch() -> None:
    first, second = of([1, 1]), of([1, 1])
    assert first.person("web", "ann@example.org") != second.person("web", "ann@example.org")
    assert "salt" not in repr(first)


def test_the_same_arms_go_on_with_the_same_users_even_after_a_stop(workspace: Workspace) -> None:
    first = start(workspace, "style", EVEN)
    stop(workspace, "style")
    assert running(workspace) == {}
    again = start(workspace, "style", EVEN, users=50, keep_text=True)
    assert (again.epoch, again.users, again.keep_text, again.stopped) == (1, 50, True, None)
    assert drawn(first) == drawn(again)
    assert running(workspace) == {"style": again}


@pytest.mark.parametrize("changed", ["witty:0.9,warm:0.1", "witty:1,calm:1", "warm:0.5,witty:0.5"])
def test_other_arms_begin_an_epoch_and_users_are_drawn_anew(workspace: Workspace, changed: str) -> None:
    first = start(workspace, "style", EVEN)
    second = start(workspace, "style", arms(changed))
    assert [each.epoch for each in experiments(workspace)] == [1, 2]
    assert running(workspace) == {"style": second}
    assert called(workspace, "style", 1).stopped is not None
    assert called(workspace, "style") == second
    assert first.person("web", "ann") != second.person("web", "ann")


def test_epochs_of_several_experiments_stand_side_by_side(workspace: Workspace) -> None:
    for name in ("style", "tone"):
        start(workspace, name, EVEN)
    start(workspace, "style", arms("witty:1"))
    assert {each.name: each.epoch for each in running(workspace).values()} == {"style": 2, "tone": 1}


def test_processes_that_start_one_at_the_same_time_leave_one_running(workspace: Workspace) -> None:
    workspace.database().close()
    code = (
        "import sys; from pathlib import Path\n"
        "from mien.serve.experiments import arms, start; from mien.workspace import Workspace\n"
        "for i in range(5):\n"
        "    start(Workspace(Path(sys.argv[1])), 'style', arms(f'witty:{sys.argv[2]}{i},warm:1'))\n"
    )
    command = [sys.executable, "-c", code, str(workspace.root)]
    processes = [subprocess.Popen([*command, str(i)]) for i in (1, 2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    found = experiments(workspace)
    assert sorted(each.epoch for each in found) == list(range(1, 11))
    assert len(running(workspace)) == 1
    assert all(before.stopped for before, _ in pairwise(sorted(found, key=lambda each: each.epoch)))


def test_weights_count_by_what_they_are_of_all() -> None:
    experiment = Experiment(name="x", arms=arms("witty:prompt:3, witty:0.7+warm:0.3:1"))
    assert [arm.name for arm in experiment.arms] == ["witty:prompt", "witty:0.7+warm:0.3"]
    assert [experiment.share(arm) for arm in experiment.arms] == [0.75, 0.25]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "witty",
        "witty:",
        ":1",
        "witty:x",
        "witty:0",
        "witty:-1",
        "witty:nan",
        "witty:inf",
        "a:1,,b:1",
    ],
)
def test_arms_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no arm") as caught:
        arms(text)
    assert "witty:0.5,warm:0.5" in caught.value.fix


def test_an_arm_is_named_once() -> None:
    with pytest.raises(InputError, match="'a' is named twice"):
        arms("a:1,b:1,a:2")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a:b", "a@b", "a+b", "x" * 61, "é", "a\n"])
def test_names_that_no_experiment_can_have_are_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InputError, match="No experiment can be called"):
        start(workspace, name, EVEN)
    assert not (workspace.root / DATABASE).exists()


def test_what_is_not_there_cannot_be_stopped(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="no experiment 'style'"):
        stop(workspace, "style")
    assert not (workspace.root / DATABASE).exists()
    start(workspace, "style", EVEN)
    stop(workspace, "style")
    with pytest.raises(InputError, match="stopped already"):
        stop(workspace, "style")
    with pytest.raises(InputError, match="no epoch 2"):
        called(workspace, "style", 2)
