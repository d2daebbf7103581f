"""Where `mien data pairs` finds preferences: one function per source, from options to what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mien.chat import Reply, Sampling
from mien.cli.output import progress
from mien.cli.teacher import teacher_of
from mien.data import corpus
from mien.data.candidates import JUDGING, by_judge, by_voice, in_character, read_prompts, sampled
from mien.data.pairs import (
    Content,
    Dropped,
    Feedback,
    Found,
    Label,
    Samples,
    Score,
    aligned,
    best_of,
    contents,
    distilled,
    feedback,
    labels,
    preference,
    read_rows,
    voices,
)
from mien.data.rows import iter_rows
from mien.data.selection import Options, finish
from mien.errors import InputError
from mien.persona.spec import Persona, find
from mien.schema import Message, conversation

if TYPE_CHECKING:
    from mien.data.teacher import Teacher

A = TypeVar("A")
B = TypeVar("B")
Prompts = list[tuple[Message, ...]]

EACH = "each"  # other voice in turn


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for, but for the model that is asked."""

    source: str
    inputs: tuple[str, ...]
    persona: str | None
    against: tuple[str, ...]
    samples: int
    scorer: str | None
    least_margin: float
    keep: tuple[str, ...]
    least_agreement: float
    bare: str
    max_tokens: int
    temperature: float
    split: corpus.Split | None
    length_matched: bool | None
    max_ratio: float
    one_rejected: bool
    near: float
    drop_near: bool
    limit: int | None
    seed: int
    out: Path | None
    force: bool
    dry_run: bool

    def options(self) -> Options:
        """Of the shared last step."""
        return Options(
            split=self.chosen_split,
            near=self.near,
            near_identical="drop" if self.drop_near else "flag",
            one_rejected=self.one_rejected,
            max_ratio=self.max_ratio if self.matched else None,
            limit=self.limit,
            seed=self.seed,
        )

    @property
    def matched(self) -> bool:
        """Whether lengths are made even: as is said, else between voices of the built-in corpus."""
        by_default = self.source == "voices" and self.built_in
        return by_default if self.length_matched is None else self.length_matched

    @property
    def chosen_split(self) -> corpus.Split | None:
        """The split of the prompts; of the built-in ones, those to train on unless others are named."""
        return self.split or ("train" if self.built_in else None)

    @property
    def built_in(self) -> bool:
        """Whether the prompts, and with them the licence, are those of the built-in corpus."""
        return self.source in ("voices", "samples", "distill") and not self.inputs

    def character(self) -> Persona:
        """The persona.

        Raises:
            InputError: None is named.
        """
        if self.persona is None:
            raise InputError("No persona is named.", fix="Add `--persona warm`, say.")
        return find(self.persona)

    def files(self) -> list[Path]:
        """The inputs as files.

        Raises:
            InputError: There are none.
        """
        if not self.inputs:
            what = f"--from {self.source} reads files, and none is named."
            raise InputError(
                what, fix=f"`mien data pairs --from {self.source} ROWS.jsonl --out OUT.jsonl`"
            )
        return [Path(each) for each in self.inputs]

    def sampling(self) -> Sampling:
        """Of the models' replies."""
        return Sampling(max_tokens=self.max_tokens, temperature=self.temperature, top_p=0.95)


@dataclass
class Models:
    """The models that are asked, each loaded when it is needed."""

    asking: dict[str, Any]
    used: dict[str, Teacher] = field(default_factory=dict)

    def teacher(self) -> Teacher:
        """The one that the options name."""
        return self._once("teacher", self.asking)

    def base(self) -> Teacher:
        """The local base, on which no budget is spent."""
        unpaid = dict.fromkeys(("model", "budget_tokens", "budget_money"))
        return self._once("base", {**self.asking, **unpaid, "local": "base"})

    def _once(self, role: str, asking: dict[str, Any]) -> Teacher:
        if role not in self.used:
            self.used[role] = teacher_of(**asking)
        return self.used[role]

    @property
    def stopped(self) -> BaseException | None:
        """What ended the asking before its time."""
        return next((each.stopped for each in self.used.values() if each.stopped), None)


def _each(
    teacher: Teacher, saying: str, items: Sequence[A], work: Callable[[A], B]
) -> list[B | Dropped]:
    """`work` on every item, with a progress bar; what there is no answer for is dropped."""
    from mien.data.teacher import Unfinished

    with progress(saying, len(items)) as bar:
        results = teacher.each(items, work, done=bar.advance)
    return [Dropped("no answer") if isinstance(each, Unfinished) else each for each in results]


def _voices(wanted: Wanted, _: Models) -> Iterable[Found]:
    persona = wanted.persona or ""
    against = None if EACH in wanted.against else wanted.against
    rows = list(_contents(wanted.inputs))
    known = list(dict.fromkeys(voice for row in rows for voice in row))
    for voice in (persona, *(against or ())):
        if voice not in known:
            what = f"There is no voice {voice!r} among the replies." if voice else "No voice is named."
            raise InputError(what, fix=f"--persona and --against take {', '.join(known)}.")
    return voices(rows, persona, against)


def _contents(inputs: Sequence[str]) -> Iterator[Content]:
    """The built-in corpus; or one file per voice; or parallel corpora."""
    named = [each.partition("=") for each in inputs if "=" in each]
    if named and len(named) < len(inputs):
        fix = "Give VOICE=FILE for every voice, or parallel corpora alone."
        raise InputError("Files of one voice and parallel corpora do not mix.", fix=fix)
    if named:
        yield from aligned({voice: Path(file) for voice, _, file in named})
    elif inputs:
        for each in inputs:
            yield from contents(_parallel(Path(each)))
    else:
        yield from contents([*corpus.corpus(), *corpus.forms(), *corpus.dialogues()])


def _parallel(path: Path) -> Iterable[corpus.Parallel | corpus.ParallelDialogue]:
    first = next(iter_rows(path), (0, {}))[1]
    return corpus.read_dialogues(path) if "turns" in first else corpus.read_parallel(path)


def _labels(wanted: Wanted, _: Models) -> Iterable[Found]:
    rows = [row for file in wanted.files() for row in read_rows(file, Label)]
    return labels(rows, keep=wanted.keep, least_agreement=wanted.least_agreement)


def _feedback(wanted: Wanted, _: Models) -> Iterable[Found]:
    return feedback([row for file in wanted.files() for row in read_rows(file, Feedback)])


def _prompts(wanted: Wanted) -> Prompts:
    """The prompts of the inputs, or of the corpus; none that would be dropped."""
    if wanted.inputs:
        prompts = [prompt for file in wanted.files() for prompt in read_prompts(file)]
    else:
        prompts = [conversation(row.prompt) for row in (*corpus.corpus(), *corpus.forms())]
    return _allowed(prompts, wanted)


def _allowed(prompts: Prompts, wanted: Wanted) -> Prompts:
    """Without those that would be dropped in the end, so that nobody pays for them."""
    stand_ins = [preference(prompt, "yes", "no", "") for prompt in prompts]
    rows, _ = finish(stand_ins, Options(split=wanted.chosen_split, limit=wanted.limit, seed=wanted.seed))
    return [row.prompt for row in rows]


def _first_row(wanted: Wanted) -> dict[str, Any]:
    """What the first row of the first input has, which tells what the inputs are."""
    return next(iter_rows(wanted.files()[0]), (0, {}))[1] if wanted.inputs else {}


def _sample_rows(wanted: Wanted, models: Models) -> list[Samples | Dropped]:
    if "samples" in _first_row(wanted):
        return [row for file in wanted.files() for row in read_rows(file, Samples)]
    persona = wanted.character() if wanted.persona else None
    teacher = models.teacher()
    work = partial(sampled, ask=_asking(teacher, wanted, persona), wanted=wanted.samples)
    return _each(teacher, "Sampling", _prompts(wanted), work)


def _asking(teacher: Teacher, wanted: Wanted, persona: Persona | None) -> Callable[..., Reply]:
    """Asks the teacher for a reply, in character if there is a persona."""
    sampling = wanted.sampling()

    def ask(prompt: Sequence[Message], attempt: int = 0) -> Reply:
        return teacher.ask(in_character(prompt, persona), sampling, seed=wanted.seed + attempt)

    return ask


def _samples(wanted: Wanted, models: Models) -> Iterable[Found]:
    scorer = wanted.scorer or ("given" if "scores" in _first_row(wanted) else "voice")
    score = _score(scorer, wanted, models)
    work: Callable[[Samples], Found] = partial(
        best_of, score=score, source=f"samples/{scorer}", least=wanted.least_margin
    )
    rows = _sample_rows(wanted, models)
    whole = [row for row in rows if isinstance(row, Samples)]
    if scorer != "given":
        whole = [row.model_copy(update={"scores": None}) for row in whole]
    found: Iterable[Found] = map(work, whole)
    if scorer == "judge":
        found = _each(models.teacher(), "Judging", whole, work)
    return [*found, *(row for row in rows if isinstance(row, Dropped))]


def _score(scorer: str, wanted: Wanted, models: Models) -> Score:
    if scorer == "voice":
        return by_voice(wanted.character())
    if scorer == "judge":
        teacher = models.teacher()
        return by_judge(wanted.character(), lambda messages: teacher.ask(messages, JUDGING, seed=0))
    if "samples" not in _first_row(wanted):
        _no_score()
    return _no_score


def _no_score(*_: object) -> float:
    raise InputError(
        "There are no scores.", fix="Give `scores` in each row, or `--scorer voice` or `judge`."
    )


def _distill(wanted: Wanted, models: Models) -> Iterable[Found]:
    persona = wanted.character() if wanted.persona else None
    if persona is None and wanted.bare == "same":
        raise InputError("Both sides would be the same.", fix="Name a --persona, or use `--bare base`.")
    teacher = models.teacher()
    bare = models.base() if wanted.bare == "base" else teacher
    ours, theirs = _asking(teacher, wanted, persona), _asking(bare, wanted, None)
    source = f"distill/{teacher.model.name}/{bare.model.name}"

    def work(prompt: Sequence[Message]) -> Found:
        return distilled(prompt, ours(prompt), theirs(prompt), source=source)

    return _each(teacher, "Asking with and without character", _prompts(wanted), work)


FIND: dict[str, Callable[[Wanted, Models], Iterable[Found]]] = {
    "voices": _voices,
    "samples": _samples,
    "labels": _labels,
    "distill": _distill,
    "feedback": _feedback,
}


def calls(wanted: Wanted) -> int:
    """How many replies a model would be asked for; 0 if none is needed."""
    judging = wanted.scorer == "judge"
    if wanted.source == "distill":
        return 2 * len(_prompts(wanted))
    if wanted.source != "samples":
        return 0
    if "samples" in _first_row(wanted):
        rows = _sample_rows(wanted, Models({}))
        return sum(len(row.samples) for row in rows if isinstance(row, Samples)) if judging else 0
    return wanted.samples * len(_prompts(wanted)) * (2 if judging else 1)
