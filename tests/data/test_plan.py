"""The plan: what a user may write in it, and what the three parts are told of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mien.data.plan import Plan, text
from mien.errors import InputError, SpecError
from mien.persona import library

SMALL: dict[str, Any] = {
    "sparks": "kettle ferry",
    "dimensions": {
        "turns": {
            "about": "Turns",
            "told": ["scenario"],
            "levels": {1: {"text": "one"}, 2: {"text": "two"}},
        },
        "form": {
            "about": "Form",
            "told": ["user", "persona"],
            "levels": {"chat": {"text": "talk", "weight": 3}, "json": {"text": "JSON", "must": "json"}},
        },
    },
}


def plan(**changes: Any) -> Plan:
    return Plan.model_validate({**SMALL, **changes})


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}))
    return path


def test_the_default_plan_has_every_dimension_and_explains_every_key() -> None:
    default = Plan.of(library()["neutral"])
    assert [int(name) for name in default.dimensions["turns"].levels] == [1, 2, 3, 4, 6, 8]
    assert len(default.dimensions) == 11
    assert set(default.dimensions["format"].levels) == {
        *("chat", "e-mail", "json", "code-review", "list", "translation")
    }
    assert all(
        f"#   {key} " in text() for key in ("about", "told", "levels", "must", "forbidden", "sparks")
    )


@pytest.mark.parametrize("name", library())
def test_the_boundaries_of_a_persona_become_pressures(name: str) -> None:
    persona = library()[name]
    levels = Plan.of(persona).dimensions["pressure"].levels
    pushed = [level.text for key, level in levels.items() if key.startswith("boundary-")]
    assert len(pushed) == len(persona.boundaries)
    assert all(text.endswith(rule) for text, rule in zip(pushed, persona.boundaries, strict=True))


def test_a_boundary_with_quotes_and_colons_stays_yaml() -> None:
    rule = 'Never says "yes: no" to #anything, {or: so}.'
    persona = library()["warm"].model_copy(update={"boundaries": (rule,)})
    assert Plan.of(persona).dimensions["pressure"].levels["boundary-1"].text.endswith(rule)


def test_a_plan_is_read_from_a_file_and_says_where_help_is(tmp_path: Path) -> None:
    assert Plan.load(written(tmp_path)) == plan()
    with pytest.raises(SpecError, match="mien data plan"):
        Plan.load(written(tmp_path, sparks=[]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dimensions": {"form": SMALL["dimensions"]["form"]}}, "`turns` is missing"),
        ({"forbidden": [{"form": ["json"]}]}, "two dimensions or more"),
        ({"forbidden": [{"form": ["jsn"], "turns": [1]}]}, "forbidden.0.form: there is no jsn"),
        ({"forbidden": [{"frm": ["json"], "turns": [1]}]}, "forbidden.0.frm: there is no frm"),
        ({"forbidden": [{"frm": [], "turns": [1]}]}, "there is no frm"),
        ({"sparks": "kettle"}, "sparks"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan(**changes)


@pytest.mark.parametrize(
    ("name", "says"), [(9, "not a number from 1"), ("two", "not a number"), (0, "0 is")]
)
def test_turns_are_numbers_from_1_to_8(name: Any, says: str) -> None:
    turns = {**SMALL["dimensions"]["turns"], "levels": {name: {"text": "x"}}}
    with pytest.raises(ValueError, match=says):
        plan(dimensions={**SMALL["dimensions"], "turns": turns})


def test_a_level_that_yaml_reads_as_yes_has_to_be_quoted() -> None:
    odd = {"about": "Odd", "told": ["user"], "levels": {True: {"text": "x"}}}
    with pytest.raises(ValueError, match="put it in quotes"):
        plan(dimensions={**SMALL["dimensions"], "odd": odd})


def test_a_wrong_key_gets_the_nearest_right_one(tmp_path: Path) -> None:
    form = {"about": "Form", "told": ["user"], "levels": {"chat": {"text": "t", "wieght": 2}}}
    with pytest.raises(SpecError, match="did you mean `weight`"):
        Plan.load(written(tmp_path, dimensions={**SMALL["dimensions"], "form": form}))


def test_each_part_is_told_its_own_dimensions() -> None:
    cell = {"turns": "2", "form": "json"}
    assert plan().told(cell, "scenario") == "- Turns: two"
    assert plan().told(cell, "user") == plan().told(cell, "persona") == "- Form: JSON"
    assert plan().musts(cell) == {"json"} and plan().musts({**cell, "form": "chat"}) == set()


def test_a_plan_can_be_kept_to_short_dialogues_and_its_rules_with_it() -> None:
    rules = [{"form": ["json"], "turns": [2]}, {"form": ["chat"], "turns": [1, 2]}]
    short = plan(forbidden=rules).within(1, 1)
    assert list(short.dimensions["turns"].levels) == ["1"]
    assert short.forbidden == ({"form": ("chat",), "turns": ("1",)},)
    with pytest.raises(InputError, match="3 to 5"):
        plan().within(3, 5)
