"""Personas: the built-in library, the specification, its hash, its schema, its template."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import mien
from mien import specfile
from mien.data.corpus import VOICES, corpus, rows_of
from mien.errors import InputError, SpecError
from mien.persona import Persona, find, library, measure
from mien.persona.spec import template
from mien.persona.voice import MEASURES

LIBRARY = library()
TITLES = {
    "neutral": "Plain and neutral",
    "warm": "Warm and encouraging",
    "witty": "Dry and witty",
    "direct": "Direct and no-nonsense",
    "socratic": "Curious and Socratic",
    "calm": "Calm and grounding",
}
built_in = pytest.mark.parametrize("persona", LIBRARY.values(), ids=list(LIBRARY))


def tiny(**changes: Any) -> Persona:
    value = {"name": "tiny", "title": "Tiny", "description": "Small.", "system_prompt": "Be small."}
    return Persona.model_validate(value | changes)


def share_in_bands(persona: Persona, text: str) -> float:
    """The share of the persona's bands that hold the text's measure."""
    numbers = measure(text)
    bands = persona.voice.bands()
    return statistics.fmean(low <= numbers[name] <= high for name, (low, high) in bands.items())


def mean_share(persona: Persona, voice: str) -> float:
    return statistics.fmean(share_in_bands(persona, row.replies[voice]) for row in rows_of("test"))


# The library.


def test_the_library_has_a_persona_for_every_voice_of_the_corpus() -> None:
    assert set(LIBRARY) == set(VOICES)
    assert next(iter(LIBRARY)) == "neutral"
    assert {name: persona.title for name, persona in LIBRARY.items()} == TITLES


@built_in
def test_stated_bands_are_ordered_and_are_of_known_measures(persona: Persona) -> None:
    bands = persona.voice.bands()
    assert set(bands) <= set(MEASURES)
    assert len(bands) >= 9
    assert all(low <= high for low, high in bands.values())


@built_in
def test_every_band_holds_four_in_five_training_replies(persona: Persona) -> None:
    """They are 10th to 90th percentiles of the training split, rounded outwards."""
    numbers = [measure(row.replies[persona.name]) for row in rows_of("train")]
    for name, (low, high) in persona.voice.bands().items():
        held = statistics.fmean(low <= row[name] <= high for row in numbers)
        assert held >= 0.8, f"{name}: {held:.2f}"


@built_in
def test_a_voice_keeps_to_its_bands_on_prompts_it_was_not_banded_on(persona: Persona) -> None:
    """Measured: neutral .90, warm .87, witty .93, direct .90, socratic .91, calm .91."""
    assert mean_share(persona, persona.name) >= 0.83


@built_in
def test_no_other_voice_fits_the_bands_as_well(persona: Persona) -> None:
    """The closest is neutral under the bands of witty: .84 against .93."""
    own = mean_share(persona, persona.name)
    others = {name: mean_share(persona, name) for name in VOICES if name != persona.name}
    assert max(others.values()) <= own - 0.05, others


@built_in
def test_system_prompts_are_a_fair_rival_of_training(persona: Persona) -> None:
    assert 60 <= len(persona.system_prompt.split()) <= 110
    for word in ("Tone", "Pacing", "Vocabulary", "Emotion", "Habits", "40 to 80 words"):
        assert word in persona.system_prompt.replace("\n", " ")


@built_in
def test_examples_keep_to_the_bands(persona: Persona) -> None:
    assert len(persona.examples) == 3
    assert all(share_in_bands(persona, example.reply) == 1 for example in persona.examples)
    assert all(40 <= measure(example.reply)["reply_words"] <= 80 for example in persona.examples)


def test_examples_answer_the_same_prompts_and_none_of_the_corpus() -> None:
    prompts = {tuple(example.prompt for example in persona.examples) for persona in LIBRARY.values()}
    assert len(prompts) == 1
    assert not set(prompts.pop()) & {row.prompt for row in corpus()}


@built_in
def test_directions_are_moderate_and_boundaries_few(persona: Persona) -> None:
    assert all(abs(value) <= 0.7 for value in persona.big_five.model_dump().values())
    assert 3 <= len(persona.boundaries) <= 5
    assert any("AI" in boundary for boundary in persona.boundaries)


def test_the_control_claims_no_direction() -> None:
    assert not any(LIBRARY["neutral"].big_five.model_dump().values())


# Finding one.


def test_find_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "captain.yaml"
    path.write_text(template("captain"), encoding="utf-8")
    assert find("warm") == LIBRARY["warm"]
    assert find(str(path)).name == "captain"


def test_find_names_what_there_is() -> None:
    with pytest.raises(InputError) as error:
        find("wram")
    assert "'wram'" in error.value.what
    assert "neutral" in error.value.fix


def test_prompted_puts_the_system_prompt_first() -> None:
    system, user = LIBRARY["calm"].prompted("Hello?")
    assert (system.role, user.role, user.content) == ("system", "user", "Hello?")
    assert system.content == LIBRARY["calm"].system_prompt.strip()


# The specification.


def test_mistakes_in_a_file_are_reported_together_with_file_key_and_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "captain.yaml"
    path.write_text(
        "name: captain\n"
        "tittle: Captain\n"  # misspelt, so that title is also missing
        "description: Gruff.\n"
        "system_prompt: Be gruff.\n"
        "voice:\n  pacing:\n    sentence_word: [8, 14]\n"  # misspelt
        "  habits:\n    questions: [0.5, 0.1]\n",  # upside down
        encoding="utf-8",
    )
    with pytest.raises(SpecError) as error:
        Persona.load(path)
    assert set(error.value.problems) == {
        "title: missing",
        "tittle: unknown key; did you mean `title`?",
        "voice.pacing.sentence_word: unknown key; did you mean `sentence_words`?",
        "voice.habits.questions: a band is [low, high], and 0.5 is above 0.1",
    }
    assert str(error.value).count(str(path)) == 1 + len(error.value.problems)


@pytest.mark.parametrize("band", [[1], [1, 2, 3], ["low", 2], [0, float("inf")], [float("nan"), 1], 3])
def test_a_band_is_two_finite_numbers(band: object) -> None:
    with pytest.raises(ValidationError):
        tiny(voice={"pacing": {"sentence_words": band}})


def test_a_measure_belongs_to_its_own_dimension() -> None:
    with pytest.raises(ValidationError):
        tiny(voice={"tone": {"sentence_words": [8, 14]}})


@pytest.mark.parametrize("name", ["", "Captain", "1st", "a b", "a/b", "x" * 41])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(ValidationError):
        tiny(name=name)
    with pytest.raises(InputError):
        template(name)


def test_two_examples_of_one_prompt_are_refused() -> None:
    twice = [{"prompt": "Hello?", "reply": "Hi."}, {"prompt": "hello?", "reply": "Good day."}]
    value = tiny().model_dump() | {"examples": twice}
    with pytest.raises(SpecError) as error:
        specfile.validate(value, Persona, source="twins.yaml")
    assert error.value.problems == ("examples: two of them answer the same prompt",)


def test_bands_are_those_that_are_stated() -> None:
    assert tiny().voice.bands() == {}
    persona = tiny(voice={"tone": {"hedges": [0, 2]}, "habits": {"questions": [0, 0]}})
    assert persona.voice.bands() == {"hedges": (0, 2), "questions": (0, 0)}


# The hash.


def test_the_digest_is_stable() -> None:
    """Cards and manifests name personas by this hash: a change orphans every adapter made so far."""
    assert tiny().digest() == "bbe595d5db42f3aeb1629199a4d106d582541be9254cd4d067e8fb2652d79488"


def test_the_digest_changes_with_any_content() -> None:
    changed = [
        tiny(),
        tiny(title="Tinier"),
        tiny(voice={"tone": {"hedges": [0, 2]}}),
        tiny(voice={"tone": {"hedges": [0, 2.5]}}),
        tiny(big_five={"openness": 0.1}),
        tiny(boundaries=["Keeps its word."]),
        tiny(examples=[{"prompt": "Hello?", "reply": "Hi."}]),
    ]
    assert len({persona.digest() for persona in changed}) == len(changed)


def test_the_digest_is_of_the_content_and_not_of_the_writing() -> None:
    text = 'system_prompt: "Be small."\ndescription: Small.\n# a comment\ntitle: Tiny\nname: tiny\n'
    assert specfile.parse(text, Persona, source="tiny.yaml").digest() == tiny().digest()
    assert (
        tiny(voice={"tone": {"hedges": [0, 2]}}).digest()
        == tiny(voice={"tone": {"hedges": [0.0, 2.0]}}).digest()
    )


# The schema and the template.


def test_the_json_schema_describes_every_measure() -> None:
    schema = Persona.model_json_schema()
    assert isinstance(schema, dict)
    assert schema["additionalProperties"] is False
    keys: dict[str, Any] = {}
    for title in ("Tone", "Pacing", "Vocabulary", "EmotionalRange", "Habits"):
        keys |= schema["$defs"][title]["properties"]
    assert {name: key["description"] for name, key in keys.items()} == {
        name: each.about for name, each in MEASURES.items()
    }


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,39}", fullmatch=True)
    | st.sampled_from(["no", "null", "true", "on"])
)
def test_the_template_loads_under_any_name(name: str) -> None:
    assert specfile.parse(template(name), Persona, source="new.yaml").name == name


# The package.


def test_the_public_names() -> None:
    assert mien.__all__ == sorted(mien.__all__)
    assert all(getattr(mien, name) is not None for name in mien.__all__)
    assert mien.Persona is Persona
    assert dir(mien) == mien.__all__
    with pytest.raises(AttributeError, match="personna"):
        _ = mien.personna


def test_personas_need_no_torch() -> None:
    code = "import sys; from mien.persona import library; library(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
