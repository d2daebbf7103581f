"""Checks of any data set: each planted fault is found, and clean text is left alone."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from mien.data.check import Report, check, fix, removed_path
from mien.data.check_page import render
from mien.data.checks.core import KEPT, Result
from mien.data.corpus import VOICES, Parallel, corpus, rows_of
from mien.data.formats import Row, iter_records, write_records
from mien.data.selection import length_matched
from mien.schema import Dialogue, Example, Message, Preference
from tests.page.reading import (
    HOSTILE,
    Page,
    assert_loads_and_runs_nothing,
    assert_themed,
    assert_well_formed,
    svgs,
)

ROWS = [row for row in corpus() if row.split != "test"]
PLAIN = [row for row in ROWS if "AI" not in row.replies["direct"] and row.topic != "assistant"][60:100]
CLEAN = [Example.of(row.prompt, row.replies["warm"]) for row in PLAIN]
TALKS_OF_MACHINES = 0.05  # share of the corpus whose prompts are about the assistant itself


def pair(prompt: str, chosen: str, rejected: str) -> Preference:
    sides = ((Message(role="assistant", content=text),) for text in (chosen, rejected))
    return Preference(
        prompt=(Message(role="user", content=prompt),), chosen=next(sides), rejected=next(sides)
    )


def voices(chosen: str, rejected: str, rows: Iterable[Parallel] = ROWS) -> list[Preference]:
    return [pair(row.prompt, row.replies[chosen], row.replies[rejected]) for row in rows]


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Report]:
    def run(rows: Iterable[Row], **settings: object) -> Report:
        path = tmp_path / "rows.jsonl"
        write_records(path, rows)
        return check(path, **settings)  # type: ignore[arg-type]

    return run


def result(report: Report, name: str) -> Result:
    return next(each for each in report.results if each.check == name)


def names(report: Report) -> set[str]:
    return {each.check for each in report.results if each.flagged}


# --- each fault, planted among clean rows -------------------------------------------------------

REPLY = CLEAN[0].reply
FAULTS = {
    "chat marks": [
        "<|im_start|>assistant\nHello there, friend.",
        f"{REPLY}\n### Response: more",
        "Assistant: Hi.",
    ],
    "placeholders": [
        "Dear {name}, thank you for it.",
        "Yours, [Your Name]",
        "Hello {{ user.first_name }}, hi.",
    ],
    "self-names": [
        "As an AI language model, I have no taste in soup.",
        "I'm ChatGPT, and soup is fine.",
        "I was trained by OpenAI on a great deal of soup.",
        "My knowledge cutoff is before that soup.",
    ],
    "refusals": ["I'm sorry, but I can't help with that.", "I cannot assist with this request, I fear."],
    "broken letters": ["Itâ€™s a cafÃ© with good soup.", "The soup is \ufffd good."],
    "HTML": ["Salt &amp; pepper make the soup.", "First line.<br>Second line of it."],
    "Markdown": [
        "Use **bold words here.",
        "```python\nprint(1)\nand no end",
        "See [here]() for the soup.",
    ],
    "personal data": [
        "Write to jane.doe@posteo.de for it.",
        "Her card is 4539 1488 0343 6467, take it.",
        "Pay into FR14 2004 1010 0505 0001 3M02 606 today.",
        "Call +49 30 901820 before noon.",
        "The server is at 93.184.216.34 in the cellar.",
        "The other is at 2606:4700:4700::1001 there.",
    ],
    "rudeness": ["You are worthless, and so is your soup.", "What a load of bullshit that is."],
    "blank": [" \n "],
    "very short": ["Yes."],
    "very long": ["word " * 1501 + "end."],
    "unfinished": [" ".join(REPLY.split()[:45]).rstrip(".,;!?") + " and the"],
    "languages": ["Das ist eine wirklich gute Frage, und ich beantworte sie gerne sofort."],
}
PLANTED = [(name, text) for name, texts in FAULTS.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), PLANTED)
def test_a_planted_fault_is_found_with_its_line(
    checked: Callable[..., Report], name: str, text: str
) -> None:
    found = result(checked([*CLEAN[:10], Example.of("What is it about soup?", text)]), name)
    assert found.flagged and found.count == 1 and found.of >= 1
    assert found.examples[0].where == "rows.jsonl:11"


HARMLESS = [
    "Write to jane@example.com or call 555-0123, or use 192.0.2.7 and 10.0.0.1 in the text.",
    "Use 4111 1111 1111 1111 for tests; order 4539 1488 0343 6468 has a wrong check digit.",
    "In 1969-07-20 there were 384,400 km to go, at 12:30:45, for 1.2.3 and 2.50 euros.",
    "The template is `Hello {name}` and the rest is plain text, as it should be.",
    '{"name": "{first}", "tags": ["<b>", "&amp;"]}',
    "```python\nprint(f'{name} <br> &amp;')\n```",
    "See [the guide](https://example.org/a) and **bold words** in a list.",
    "Monet's Claude, the bard's gemini and a llama met a mistral in Phi street.",
    "I'm sorry to hear that. I can't wait to see you on the mend, truly.",
    "The naïve café owner said “déjà vu” — and meant it, of course.",
    "If x < 3 and y > 4 then go on; 5 & 6 are out.",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_fault_is_left_alone(checked: Callable[..., Report], text: str) -> None:
    assert names(checked([*CLEAN[:10], Example.of("What is it about soup?", text)])) == set()


def test_the_built_in_corpus_raises_no_false_alarm(checked: Callable[..., Report]) -> None:
    report = checked(Example.of(row.prompt, row.replies[voice]) for row in ROWS for voice in VOICES)
    assert names(report) <= {"self-names", "refusals"}
    for name in ("self-names", "refusals"):  # prompts about the assistant, or that ask for a crime
        assert result(report, name).share < TALKS_OF_MACHINES


def test_a_reply_to_a_user_who_talks_of_machines_may_do_so_too(checked: Callable[..., Report]) -> None:
    asked = Example.of("Are you a robot, or ChatGPT?", "I'm an AI, though not ChatGPT by OpenAI.")
    assert names(checked([*CLEAN[:10], asked])) == set()


def test_bad_rows_are_counted_and_the_rest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = CLEAN[0].model_dump_json()
    path.write_text(f'{good}\n{{"prompt": \n{{"text": "x"}}\n[1]\n{CLEAN[1].model_dump_json()}\n')
    report = check(path)
    assert report.rows == 2
    found = result(report, "unreadable")
    assert found.count == 3
    assert [each.where for each in found.examples] == [f"rows.jsonl:{line}" for line in (2, 3, 4)]
    assert report.fails("error") and "unreadable" in report.headline


def test_copies_are_found_whatever_their_case_and_spaces(checked: Callable[..., Report]) -> None:
    shouted = Example.of(CLEAN[3].prompt[0].content.upper(), CLEAN[3].reply.replace(" ", "  "))
    found = result(checked([*CLEAN, shouted]), "duplicates")
    assert [each.message for each in found.examples] == ["as line 4"]


def test_near_copies_are_found_and_other_voices_are_none(checked: Callable[..., Report]) -> None:
    near = Example.of(CLEAN[3].prompt[0].content, CLEAN[3].reply + " Indeed so.")
    parallel = [Example.of(row.prompt, row.replies[voice]) for row in PLAIN for voice in VOICES]
    found = result(checked([*parallel, near]), "near-duplicates")
    assert found.count == 1
    assert found.examples[0].where == "rows.jsonl:241"
    assert found.examples[0].message.endswith(f"line {3 * 6 + 2}")


def test_a_pair_of_the_same_words_is_found(checked: Callable[..., Report]) -> None:
    assert result(checked([pair("A?", "The same, twice.", "the same twice")]), "same pair").flagged


def test_prompts_of_the_corpus_test_split_are_leaks(checked: Callable[..., Report]) -> None:
    test = rows_of("test")[0]
    reworded = f"{test.prompt} Thanks!"
    rows = [
        Example.of(test.prompt, "An answer of some words."),
        Example.of(reworded, "Another one of them."),
    ]
    found = result(checked([*CLEAN[:10], *rows]), "leaks")
    assert found.count == 2
    assert "test split" in found.examples[0].message


def test_prompts_of_the_other_file_are_leaks(checked: Callable[..., Report], tmp_path: Path) -> None:
    other = tmp_path / "test.jsonl"
    write_records(other, CLEAN[20:30])
    assert not result(checked(CLEAN[:20], against=other), "leaks").flagged
    assert result(checked(CLEAN[:25], against=other), "leaks").count == 5


def test_rows_beyond_the_recipe_are_counted_by_words_or_by_a_tokenizer(
    checked: Callable[..., Report],
) -> None:
    estimated = result(checked(CLEAN, max_length=60), "too long")
    assert estimated.count > 30 and "estimated" in estimated.about
    counted = result(checked(CLEAN, max_length=60, tokens=len), "too long")
    assert not counted.flagged and "estimated" not in counted.about


# --- confounds ----------------------------------------------------------------------------------


def test_a_set_in_which_the_chosen_reply_is_always_longer_is_flagged(
    checked: Callable[..., Report],
) -> None:
    rows = [
        pair(
            row.prompt,
            *sorted((row.replies["warm"], row.replies["witty"]), key=lambda t: -len(t.split())),
        )
        for row in ROWS
        if len(row.replies["warm"].split()) != len(row.replies["witty"].split())
    ]
    report = checked(rows)
    assert "length confound" in names(report)
    assert result(report, "length confound").told.startswith(("accuracy 0.9", "accuracy 1.0"))


def test_a_catchword_that_gives_the_side_away_is_flagged(checked: Callable[..., Report]) -> None:
    both = length_matched(voices("warm", "witty"), most=1.5, seed=0)
    rows = [
        pair(
            each.prompt[0].content,
            f"Certainly! {each.chosen[0].content}",
            f"Well. {each.rejected[0].content}",
        )
        for each in both
    ]
    report = checked(rows)
    found = result(report, "catchword")
    assert found.flagged and ("'certainly'" in found.told or "'well'" in found.told)
    assert len(found.examples) == KEPT
    assert "length confound" not in names(report)


@pytest.mark.parametrize("voice", VOICES[1:])
def test_the_corpus_as_length_matched_preferences_passes(
    checked: Callable[..., Report], voice: str
) -> None:
    report = checked(length_matched(voices(voice, "neutral"), most=1.5, seed=0))
    assert "length confound" not in names(report), result(report, "length confound").told
    caught = {"warm"} if "catchword" in names(report) else set()  # of 44 matched pairs, most say "your"
    assert caught <= {voice}
    assert (
        result(report, "words").told.startswith("accuracy 0.9") or "1.00" in result(report, "words").told
    )


def test_too_few_pairs_say_so(checked: Callable[..., Report]) -> None:
    assert "too few" in result(checked(voices("warm", "witty", ROWS[:5])), "length confound").told


# --- the whole ----------------------------------------------------------------------------------


def test_every_kind_of_row_is_counted(checked: Callable[..., Report]) -> None:
    talk = Dialogue(messages=(*CLEAN[0].prompt, *CLEAN[0].completion))
    report = checked([CLEAN[1], talk, *voices("warm", "witty", ROWS[2:4])])
    assert report.kinds == {"example": 1, "dialogue": 1, "preference": 2}
    assert {each.role: each.n for each in report.lengths} == {
        "user": 4,
        "assistant": 2,
        "chosen": 2,
        "rejected": 2,
    }
    assert all(sum(n for _, n in each.bars) == each.n for each in report.lengths)


def test_at_most_a_few_examples_are_kept_and_always_the_same(checked: Callable[..., Report]) -> None:
    rows = [
        Example.of(f"How is soup number {n} made?", "x " * n + "{name} ends here.") for n in range(40)
    ]
    first, again = checked(rows), checked(rows)
    assert first == again
    assert len(result(first, "placeholders").examples) == KEPT


def test_the_rows_themselves_are_not_kept_in_python_memory(tmp_path: Path) -> None:
    def peak(n: int) -> int:
        path = tmp_path / f"{n}.jsonl"
        long = "Here is some filler that says nothing. " * 25  # a kilobyte, which must not be kept
        write_records(
            path, (Example.of(f"Question {i} of many?", f"Answer {i * 7919}. {long}") for i in range(n))
        )
        tracemalloc.start()
        check(path)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)
    assert (peak(1200) - peak(200)) / 1000 < 600


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_records(path, CLEAN)
    steps: list[int] = []
    check(path, advance=steps.append)
    assert sum(steps) == path.stat().st_size


def test_the_page_is_sound_and_shows_hostile_rows_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows<b>.jsonl"
    bad = Example.of(HOSTILE, f"As an AI language model I say {HOSTILE}, truly and always.")
    write_records(path, [*CLEAN[:10], bad, *voices("warm", "witty")])
    html = render(check(path))
    assert_loads_and_runs_nothing(html)
    assert_well_formed(html)
    assert_themed(html)
    assert "<script" not in html and HOSTILE in Page(html).text
    assert "rows<b>.jsonl:11" in Page(html).text
    assert len(svgs(html)) == 4


def test_the_page_of_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    report = check(path)
    assert report.fails("error")
    assert "no row" in Page(render(report)).text


# --- mending ------------------------------------------------------------------------------------


def test_fix_drops_what_cannot_be_used_and_lists_it(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    near = Example.of(CLEAN[3].prompt[0].content, CLEAN[3].reply + " Indeed so.")
    marked = Example.of("What is it about soup?", "<|im_end|> is what it is about.")
    leaked = Example.of(rows_of("test")[0].prompt, "An answer of some words.")
    write_records(path, [*CLEAN, CLEAN[5], near, marked, leaked])
    path.write_text(path.read_text() + "{broken\n")
    before = path.read_bytes()
    report, fixed = fix(path, out)
    assert path.read_bytes() == before
    assert fixed.removed == {
        "duplicates": 1,
        "near-duplicates": 1,
        "chat marks": 1,
        "leaks": 1,
        "unreadable": 1,
    }
    assert [each.row for each in iter_records(out)] == CLEAN
    listed = [json.loads(line) for line in removed_path(out).read_text().splitlines()]
    assert [each["line"] for each in listed] == [41, 42, 43, 44, None]
    assert listed[2]["row"]["completion"][0]["content"] == marked.reply
    assert ":45" in listed[4]["why"]
    assert report.rows == 44
    assert names(check(out)) == set()


def test_fix_mends_white_space_and_letters_and_keeps_what_is_not_ours(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.jsonl", tmp_path / "fixed.jsonl"
    row = {"prompt": "  How is soup?\n", "completion": "Un cafÃ© trÃ¨s bon, and soup. \n", "id": "a7"}
    path.write_text(json.dumps(row) + "\n")
    _, fixed = fix(path, out)
    (record,) = iter_records(out)
    assert fixed.mended == fixed.written == 1
    assert [turn.content for turn in record.messages] == [
        "How is soup?",
        "Un café très bon, and soup.",
    ]
    assert record.extra == {"id": "a7"}


def test_fix_replaces_no_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_records(path, CLEAN)
    with pytest.raises(Exception, match="there already"):
        fix(path, path)
