"""`mien persona`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mien.cli.output import number
from mien.persona import Persona, library
from mien.persona.voice import MEASURES
from tests.cli.running import run

REPLIES = ["Boil it for nine minutes.", "Would you like it soft? Then six will do!"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_names_every_built_in_one() -> None:
    result = run("persona", "list")
    assert all(name in result.stdout and each.title in result.stdout for name, each in library().items())


def test_list_as_json() -> None:
    rows = json.loads(run("persona", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(library())
    assert rows[0]["hash"] == library()["neutral"].digest()


@pytest.mark.parametrize("width", [80, 120])
def test_show_has_every_part_and_fits(width: int) -> None:
    witty = library()["witty"]
    text = run("persona", "show", "witty", width=width).stdout
    for title in ("Dry and witty", "System prompt", "Voice:", "Big Five", "Boundaries", "Examples"):
        assert title in text
    assert all(name in text for name in witty.voice.bands())
    assert "emotional range" in text and MEASURES["sentence_words"].about in text
    assert all(example.reply.split()[0] in text for example in witty.examples)
    assert max(map(len, text.splitlines())) <= min(width, 100)


def test_show_leaves_out_what_a_persona_does_not_say(here: Path) -> None:
    bare = {"name": "bare", "title": "Bare", "description": "Nobody.", "system_prompt": "Answer."}
    (here / "bare.yaml").write_text(yaml.safe_dump(bare))
    text = run("persona", "show", "bare.yaml").stdout
    assert "System prompt" in text
    assert not any(part in text for part in ("Voice", "Big Five", "Boundaries", "Examples"))


def test_show_as_json_can_be_read_back() -> None:
    shown = json.loads(run("persona", "show", "calm", "--json").stdout)
    assert Persona.model_validate({k: v for k, v in shown.items() if k != "hash"}) == library()["calm"]


def test_brackets_in_a_persona_are_text_and_not_markup(here: Path) -> None:
    said = {"name": "b", "title": "[red]B[/red]", "description": "[x]", "system_prompt": "[/]"}
    (here / "b.yaml").write_text(yaml.safe_dump({**said, "boundaries": ["[bold]No.[/bold]"]}))
    text = run("persona", "show", "b.yaml").stdout
    assert all(part in text for part in ("[red]B[/red]", "[x]", "[/]", "[bold]No.[/bold]"))


def test_new_writes_a_file_that_passes_its_own_check(here: Path) -> None:
    assert run("persona", "new", "captain", "--out", "mine").exit_code == 0
    assert Persona.load("mine/captain.yaml").name == "captain"
    assert json.loads(Path("mine/persona.schema.json").read_text())["title"] == "mien persona"
    assert run("persona", "check", "mine/captain.yaml").exit_code == 0


def test_new_never_overwrites(here: Path) -> None:
    for name in ("captain.yaml", "persona.schema.json"):
        (here / name).write_text("mine")
    assert run("persona", "new", "captain").exit_code == 2
    assert run("persona", "new", "pirate").exit_code == 0
    assert (here / "captain.yaml").read_text() == (here / "persona.schema.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["Captain", "../captain", "9"])
def test_new_refuses_what_cannot_be_a_name(here: Path, name: str) -> None:
    assert run("persona", "new", name).exit_code == 2
    assert list(here.iterdir()) == []


def test_check_lists_every_mistake_of_every_file_and_goes_on(here: Path) -> None:
    (here / "bad.yaml").write_text("name: B\ntitle: T\nvoice: {pasing: {}}\n")
    result = run("persona", "check", "bad.yaml", "gone.yaml", "warm")
    assert result.exit_code == 2
    assert "did you mean `pacing`?" in result.stderr and "description: missing" in result.stderr
    assert "gone.yaml: no such file." in result.stderr
    assert result.stdout.startswith("warm: ok, ")


def test_check_notes_examples_outside_their_own_bands(here: Path) -> None:
    run("persona", "new", "captain")
    path = here / "captain.yaml"
    path.write_text(path.read_text().replace("[8, 14]", "[20, 30]"))
    result = run("persona", "check", "captain.yaml")
    assert result.exit_code == 0
    assert "2 of 3 measures inside the bands" in result.stdout
    assert "note: example 1: sentence_words 10, outside 20 to 30" in result.stdout


def test_schema_is_the_models() -> None:
    assert json.loads(run("persona", "schema").stdout) == Persona.model_json_schema()


def test_measure_shows_every_measure(here: Path) -> None:
    (here / "texts.txt").write_text("\n\n".join(REPLIES))
    text = run("persona", "measure", "texts.txt").stdout
    assert all(name in text for name in MEASURES)
    assert "2 texts; with at least 20" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("field", ["reply", "text", "completion", "turns"])
def test_measure_reads_lines_and_rows_alike(field: str) -> None:
    def row(text: str) -> dict[str, object]:
        turns = [{"role": "assistant", "content": text}]
        return {"completion": turns} if field == "turns" else {field: text}

    lines = run("persona", "measure", "-", "--json", stdin="\n".join(REPLIES))
    rows = run("persona", "measure", "-", "--json", stdin="\n".join(json.dumps(row(t)) for t in REPLIES))
    assert lines.exit_code == 0
    assert json.loads(lines.stdout) == json.loads(rows.stdout)
    assert json.loads(lines.stdout)["measures"]["questions"] == [0.05, 0.25, 0.45]


def test_of_a_dialogue_every_turn_of_the_assistant_is_measured() -> None:
    turns = [
        {"role": role, "content": text}
        for reply in REPLIES
        for role, text in (("user", "And then? And why?"), ("assistant", reply))
    ]
    lines = run("persona", "measure", "-", "--json", stdin="\n".join(REPLIES))
    talk = run("persona", "measure", "-", "--json", stdin=json.dumps({"messages": turns}))
    assert json.loads(talk.stdout) == json.loads(lines.stdout)


def test_measured_bands_are_a_voice(here: Path) -> None:
    bands = yaml.safe_load(run("persona", "measure", "-", "--bands", stdin="\n".join(REPLIES)).stdout)
    warm = library()["warm"].model_dump(exclude={"voice"})
    assert Persona.model_validate(warm | bands).voice.bands()["reply_words"] == (5.4, 8.6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\n \n", "stdin: no texts."),
        ('{"text": "a"}\n{"text"', "stdin:2: not JSON"),
        ('{"text": "a"}\n\n{"prompt": "a"}', "stdin:3: no text in this row."),
        ('{"text": ""}', "stdin:1: no text in this row."),
        ('{"text": []}', "stdin:1: no text in this row."),
        ('{"text": "a"}\n[1]', "stdin:2: no text in this row."),
        ('{"text": "a"}\n3', "stdin:2: no text in this row."),
    ],
)
def test_measure_names_the_row_that_is_wrong(text: str, says: str) -> None:
    result = run("persona", "measure", "-", stdin=text)
    assert result.exit_code == 2
    assert f"Error: {says}" in result.stderr and "\nFix: " in result.stderr


def test_measure_of_what_is_not_text(here: Path) -> None:
    (here / "latin.txt").write_bytes(b"caf\xe9")
    assert "latin.txt: not UTF-8." in run("persona", "measure", "latin.txt").stderr
    assert "gone.txt: cannot be read" in run("persona", "measure", "gone.txt").stderr


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.04567, "0.0457"), (12.34, "12.3"), (1234.5, "1234"), (-0.2, "-0.2")]
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number(value) == text
