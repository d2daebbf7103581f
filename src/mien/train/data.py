"""What a recipe trains on: examples or preferences, encoded, counted, and shown.

Examples become chains, which are read and learnt in turn. Preferences become `Ranked`: one prompt with
the reply that is wanted and those that are not. Of what PPO is given, only the prompts are used.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar

import torch
from rich.text import Text
from torch import Tensor

from mien.base.flat import Chain, Flat, Ids, Tree
from mien.base.model import Base
from mien.base.render import Renderer
from mien.data import corpus
from mien.data.formats import iter_records, read_examples
from mien.data.pairs import contents, voices
from mien.data.selection import Options, finish
from mien.errors import DataError
from mien.persona.spec import Persona
from mien.persona.voice import Text as Prose
from mien.registry.cards import NULLS
from mien.schema import Example, Message, Preference, conversation, digest
from mien.train.recipe import DpoRecipe, Passes, PpoRecipe, Recipe, RewardRecipe

_LARGEST_HOLDOUT = 200  # enough to stop on; more only takes time
_Row = TypeVar("_Row", Example, Preference)


class Prompt(NamedTuple):
    """What a rollout answers: as token ids, and as it was before it was rendered."""

    ids: Ids
    messages: tuple[Message, ...]


class Ranked(NamedTuple):
    """Replies to one prompt, the one that is wanted first.

    Attributes:
        tree: The prompt and its completions; the first is chosen, the others are rejected.
        margins: By how much the chosen reply is better than each rejected one, where that is known.
    """

    tree: Tree
    margins: tuple[float, ...]

    @property
    def pairs(self) -> int:
        """Chosen against each rejected."""
        return len(self.tree.completions) - 1


class Contest(NamedTuple):
    """Rows of ranked replies laid end to end, each prompt once.

    Attributes:
        flat: The sequences are the completions, the chosen one of each row first.
        chosen: (pairs,) the sequence that is chosen in each pair.
        rejected: (pairs,) the sequence that is rejected in each pair.
        row: (pairs,) the row of each pair.
    """

    flat: Flat
    chosen: Tensor
    rejected: Tensor
    row: Tensor

    @classmethod
    def of(cls, rows: Sequence[Ranked]) -> Contest:
        """From some rows."""
        chosen, rejected, owner, start = list[int](), list[int](), list[int](), 0
        for number, row in enumerate(rows):
            chosen += [start] * row.pairs
            rejected += range(start + 1, start + 1 + row.pairs)
            owner += [number] * row.pairs
            start += 1 + row.pairs
        flat = Flat.branching([row.tree for row in rows])
        return cls(flat, torch.tensor(chosen), torch.tensor(rejected), torch.tensor(owner))


@dataclass(frozen=True)
class Dataset:
    """Training and validation rows of one recipe, as they are before they are rendered."""

    name: str
    train: tuple[Example, ...] | tuple[Preference, ...]
    validation: tuple[Example, ...] | tuple[Preference, ...]

    def digest(self) -> str:
        """Content hash of both sides."""
        sides = (self.train, self.validation)
        return digest([[each.model_dump(mode="json") for each in side] for side in sides])


@dataclass(frozen=True)
class Encoded:
    """Token ids of a data set, and what did not fit.

    Attributes:
        train: Chains for SFT, `Ranked` for preferences, prompts for PPO.
        validation: Likewise.
        examples: Replies, pairs or prompts of one epoch.
        tokens: All training tokens of one epoch.
        learnt: Those of them that carry loss.
        too_long: Rows that were left out.
    """

    train: Sequence[Any]
    validation: Sequence[Any]
    examples: int
    tokens: int
    learnt: int
    too_long: int


def length(row: Chain | Ranked | Prompt) -> int:
    """Tokens of an encoded row."""
    if isinstance(row, Ranked):
        return row.tree.tokens
    return len(row.ids) if isinstance(row, Prompt) else sum(map(len, row))


def load_dataset(recipe: Recipe, persona: Persona) -> Dataset:
    """The rows a recipe names: preferences for DPO and reward models, examples for the rest.

    A dialogue of a file gives one example per turn of the assistant. Where no validation file is named,
    conversations are held out by the hash of their first question, all rows of one together.

    Raises:
        DataError: A file or row cannot be used.
    """
    pairs = isinstance(recipe, DpoRecipe | RewardRecipe)
    if recipe.data is None:
        what = "pairs of " if pairs else ""
        name = f"built-in corpus, {what}{persona.name}"
        of_voice = neutral_pairs if recipe.stage in NULLS else _corpus_pairs
        sides: Any = of_voice(persona.name) if pairs else _corpus_examples(persona.name)
    else:
        held = recipe.validation if isinstance(recipe, Passes) else None
        name = str(recipe.data)
        sides = _from_files(recipe.data, held, _read_pairs if pairs else _read)
    system = persona.system_prompt.strip() if recipe.under_prompt else None
    train, validation = (tuple(_under(each, system) for each in side) for side in sides)
    return Dataset(name, train, validation)


def encode(base: Base, dataset: Dataset, recipe: Recipe) -> Encoded:
    """Render a data set; rows over the recipe's most tokens are left out whole.

    A reply that is cut loses the mark that ends it, and a prompt that is cut is another prompt: both
    teach something that nobody wrote.

    Raises:
        DataError: Nothing is left to train on.
    """
    key = "max_prompt_length" if isinstance(recipe, PpoRecipe) else "max_length"
    most = getattr(recipe, key)
    sides, dropped = [], 0
    for rows in (dataset.train, dataset.validation):
        found, left_out = _encoded(base.renderer, rows, recipe, most)
        sides.append(found)
        dropped += left_out
    train, validation = sides
    if not train:
        raise DataError(
            f"{dataset.name}: all {len(dataset.train)} rows are over {most} tokens.",
            fix=f"Raise `{key}` in the recipe.",
        )
    return Encoded(
        train=train,
        validation=validation,
        examples=sum(map(_replies, train)),
        tokens=sum(map(length, train)),
        learnt=sum(map(_learnt, train)),
        too_long=dropped,
    )


def _encoded(
    renderer: Renderer, rows: Sequence[Any], recipe: Recipe, most: int
) -> tuple[Sequence[Any], int]:
    if isinstance(recipe, PpoRecipe):
        prompts = [Prompt(tuple(renderer.prompt(row.prompt)), row.prompt) for row in rows]
        different = list({prompt.ids: prompt for prompt in prompts}.values())
        fitting = [prompt for prompt in different if len(prompt.ids) <= most]
        return fitting, len(different) - len(fitting)
    if isinstance(recipe, DpoRecipe | RewardRecipe):
        return _ranked(renderer, rows, most)
    pairs = [renderer.example(row) for row in rows]
    kept = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= most]
    return joined(kept), len(pairs) - len(kept)


def _ranked(renderer: Renderer, rows: Sequence[Preference], most: int) -> tuple[list[Ranked], int]:
    """Preferences with their common prompt and chosen reply as one row."""
    groups: dict[tuple[Ids, Ids], dict[Ids, float]] = defaultdict(dict)
    dropped = 0
    for row in rows:
        prompt = tuple(renderer.prompt(row.prompt))
        chosen, rejected = (
            tuple(renderer.completion(side[0].content)) for side in (row.chosen, row.rejected)
        )
        if len(prompt) + max(len(chosen), len(rejected)) > most:
            dropped += 1
        else:
            groups[prompt, chosen][rejected] = row.margin or 0.0
    return [
        Ranked(Tree(prompt, (chosen, *rejected)), tuple(rejected.values()))
        for (prompt, chosen), rejected in groups.items()
    ], dropped


def _replies(row: Any) -> int:
    if isinstance(row, Ranked):
        return row.pairs
    return 1 if isinstance(row, Prompt) else len(row) // 2


def _learnt(row: Any) -> int:
    if isinstance(row, Ranked):
        return sum(map(len, row.tree.completions))
    return 0 if isinstance(row, Prompt) else sum(len(stretch) for stretch in row[1::2])


def preview(base: Base, row: Any) -> Text:
    """A row as the model sees it, with the learnt tokens marked."""
    if isinstance(row, Ranked):
        row = [row.tree.prompt, *(part for reply in row.tree.completions for part in (reply, ()))][:-1]
    text = Text()
    for place, stretch in enumerate([row.ids] if isinstance(row, Prompt) else row):
        if place % 2 == 0:
            text.append(base.tokenizer.decode(stretch), style="dim")
            continue
        for token in stretch:
            text.append(base.tokenizer.decode([token]), style="bold green")
            text.append("\u2009")
    return text


def _corpus_examples(voice: str) -> tuple[list[Example], list[Example]]:
    return corpus.examples(voice, "train"), corpus.examples(voice, "validation")


def _corpus_pairs(voice: str) -> list[list[Preference]]:
    """Two voices of one content, so matched that their lengths do not tell which is chosen."""
    if voice not in corpus.VOICES:
        raise DataError(
            f"The built-in corpus has no voice {voice!r}.", fix="Give pairs of your own with `--data`."
        )
    found = list(voices(contents(corpus.corpus()), voice))
    sides = []
    for split in ("train", "validation"):
        wanted = Options(split=split, max_ratio=1.5, one_rejected=True)
        sides.append(finish(found, wanted)[0])
    return sides


def neutral_pairs(voice: str) -> list[list[Preference]]:
    """Pairs without a preference, for the null adapter: neutral on both sides.

    Both sides are the one authored reply, less a sentence each, and chance says which side is chosen.
    So prompts, loss and number of steps are a persona's, and voice, content and length favour no side:
    what training on these does, training on pairs does to any model.
    """
    sides = []
    for split in ("train", "validation"):
        found = (_without_preference(row, voice) for row in corpus.rows_of(split))
        sides.append([pair for pair in found if pair])
    return sides


def _without_preference(row: corpus.Parallel, voice: str) -> Preference | None:
    sentences = Prose(row.replies[voice]).sentences
    if len(sentences) < 3:
        return None
    chosen, rejected = (
        Message(role="assistant", content=" ".join(sentences[:out] + sentences[out + 1 :]))
        for out in Random(row.id).sample(range(len(sentences)), 2)
    )
    return Preference(
        prompt=conversation(row.prompt), chosen=(chosen,), rejected=(rejected,), source=NULLS[0]
    )


def _from_files(
    data: Path, validation: Path | None, read: Callable[[Path], list[_Row]]
) -> tuple[list[_Row], list[_Row]]:
    rows = read(data)
    _without_test_prompts(rows, data)
    if validation is not None:
        return rows, read(validation)
    held = _held_out(rows)
    kept = [row for row in rows if _opening(row) not in held]
    return (kept, [row for row in rows if _opening(row) in held]) if kept else (rows, [])


def _read(path: Path) -> list[Example]:
    rows = read_examples(path)
    _refuse_tools(((*row.prompt, *row.completion) for row in rows), path)
    return rows


def _read_pairs(path: Path) -> list[Preference]:
    rows = [record.row for record in iter_records(path, form="preferences")]
    pairs = [row for row in rows if isinstance(row, Preference)]
    if not pairs:
        raise DataError(f"{path}: no pairs.", fix="Make some from what there is with `mien data pairs`.")
    same = sum(row.chosen == row.rejected for row in pairs)
    if same:
        raise DataError(
            f"{path}: in {same} of {len(pairs)} pairs chosen and rejected are the same.",
            fix="Leave them out: `mien data check` shows them, and with `--fix` removes them.",
        )
    _refuse_tools(((*row.prompt, *row.chosen, *row.rejected) for row in pairs), path)
    return pairs


def _refuse_tools(conversations: Iterable[Sequence[Message]], path: Path) -> None:
    found = [any(map(_uses_tools, turns)) for turns in conversations]
    if any(found):
        raise DataError(
            f"{path}: {sum(found)} of {len(found)} rows use tools, which no base is taught here.",
            fix="Leave these conversations out.",
        )


def _uses_tools(turn: Message) -> bool:
    return turn.role == "tool" or bool(turn.tool_calls)


def _held_out(rows: Sequence[_Row]) -> set[str]:
    """The openings that are validated on: by their hash, as long as there is room."""
    held, room = set(), _LARGEST_HOLDOUT
    for opening, size in Counter(map(_opening, rows)).items():
        if size <= room and corpus.split_of(opening) == "validation":
            held.add(opening)
            room -= size
    return held


def _without_test_prompts(rows: Sequence[_Row], data: Path) -> None:
    """Whoever trains on what `mien eval` asks can no longer believe it."""
    leaked = sum(corpus.asks_a_test_prompt(row.prompt) for row in rows)
    if leaked:
        raise DataError(
            f"{data}: {leaked} of {len(rows)} rows ask a test prompt of the built-in corpus.",
            fix="Leave them out; `mien data export --split train` and `mien data pairs` write what may"
            " be learnt.",
        )


def _opening(row: Example | Preference) -> str:
    """The user's first turn, by which all rows of a dialogue fall on one side."""
    return next(turn.content for turn in row.prompt if turn.role == "user")


def _under(row: _Row, system: str | None) -> _Row:
    if system is None or row.prompt[0].role == "system":
        return row
    opening = Message(role="system", content=system)
    return row.model_copy(update={"prompt": (opening, *row.prompt)})


def joined(pairs: Sequence[tuple[list[int], list[int]]]) -> list[list[list[int]]]:
    """Rows in which a pair follows on the one that its prompt begins with."""
    rows: list[list[list[int]]] = []
    whole: list[int] = []  # all tokens of the last row
    for prompt, completion in pairs:
        if rows and prompt[: len(whole)] == whole:
            rows[-1] += [prompt[len(whole) :], completion]
        else:
            rows.append([prompt, completion])
        whole = prompt + completion
    return rows
