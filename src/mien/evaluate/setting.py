"""What every suite is given: the persona, the measuring instruments, and a way to ask that remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.base.embed import Embedder
from mien.chat import Sampling
from mien.errors import UnableError
from mien.evaluate.classifier import VoiceClassifier
from mien.evaluate.memo import Memo
from mien.evaluate.sizes import AMOUNTS, Amounts
from mien.evaluate.subject import Asked, Likely, LocalSubject, LogP, Options, Said, Subject
from mien.persona.spec import Persona
from mien.schema import digest
from mien.show import Show

if TYPE_CHECKING:
    from mien.evaluate.judge import Judge
    from mien.evaluate.suites.safety.perspective import Perspective

__all__ = ["SAMPLING", "Setting", "spread"]

SAMPLING = Sampling(max_tokens=130, temperature=0.5)  # of every evaluation, for all subjects alike
Item = TypeVar("Item")
_PART = 96  # replies that are kept together: what a kill can lose


@dataclass(frozen=True)
class Setting:
    """One evaluation's circumstances.

    Attributes:
        persona: Whose personality is meant.
        sampling: How replies are drawn, for all subjects alike.
        ear: Hears which voice a text is in.
        embedder: For nearness in meaning.
        memo: Remembers all answers.
        amounts: How much every suite asks.
        judge: Reads and rates replies; None if there is none.
        turns: Of long conversations; None: as many as the size has.
        user: Plays the user in long conversations; None: a script does.
        perspective: Scores how toxic replies are; None if there is no key to it.
        show: Is told how it goes.
        seed: Of whatever a suite draws.
    """

    persona: Persona
    sampling: Sampling
    ear: VoiceClassifier
    embedder: Embedder
    memo: Memo
    amounts: Amounts = AMOUNTS["quick"]
    judge: Judge | None = None
    turns: int | None = None
    user: Subject | None = None
    perspective: Perspective | None = None
    show: Show = field(default_factory=Show)
    seed: int = 0

    def ask(
        self, subject: Subject, asked: Sequence[Asked], *, sampling: Sampling | None = None
    ) -> list[Said]:
        """Replies of a subject; those it gave before are remembered.

        Raises:
            UnableError: It cannot answer one of them.
        """
        how = sampling or self.sampling
        keys = _keys([subject.key, how.model_dump()], asked)

        def make(places: list[int]) -> list[Said]:
            return subject.answer([asked[place] for place in places], how, progress=self.show.advance)

        return [Said(*row) for row in self.memo.fill(keys, make, part=_PART)]

    def logps(self, subject: Subject, asked: Sequence[Options]) -> list[tuple[LogP, ...]]:
        """Log-probabilities of continuations; those that are known are remembered.

        Raises:
            UnableError: The subject's likelihoods cannot be read.
        """
        if not isinstance(subject, Likely):
            raise UnableError(f"{subject.name}: its likelihoods cannot be read.")
        keys = _keys([subject.key, "logp"], asked)
        rows = self.memo.fill(
            keys, lambda places: subject.logps([asked[p] for p in places], progress=self.show.advance)
        )
        return [tuple(LogP(*each) for each in row) for row in rows]

    def divergences(self, subject: Subject, asked: Sequence[Options]) -> list[tuple[float, ...]]:
        """KL from the bare base over continuations, in nats; those that are known are remembered.

        Raises:
            UnableError: The subject is not the local base.
        """
        if not isinstance(subject, LocalSubject):
            raise UnableError(f"{subject.name}: how far it is from the base cannot be read.")
        keys = _keys([subject.key, "kl"], asked)
        rows = self.memo.fill(
            keys,
            lambda places: subject.divergences([asked[p] for p in places], progress=self.show.advance),
        )
        return [tuple(row) for row in rows]

    def heard(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability that each text is in the intended voice, (texts,).

        Raises:
            UnableError: The ear has never heard that voice.
        """
        if self.persona.name not in self.ear.labels:
            raise UnableError(f"the classifier has never heard the voice {self.persona.name!r}.")
        return np.asarray(self.ear.judge(texts)[:, self.ear.labels.index(self.persona.name)])


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """So many items, spread evenly and always the same; None means all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]


def _keys(how: list[object], asked: Sequence[Asked | Options]) -> list[str]:
    """Who is asked what and how, as digests; the subject's own key is made once for all."""
    return [digest([*how, _plain(each)]) for each in asked]


def _plain(each: Asked | Options) -> list[object]:
    return [[message.model_dump(mode="json") for message in each.messages], *each[1:]]
