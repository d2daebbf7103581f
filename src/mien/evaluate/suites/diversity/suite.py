"""Is it varied, coherent and right? Set statistics of replies, and automatic scorers named as such.

Variety is measured on replies to different prompts, one reply per prompt and seed. That of wording rises
and falls with how many texts there are and how long they are: so all subjects' replies to the same
prompts are taken, cut to one length, which is chosen once for all of them. Coherence is what the prompt
explains of a reply, as the bare base sees it. Factual accuracy is whether the right answer stands in an
open reply to a question of fact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mien.errors import UnableError
from mien.evaluate import variety
from mien.evaluate.compare import CONTROLS, Results
from mien.evaluate.figure import Figure
from mien.evaluate.finding import Finding, Meaning, Measure
from mien.evaluate.pages.words import Glossary, called, ends, largest, listed, outcome, show
from mien.evaluate.setting import Setting, spread
from mien.evaluate.subject import Asked, LocalSubject, Options, Said, Subject
from mien.evaluate.suites.ability.items import Choice, items
from mien.evaluate.suites.diversity.figures import NAME, distances
from mien.evaluate.suites.dots import dots
from mien.evaluate.suites.held_out import HeldOut, grouped, held_out, questions, rows_for
from mien.evaluate.variety import Vectors, Words
from mien.schema import Score, conversation
from mien.stats import Interval

__all__ = ["MEANINGS", "NAME", "TITLE", "figures", "run", "says", "together"]

TITLE = "Is it still varied, coherent and right?"
WORDS = 32  # the most words to which replies are cut
LEAST = 8  # the fewest; six triples of words are hardly a wording
DISTINCT, SELF_BLEU, COMPRESSION = (
    f"{NAME}/{each}" for each in ("distinct", "self_bleu", "compression")
)
VENDI, WITHIN, APART = (f"{NAME}/{each}" for each in ("vendi", "within", "apart"))
PAIRS, PERSONAS = f"{DISTINCT}/word_pairs", f"{NAME}/personas"
COHERENCE, FACTUAL = f"{NAME}/coherence", f"{NAME}/factual"
_FEWEST = 3  # replies below which a set has no interval
_EVEN = (
    f" Of the beginnings of replies, at most {WORDS} words, which are as long for all systems and answer"
    " the same prompts."
)
_SET = "one reply per prompt, mean over seeds; leaving out a prompt at a time (jackknife)"

MEANINGS = {
    f"{DISTINCT}/*": Meaning(
        "Distinct words in a row",
        "Of all runs of one, two or three words in all replies together, how many are different. A low"
        f" share means that the same phrases come back whatever the question.{_EVEN}",
        1,
        True,
    ),
    SELF_BLEU: Meaning(
        "Self-BLEU",
        "How much of a reply's wording is found in the replies to other prompts: 0 for none of it, 1 for"
        f" all of it.{_EVEN}",
        -1,
    ),
    COMPRESSION: Meaning(
        "Compression ratio",
        f"How many times smaller all replies are when packed: what repeats itself packs well.{_EVEN}",
        -1,
    ),
    VENDI: Meaning(
        "Vendi score",
        "How many truly different meanings the replies amount to, counted so that two paraphrases are"
        " little more than one. At most one per prompt.",
        1,
    ),
    WITHIN: Meaning(
        "Distance between two tries",
        "How far apart in meaning two replies to the same prompt are: 0 if it says the same every time.",
    ),
    f"{APART}/*": Meaning(
        "Distance to another system",
        "How far its replies are in meaning from those of the other system to the same prompts.",
    ),
    COHERENCE: Meaning(
        "Coherence",
        "How much likelier the untouched base model finds the words of a reply when it has seen the"
        " prompt than when it has not, in nats a token. 0 means a reply that might answer anything. The"
        " scorer is the base, which favours what it would say itself, so its own replies come out high.",
    ),
    FACTUAL: Meaning(
        "Facts right in open replies",
        "How many replies to a simple question of fact have the right answer in them. A program looks"
        " for the words of the answer; it does not see what else is claimed.",
        1,
        True,
    ),
}


def run(subject: Subject, setting: Setting) -> Finding:
    """Look at the replies to the test prompts, and ask some facts."""
    facts, said = _facts(setting), setting.ask(subject, ahead(setting))
    found = grouped(setting, said[: len(said) - len(facts)])
    measures = [*_meanings(found, _vectors(found, setting)), _factual(facts, said[-len(facts) :])]
    missing: tuple[str, ...] = ()
    try:
        measures.append(_coherence(subject, setting, found))
    except UnableError as error:
        missing = (f"coherence: {error.what}",)
    return Finding(suite=NAME, subject=subject.name, measures=tuple(measures), missing=missing)


def ahead(setting: Setting) -> list[Asked]:
    """Prompts and facts, for a large batch with the questions of other suites."""
    facts = (Asked(conversation(each.ask)) for each in _facts(setting))
    return [*questions(setting, seeds_for(setting)), *facts]


def _facts(setting: Setting) -> list[Choice]:
    return spread(items().facts, setting.amounts.diversity.facts)


def together(subjects: Sequence[Subject], setting: Setting) -> list[Finding]:
    """The wording of replies at one length, and how far they are from those of others, by prompt."""
    said = dict(_answered(subjects, setting))
    return [*_wordings(said), *_distances(said, setting)]


def _distances(said: Mapping[str, HeldOut], setting: Setting) -> list[Finding]:
    """How far each subject's replies are from those of every subject before it, prompt by prompt."""
    heard = {name: _vectors(found, setting) for name, found in said.items()}
    how = "1 - cosine of MiniLM embeddings of replies of both to the same prompt"
    return [
        Finding(
            suite=NAME,
            subject=ours,
            measures=tuple(
                _measure(
                    f"{APART}/{theirs}",
                    variety.between(heard[ours], heard[theirs]),
                    said[ours].ids,
                    how,
                )
                for theirs in [*heard][:place]
            ),
        )
        for place, ours in enumerate(heard)
        if place
    ]


def between_personas(
    subjects: Mapping[str, Subject], setting: Setting, system: str
) -> tuple[Score, Score, Score]:
    """Whether subjects that have a persona each differ by more than each differs from itself.

    Args:
        subjects: One per persona, two or more.
        setting: Any of theirs; replies that were given before are remembered.
        system: What they are called together.

    Returns:
        The distance between two personas, that between two tries of one, and the first minus the
        second.

    Raises:
        UnableError: A subject cannot answer.
    """
    seeds = seeds_for(setting)
    heard = {
        persona: _vectors(held_out(each, setting, seeds), setting) for persona, each in subjects.items()
    }
    between, within, more = variety.apart(heard, [row.id for row in rows_for(setting)])
    how = "1 - cosine of MiniLM embeddings of replies to the same prompt; 95 % bootstrap over prompts"

    def score(name: str, found: Interval) -> Score:
        return Score(name=f"{PERSONAS}/{name}", system=system, method=how, **found._asdict())

    return score("between", between), score("within", within), score("between_less_within", more)


def seeds_for(setting: Setting) -> int:
    """How often each prompt is answered."""
    return setting.amounts.held_out.seeds


def _answered(subjects: Sequence[Subject], setting: Setting) -> Iterator[tuple[str, HeldOut]]:
    """What those said that can answer."""
    for subject in subjects:
        with suppress(UnableError):
            yield subject.name, held_out(subject, setting, seeds_for(setting))


def _vectors(found: HeldOut, setting: Setting) -> Vectors:
    """(prompts, seeds, size)."""
    by_seed = [setting.embedder.embed(texts) for texts in found.said]
    return np.stack(by_seed, axis=1).astype(np.float64)


def _measure(name: str, values: Iterable[float], units: Sequence[str], method: str) -> Measure:
    numbers = tuple(float(each) for each in values)
    return Measure(name=name, values=numbers, units=tuple(units), method=method)


def _meanings(found: HeldOut, vectors: Vectors) -> list[Measure]:
    def score(places: Sequence[int]) -> float:
        kept = vectors[list(places)]
        return float(np.mean([variety.vendi(kept[:, seed]) for seed in range(kept.shape[1])]))

    values = variety.influences(score, range(len(vectors)))
    how = "1 - cosine of MiniLM embeddings of two replies to the same prompt"
    return [
        _measure(VENDI, values, found.ids, f"Vendi score of MiniLM embeddings, {_SET}"),
        _measure(WITHIN, variety.within(vectors), found.ids, how),
    ]


Row = tuple[Words | None, ...]  # the words of one prompt's replies, one per seed
_STATISTICS: tuple[tuple[str, Callable[[Sequence[Words]], float], str], ...] = (
    (f"{DISTINCT}/single_words", partial(variety.distinct_n, n=1), "distinct words over all words"),
    (PAIRS, partial(variety.distinct_n, n=2), "distinct word pairs over all word pairs"),
    (
        f"{DISTINCT}/word_triples",
        partial(variety.distinct_n, n=3),
        "distinct word triples over all word triples",
    ),
    (SELF_BLEU, variety.self_bleu, "BLEU-4 of each reply against all others (Zhu et al. 2018)"),
    (COMPRESSION, variety.compression_ratio, "bytes over bytes packed with zlib (Shaib et al. 2024)"),
)


def _wordings(said: Mapping[str, HeldOut]) -> list[Finding]:
    """Set statistics of what is written, over the same prompts and at one length for all.

    Who is too terse for any length is left out, so that the others can be compared.
    """
    written = {
        name: [[variety.words(text) for text in texts] for texts in found.said]
        for name, found in said.items()
    }
    sizes = {name: np.array([[*map(len, row)] for row in rows]) for name, rows in written.items()}
    terse = [name for name, own in sizes.items() if _common(own) < LEAST]
    lost = [_unworded(name, f"too few replies of {name} have {LEAST} words") for name in terse]
    able = [name for name in said if name not in terse]
    if not able:
        return lost
    shortest = np.min([sizes[name] for name in able], axis=0)
    length = min(WORDS, _common(shortest))
    if length < LEAST:
        why = f"the systems' replies have {LEAST} words at too few prompts alike"
        return [*lost, *(_unworded(name, why) for name in able)]
    fits = shortest >= length
    return [*lost, *(_worded(name, written[name], said[name].ids, fits, length) for name in able)]


def _common(sizes: NDArray[np.int64]) -> int:
    """The most words that half of the replies with each seed have; `sizes` is (seeds, prompts)."""
    enough = max(_FEWEST, sizes.shape[1] // 2)
    return int(np.sort(sizes, axis=1)[:, -enough].min())


def _unworded(name: str, why: str) -> Finding:
    return Finding(suite=NAME, subject=name, missing=(f"variety of wording: {why}",))


def _worded(
    name: str,
    written: Sequence[Sequence[Words]],
    ids: Sequence[str],
    fits: NDArray[np.bool],
    length: int,
) -> Finding:
    """One subject's set statistics, of the replies that `fits`, (seeds, prompts), says."""
    rows: list[Row] = [
        tuple(text[:length] if fit else None for text, fit in zip(texts, column, strict=True))
        for texts, column in zip(zip(*written, strict=True), fits.T, strict=True)
    ]
    kept = [(row, unit) for row, unit in zip(rows, ids, strict=True) if any(row)]
    over = f"first {length} words of replies to the {len(kept)} prompts where all have as many"
    return Finding(
        suite=NAME,
        subject=name,
        measures=tuple(
            _measure(
                measure,
                variety.influences(_over_seeds(statistic), [row for row, _ in kept]),
                [unit for _, unit in kept],
                f"{how}; {over}, {_SET}",
            )
            for measure, statistic, how in _STATISTICS
        ),
        detail={"words": length},
    )


def _over_seeds(statistic: Callable[[Sequence[Words]], float]) -> Callable[[Sequence[Row]], float]:
    """A statistic of one reply per prompt, as its mean over the seeds."""

    def mean(rows: Sequence[Row]) -> float:
        columns = zip(*rows, strict=True)
        return float(np.mean([statistic([each for each in column if each]) for column in columns]))

    return mean


def _coherence(subject: Subject, setting: Setting, found: HeldOut) -> Measure:
    """What the prompt explains of each first reply, by the likelihoods of the bare base."""
    if not isinstance(subject, LocalSubject):
        raise UnableError(f"no base is at hand to read the replies of {subject.name} with")
    texts = zip(found.rows, found.said[0], strict=True)
    read = [(row, short) for row, text in texts if (short := variety.cut(text, WORDS))]
    if len(read) < _FEWEST:
        raise UnableError(f"fewer than {_FEWEST} replies of {subject.name} have {WORDS} words")
    asked = [Options(seen, (text,)) for row, text in read for seen in (conversation(row.prompt), ())]
    likely = [each.mean for (each,) in setting.logps(LocalSubject("base", subject.base), asked)]
    gains = np.subtract(likely[::2], likely[1::2])
    how = f"log p per token of the first {WORDS} words under the bare base, with the prompt less without"
    return _measure(COHERENCE, gains, [row.id for row, _ in read], how)


def _factual(facts: Sequence[Choice], said: Sequence[Said]) -> Measure:
    return Measure(
        name=FACTUAL,
        values=tuple(float(fact.told(each.text)) for fact, each in zip(facts, said, strict=True)),
        units=tuple(each.ask for each in facts),
        method="the right answer stands in an open reply, as whole words",
        scale="share",
    )


def says(results: Results) -> list[str]:
    """Variety, coherence and facts beside the controls, and the distance from them."""
    told = (
        _told(results, VENDI, "Its replies to {n} prompts amount to {value} different meanings"),
        _told(
            results,
            PAIRS,
            f"Of all pairs of neighbouring words in the first {_length(results)} of replies to"
            " {n} prompts, {value} are different",
        ),
        _told(results, COHERENCE, "Its prompt makes a word piece of a reply {value} nats likelier"),
        _told(
            results,
            FACTUAL,
            "The right answer stands in {value} of its open replies to questions of fact",
        ),
        _distance(results),
    )
    return [*filter(None, told)]


def _length(results: Results) -> int:
    """To how many words all replies were cut."""
    lengths = (f.detail["words"] for f in results.findings if f.suite == NAME and "words" in f.detail)
    return next(lengths, WORDS)


def _told(results: Results, name: str, words: str) -> str:
    """One score of the judged subject beside those of the controls, and what that amounts to."""
    judged, means, most = results.subjects[-1], Glossary(MEANINGS)[name], largest(results, name)
    found = results.score(name, judged)
    if found is None:
        return ""
    others = [
        f"{show(means, score.value, most)} for {called(each)}{_outcome(results, name, judged, each)}"
        for each in CONTROLS
        if each != judged and (score := results.score(name, each))
    ]
    first = (
        f"{words.format(n=found.n, value=show(means, found.value, most))} ({ends(means, found, most)})"
    )
    return f"{first}, against {listed(others)}." if others else f"{first}."


def _outcome(results: Results, name: str, ours: str, theirs: str) -> str:
    found = results.difference(name, ours, theirs)
    return f" ({outcome(Glossary(MEANINGS)[name], found)})" if found else ""


def _distance(results: Results) -> str:
    judged = results.subjects[-1]
    inside = results.score(WITHIN, judged)
    others = [(each, results.score(f"{APART}/{each}", judged)) for each in CONTROLS]
    told = [
        f"{score.value:.2f} ({score.low:.2f} to {score.high:.2f}) from {called(each)}"
        for each, score in others
        if score
    ]
    if not told or inside is None:
        return ""
    return (
        f"In meaning its replies lie {listed(told)}; two tries of its own at one prompt lie"
        f" {inside.value:.2f} apart ({inside.low:.2f} to {inside.high:.2f})."
    )


def figures(results: Results, paint: Mapping[str, str]) -> list[Figure]:
    """All scores, and how far each system is from each other."""
    names = (VENDI, PAIRS, SELF_BLEU, COMPRESSION, COHERENCE, FACTUAL)
    return [*dots(results, names, MEANINGS, paint), *distances(results, WITHIN, APART)]
