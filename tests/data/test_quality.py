"""Each fault is planted in clean rows and has to be found, where it was planted."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mien.data.corpus import (
    VOICES,
    Parallel,
    ParallelDialogue,
    corpus,
    dialogues,
    forms,
    rows_of,
    split_of,
)
from mien.data.quality import Embed, Report, check, check_all, to_embed, whole
from mien.data.wording import bag_of_words, numbers

CLEAN = rows_of("test")
Places = set[tuple[str, str]]


def rewrite(row: Parallel, voice: str, text: str) -> Parallel:
    return row.model_copy(update={"replies": row.replies | {voice: text}})


def in_every_row(voice: str, change: Callable[[str], str]) -> list[Parallel]:
    return [rewrite(row, voice, change(row.replies[voice])) for row in CLEAN]


def in_first_row(voice: str, text: str) -> list[Parallel]:
    return [rewrite(CLEAN[0], voice, text), *CLEAN[1:]]


def errors(rows: Sequence[Parallel], embed: Embed | None = None) -> Places:
    return {(finding.check, finding.where) for finding in check(rows, embed).errors}


def planted(rows: Sequence[Parallel], embed: Embed | None = None) -> Places:
    """The errors that the clean rows do not have."""
    return errors(rows, embed) - errors(CLEAN, embed)


def failed(report: Report) -> set[str]:
    return {figure.name for figure in report.figures if not figure.passed}


def moved(prompt: str, split: str) -> str:
    """The same prompt with other marks behind it, so that its hash lies in `split`."""
    return next(text for n in range(200) if split_of(text := prompt + "?" * n) == split)


def test_the_built_in_corpus_passes_every_check_that_needs_no_model() -> None:
    report = check(corpus())
    assert not report.errors, "\n".join(map(str, report.errors))
    assert not failed(report)
    assert report.passed


def test_the_built_in_corpus_is_checked_within_five_seconds() -> None:
    start = time.perf_counter()
    check(corpus())
    assert time.perf_counter() - start < 5


def test_the_whole_corpus_passes_every_check_that_needs_no_model() -> None:
    report = check_all()
    assert not report.errors, "\n".join(map(str, report.errors))
    assert not failed(report)


def test_the_voices_of_the_prompts_are_within_five_per_cent_in_length() -> None:
    figures = {figure.name: figure.value for figure in check(corpus()).figures}
    assert figures["uneven length"] <= 0.05


def test_figures_and_findings_of_the_whole_name_their_part() -> None:
    report = check_all()
    names = {figure.name for figure in report.figures}
    assert {"prompts: uneven length", "forms: uneven length", "dialogues: uneven length"} <= names
    assert "prompt leak, wording" in names
    assert {each.where for each in report.findings if each.check == "marks"} == {
        "prompts",
        "forms",
        "dialogues",
    }


def test_every_text_that_is_embedded_is_announced() -> None:
    embedded: list[str] = []

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.extend(texts)
        return bag_of_words(texts)

    check_all(embed)
    assert len(embedded) == to_embed()


@pytest.mark.parametrize("part", ["forms", "dialogues"])
def test_a_prompt_of_one_part_leaks_into_another(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: Sequence[Parallel | ParallelDialogue] = forms() if part == "forms" else dialogues()
    row = next(each for each in rows if each.split == "train")
    leaked = CLEAN[0].model_copy(update={"prompt": moved(row.prompt, "test")})
    monkeypatch.setattr(whole, "corpus", lambda: (leaked, *corpus()[1:]))
    found = {(each.check, each.where) for each in check_all().errors}
    assert ("leak", row.id) in found


def test_no_torch_is_imported() -> None:
    code = "import sys, mien.data.quality; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_rows() -> None:
    assert errors([]) == {("structure", "corpus")}


def test_missing_voice() -> None:
    replies = {voice: text for voice, text in CLEAN[0].replies.items() if voice != "calm"}
    broken = CLEAN[0].model_copy(update={"replies": replies})
    report = check([broken, *CLEAN[1:]])
    assert ("structure", broken.id) in {(each.check, each.where) for each in report.errors}
    assert any("calm" in each.message for each in report.errors)


def test_unknown_voice() -> None:
    rows = in_first_row("sarcastic", "Sure.")
    assert ("structure", CLEAN[0].id) in planted(rows)


def test_an_id_twice() -> None:
    rows = [CLEAN[0], CLEAN[1].model_copy(update={"id": CLEAN[0].id}), *CLEAN[2:]]
    assert ("structure", CLEAN[0].id) in planted(rows)


@pytest.mark.parametrize("count", [34, 91])
def test_length_of_one_reply(count: int) -> None:
    rows = in_first_row("warm", " ".join(f"word{n}" for n in range(count)))
    assert ("length", f"{CLEAN[0].id}/warm") in planted(rows)


@pytest.mark.parametrize("count", [35, 90])
def test_length_at_the_edge_is_right(count: int) -> None:
    rows = in_first_row("warm", " ".join(f"word{n}" for n in range(count)))
    assert ("length", f"{CLEAN[0].id}/warm") not in errors(rows)


def test_duplicate_reply() -> None:
    rows = in_first_row("witty", CLEAN[1].replies["witty"])
    assert ("duplicate", f"{CLEAN[1].id}/witty") in planted(rows)


def test_near_duplicate_reply() -> None:
    words = CLEAN[1].replies["witty"].split()
    words[len(words) // 3] = words[2 * len(words) // 3] = "teapot"
    rows = in_first_row("witty", " ".join(words))
    assert ("duplicate", f"{CLEAN[1].id}/witty") in planted(rows)


def test_duplicate_prompt() -> None:
    rows = [CLEAN[0], CLEAN[1].model_copy(update={"prompt": CLEAN[0].prompt.upper()}), *CLEAN[2:]]
    assert ("duplicate", f"{CLEAN[1].id}/prompt") in planted(rows)


def test_two_voices_that_are_one() -> None:
    rows = in_first_row("direct", CLEAN[0].replies["neutral"])
    assert ("contrast", f"{CLEAN[0].id}/direct") in planted(rows)


def test_one_voice_longer_than_the_others() -> None:
    report = check(in_every_row("calm", lambda text: f"{text} {' '.join(text.split()[:30])}"))
    assert {"uneven length", "length classifier"} <= failed(report)


def test_a_voice_that_is_always_longer_than_neutral_shows_in_pairs() -> None:
    report = check(in_every_row("calm", lambda text: f"{text} {' '.join(text.split()[:30])}"))
    shares = {figure.name: figure.value for figure in report.figures}
    assert shares["longer than neutral, calm"] == 1


def test_repeated_opener() -> None:
    rows = in_every_row("warm", lambda text: f"Let us see. {text}")
    assert ("opener", "corpus/warm") in planted(rows)


def test_repeated_closer() -> None:
    rows = in_every_row("warm", lambda text: f"{text} Go well!")
    assert ("closer", "corpus/warm") in planted(rows)


def test_catchword() -> None:
    rows = in_every_row("witty", lambda text: text.replace(".", ", verily.", 1))
    assert ("catchword", "corpus/witty") in planted(rows)


def test_a_word_of_two_voices_is_no_catchword() -> None:
    both = [
        rewrite(row, "witty", row.replies["witty"] + " Verily.")
        for row in in_every_row("calm", lambda text: text + " Verily.")
    ]
    assert ("catchword", "corpus/witty") not in planted(both)


@pytest.mark.parametrize("name", ["Calm", "warmly", "witty", "directly"])
def test_persona_name(name: str) -> None:
    rows = in_first_row("calm", f"{name} {CLEAN[0].replies['calm']}")
    assert ("persona name", f"{CLEAN[0].id}/calm") in planted(rows)


@pytest.mark.parametrize("word", ["direction", "director", "swarm", "Warmington"])
def test_a_word_that_only_resembles_a_persona_name(word: str) -> None:
    rows = in_first_row("calm", f"{word} {CLEAN[0].replies['calm']}")
    assert ("persona name", f"{CLEAN[0].id}/calm") not in planted(rows)


def numbered() -> tuple[Parallel, str]:
    """A clean row and a number of its content that its prompt does not mention."""
    for row in CLEAN:
        shared = numbers(" ".join(row.points)) & numbers(row.replies["neutral"])
        for number in sorted(shared - numbers(row.prompt)):
            if re.search(rf"\b{number}\b", row.replies["warm"]):
                return row, number
    raise AssertionError("no clean row has a number")


def test_changed_number() -> None:
    row, number = numbered()
    other = re.sub(rf"\b{number}\b", "987654", row.replies["warm"])
    rows = [rewrite(row, "warm", other) if each is row else each for each in CLEAN]
    assert ("number", f"{row.id}/warm") in planted(rows)


def test_a_number_the_user_gave_may_be_left_out() -> None:
    row, number = numbered()
    silent = rewrite(row, "warm", re.sub(rf"\b{number}\b", "it", row.replies["warm"]))
    told = silent.model_copy(update={"prompt": f"{row.prompt} {number}"})
    report = check([told if each is row else each for each in CLEAN])
    found = {(each.check, each.where, each.severity) for each in report.findings}
    assert ("number", f"{row.id}/warm", "note") in found
    assert ("number", f"{row.id}/warm", "error") not in found


@pytest.mark.parametrize(
    "mark",
    [
        "**so**",
        "it\u2019s",
        "so  then",
        "\U0001f600",
        "so \u2014 then",
        "# so",
        "`so`",
        "a&amp;b",
        "so .",
    ],
)
def test_artefact(mark: str) -> None:
    rows = in_first_row("neutral", f"{CLEAN[0].replies['neutral']} {mark} end.")
    assert ("artefact", f"{CLEAN[0].id}/neutral") in planted(rows)


@pytest.mark.parametrize("end", [" ", "\n", "\n- one\n- two"])
def test_artefact_at_the_end(end: str) -> None:
    rows = in_first_row("neutral", CLEAN[0].replies["neutral"] + end)
    assert ("artefact", f"{CLEAN[0].id}/neutral") in planted(rows)


def test_the_lines_of_a_poem_are_no_artefact() -> None:
    rows = in_first_row("neutral", CLEAN[0].replies["neutral"] + "\nSnow lay.")
    assert ("artefact", f"{CLEAN[0].id}/neutral") not in errors(rows)


def test_a_prompt_in_two_splits() -> None:
    leaked = CLEAN[1].model_copy(update={"prompt": moved(CLEAN[0].prompt, "train")})
    assert ("leak", leaked.id) in planted([CLEAN[0], leaked, *CLEAN[2:]])


def test_a_prompt_in_other_words_order_is_found_by_embedding_only() -> None:
    shuffled = " ".join(sorted(CLEAN[0].prompt.split()))
    leaked = CLEAN[1].model_copy(update={"prompt": moved(shuffled, "train")})
    rows = [CLEAN[0], leaked, *CLEAN[2:]]
    assert ("leak", leaked.id) not in planted(rows)
    assert ("leak", leaked.id) in planted(rows, bag_of_words)


def test_a_small_test_split() -> None:
    assert "rows of test" in failed(check(rows_of("train")))


def test_lost_content_is_found_by_embedding() -> None:
    rows = in_first_row("calm", CLEAN[1].replies["neutral"])
    report = check(rows, bag_of_words)
    found = {(each.check, each.where) for each in report.findings}
    assert ("content", f"{CLEAN[0].id}/calm") in found


def test_content_swapped_in_a_whole_voice_fails() -> None:
    others = [*CLEAN[1:], CLEAN[0]]
    rows = [
        rewrite(row, "calm", other.replies["calm"]) for row, other in zip(CLEAN, others, strict=True)
    ]
    assert "content kept" in failed(check(rows, bag_of_words))


def test_every_persona_voice_is_compared_with_neutral() -> None:
    names = {figure.name for figure in check(CLEAN, bag_of_words).figures}
    assert {f"content, {voice}" for voice in VOICES[1:]} <= names


def test_one_row_alone_can_be_checked() -> None:
    assert "rows of test" in failed(check(CLEAN[:1], bag_of_words))


def test_the_report_reads_as_a_table_and_can_be_stored() -> None:
    report = check(in_first_row("calm", "Short."))
    assert "FAILED" in str(report)
    assert f"error: length: {CLEAN[0].id}/calm: 1 words" in str(report)
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert not report.passed
