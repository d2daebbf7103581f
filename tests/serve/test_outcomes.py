"""What an experiment is found to say: counted by user, with intervals, and with warnings."""

from __future__ import annotations

import pytest

from mien.serve.experiments import Experiment, arms, start, stop
from mien.serve.feedback import Answered, FeedbackRequest, Kind, give, note
from mien.serve.outcomes import FEWEST, Readout, read_out
from mien.stats import difference, wilson, wilson_by_cluster
from mien.workspace import Workspace

PEEKING = "still running, and it was not said beforehand"


class Town:
    """Users of one running experiment, whom answers and deeds can be made up for.

    A user is put into an arm by name here; whether the draw is right is tested elsewhere.
    """

    def __init__(self, workspace: Workspace, text: str = "witty:1,warm:1", **more: int) -> None:
        self.workspace = workspace
        self.experiment: Experiment = start(workspace, "style", arms(text), **more)  # type: ignore[arg-type]
        self.db = workspace.database()
        self.db.execute("pragma synchronous = off")

    def met(self, arm: str, user: str, *deeds: tuple[Kind, ...], version: str = "v1") -> None:
        """Give a user one reply for each of the deeds, which may be several or none."""
        person = self.experiment.person("", f"{arm} {user}")
        for i, kinds in enumerate(deeds):
            reply = f"{arm}-{user}-{i}"
            note(
                self.db, Answered(reply, "style", self.experiment.epoch, arm, person, version, 1, "now")
            )
            for kind in kinds:
                about = {"completion_id": reply, "kind": kind, "user": f"{arm} {user}"}
                other = "better" if kind == "edit" else None
                give(self.db, "", FeedbackRequest(**about, other=other))

    def rated(self, arm: str, up: int, down: int) -> None:
        """Users with one thumb each."""
        for i in range(up + down):
            self.met(arm, str(i), ("thumb_up",) if i < up else ("thumb_down",))

    def read(self) -> Readout:
        return read_out(self.workspace, self.experiment)


@pytest.fixture
def town(workspace: Workspace) -> Town:
    return Town(workspace)


def verdicts(readout: Readout) -> dict[str, str]:
    return {each.measure: each.verdict for each in readout.contrasts}


def test_thumbs_wishes_and_edits_are_counted_by_reply(town: Town) -> None:
    town.met("witty", "ann", ("thumb_up",), ("regenerate",), ())
    town.met("witty", "bob", ("thumb_down", "edit"))
    town.met("warm", "eve", ("thumb_up",))
    witty, warm = town.read().arms
    assert (witty.users, witty.replies, warm.users, warm.replies) == (2, 4, 1, 1)
    assert {name: (score.value, score.n) for name, score in witty.scores.items()} == {
        "thumbs_up": (0.5, 2),
        "regenerated": (0.25, 4),
        "edited": (0.25, 4),
    }
    assert witty.raters == {"thumbs_up": 2, "regenerated": 2, "edited": 2}
    assert warm.scores["edited"].value == 0


def test_of_two_thumbs_about_one_reply_the_later_one_counts(town: Town) -> None:
    town.met("witty", "ann", ("thumb_up", "thumb_down", "thumb_down"))
    score = town.read().arms[0].scores["thumbs_up"]
    assert (score.value, score.n) == (0, 1)


def test_an_arm_has_wilsons_interval_clustered_by_user_and_a_difference_newcombes(town: Town) -> None:
    town.rated("witty", 15, 10)
    for i in range(25):
        town.met("warm", str(i), *[("thumb_up",) if i < 20 else ("thumb_down",)] * 3)
    readout = town.read()
    witty, warm = (side.scores["thumbs_up"] for side in readout.arms)
    ours, theirs = wilson_by_cluster([3] * 20 + [0] * 5, [3] * 25), wilson(15, 25)
    assert (warm.low, warm.high, warm.n) == (ours.low, ours.high, 75)
    assert (witty.low, witty.high, witty.n) == (theirs.low, theirs.high, 25)
    gap = next(each.score for each in readout.contrasts if each.measure == "thumbs_up")
    assert gap.system == "warm - witty"
    assert (gap.value, gap.low, gap.high) == difference(ours, theirs)[:3]


def test_a_clear_difference_is_decided_and_says_which_way(town: Town) -> None:
    town.rated("witty", 10, 40)
    town.rated("warm", 45, 5)
    readout = town.read()
    assert verdicts(readout) == {
        "thumbs_up": "higher",
        "regenerated": "undecided",
        "edited": "undecided",
    }
    assert any("of 20 about one is clear by chance" in each for each in readout.warnings)


def test_what_leaves_0_in_its_interval_is_undecided(town: Town) -> None:
    town.rated("witty", 25, 25)
    town.rated("warm", 30, 20)
    assert set(verdicts(town.read()).values()) == {"undecided"}


def test_many_thumbs_of_few_users_decide_nothing(town: Town) -> None:
    for i in range(FEWEST - 1):
        town.met("witty", str(i), *[("thumb_down",)] * 4)
        town.met("warm", str(i), *[("thumb_up",)] * 4)
    assert set(verdicts(town.read()).values()) == {"too few users"}


def test_who_planned_more_users_is_too_early_and_who_planned_none_is_warned(
    workspace: Workspace,
) -> None:
    town = Town(workspace, users=60)
    town.rated("witty", 10, 40)
    town.rated("warm", 45, 5)
    early = town.read()
    assert set(verdicts(early).values()) == {"too early"} and early.warnings == ()
    town.experiment = start(workspace, "style", town.experiment.arms, users=50)
    due = town.read()
    assert verdicts(due)["thumbs_up"] == "higher"
    assert not any(PEEKING in each for each in due.warnings)
    town.experiment = start(workspace, "style", town.experiment.arms)
    assert any(PEEKING in each for each in town.read().warnings)
    town.experiment = stop(workspace, "style")
    assert any("if it was stopped for what it showed" in each for each in town.read().warnings)


def test_arms_that_lose_users_are_not_to_be_compared(workspace: Workspace) -> None:
    town = Town(workspace, "witty:3,warm:1", users=1)
    town.rated("witty", 30, 30)
    town.rated("warm", 10, 10)
    assert town.read().warnings == ()
    for i in range(20, 60):
        town.met("warm", str(i), ())
    assert any("have not the users that their weights bring" in each for each in town.read().warnings)


def test_an_arm_that_became_another_adapter_on_the_way_is_told(town: Town) -> None:
    town.met("witty", "ann", (), version="v1")
    town.met("witty", "bob", (), version="v2")
    readout = town.read()
    assert readout.arms[0].versions == ("v1", "v2")
    assert any("witty was answered by 2 versions" in each for each in readout.warnings)


def test_an_epoch_knows_nothing_of_the_one_before(town: Town) -> None:
    town.rated("witty", 5, 5)
    town.experiment = start(town.workspace, "style", arms("witty:1,warm:2"))
    assert [side.users for side in town.read().arms] == [0, 0]
    assert town.read().contrasts == ()


def test_one_arm_has_nothing_to_be_compared_with(workspace: Workspace) -> None:
    town = Town(workspace, "witty:1")
    town.rated("witty", 30, 10)
    readout = town.read()
    assert readout.arms[0].scores["thumbs_up"].value == 0.75
    assert readout.contrasts == () and readout.warnings == ()


def test_each_arm_is_compared_with_the_first(workspace: Workspace) -> None:
    town = Town(workspace, "witty:1,warm:1,calm:1")
    for arm in ("witty", "warm", "calm"):
        town.rated(arm, 10, 15)
    pairs = {(each.arm, each.first) for each in town.read().contrasts}
    assert pairs == {("warm", "witty"), ("calm", "witty")}
