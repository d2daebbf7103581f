"""The way from one voice to another, as a sentence and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from mien.evaluate.interpolation import Interpolation, Point
from mien.evaluate.pages.interpolation import drawn, says
from mien.schema import Score
from tests.page.reading import HOSTILE

WITTY, WARM = (0.81, 0.4, 0.03), (0.02, 0.5, 0.77)


def way(witty: Sequence[float], warm: Sequence[float], *, to: str = "warm") -> Interpolation:
    steps = len(witty) - 1
    points = tuple(
        Point(
            weights=(1 - place / steps, place / steps),
            heard=(score(witty[place]), score(warm[place])),
            content=score(0.6),
        )
        for place in range(steps + 1)
    )
    return Interpolation(adapters=("witty-sft-1", "warm-sft-1"), voices=("witty", to), points=points)


def score(value: float) -> Score:
    return Score(
        name="x", system="y", value=value, low=value - 0.02, high=value + 0.02, n=44, method="made-up"
    )


def texts(root: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in root.iter("text")]


def places(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """Of each line, (x, y) of its points."""
    lines = (each.attrib["points"].split() for each in root.iter("polyline"))
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in line)] for line in lines]


def test_it_is_said_that_both_voices_move_one_way_and_how_far() -> None:
    assert says(way(WITTY, WARM)) == (
        "Both voices move one way: witty falls at every step (0.81 to 0.03),"
        " warm rises at every step (0.02 to 0.77)."
    )


def test_a_voice_that_turns_back_is_told_with_all_values() -> None:
    said = says(way((0.5, 0.6, 0.1), WARM))
    assert said.startswith("Not both voices move one way: witty does not fall at every step (0.50,")
    assert "warm rises at every step" in said


def test_every_line_has_its_name_at_its_end_and_every_tick_its_weights() -> None:
    root = ElementTree.fromstring(drawn(way(WITTY, WARM)))
    assert {"witty", "warm", "content kept", "From witty to warm"} <= set(texts(root))
    assert {"1 : 0", "0.5 : 0.5", "0 : 1", "weights, witty : warm"} <= set(texts(root))


def test_lines_go_as_the_values_do_and_content_is_dashed() -> None:
    root = ElementTree.fromstring(drawn(way(WITTY, WARM)))
    dashed = ["stroke-dasharray" in each.attrib for each in root.iter("polyline")]
    assert dashed == [True, False, False]
    content, witty, warm = places(root)
    assert [y for _, y in witty] == sorted(y for _, y in witty)  # downwards, as SVG counts
    assert [y for _, y in warm] == sorted((y for _, y in warm), reverse=True)
    assert len({y for _, y in content}) == 1
    assert witty[1][0] - witty[0][0] == witty[2][0] - witty[1][0]


def test_every_point_tells_its_interval_when_it_is_pointed_at() -> None:
    root = ElementTree.fromstring(drawn(way(WITTY, WARM)))
    told = [each.text for each in root.iter("title")]
    assert "0.5 : 0.5: warm 0.50 [0.48, 0.52], n = 44" in told and len(told) == 1 + 6


def test_a_name_is_text_and_never_markup() -> None:
    picture = drawn(way(WITTY, WARM, to=HOSTILE))
    assert HOSTILE not in picture and HOSTILE in texts(ElementTree.fromstring(picture))
