"""The requests that have a slot, and one step of all of them.

Nothing here knows of threads: the engine's own thread is the only one that comes here. A step is one
pass: the newest token of every request that is being answered, and, within a budget, further pieces of
the prompts that are still being read, so that a long prompt holds nobody up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mien.decode.choose import Likely, choose, likely
from mien.decode.forward import Forward
from mien.decode.passes import Part, Pass
from mien.decode.request import End, Event
from mien.decode.rows import Row
from mien.decode.slots import Prefixes, Slots
from mien.decode.stacked import Stack, Version
from mien.errors import ModelError

_ALONE = 4  # a chunk may be this many times longer while nobody is being answered
_SPARSE = 2  # rows move together once this many times more slots are looked at than used
_FEW = 8  # slots that cost little to look at
_Due = list[tuple[Row, Part]]


@dataclass
class Counts:
    """What has been done so far.

    Attributes:
        steps: Passes through the model.
        tokens: Tokens answered.
        read: Tokens of prompts that were read.
        reused: Tokens of prompts that need not be read.
        ended: Requests that ended, by reason.
    """

    steps: int = 0
    tokens: int = 0
    read: int = 0
    reused: int = 0
    ended: dict[str, int] = field(default_factory=dict)


class Batch:
    """Requests under way.

    Args:
        forward: A way through the model.
        slots: The cache; its size is that of the batch.
        chunk: Tokens of prompts read in one step beside those that are being answered.
        prefix_bytes: Memory for beginnings that have been read.
    """

    def __init__(self, forward: Forward, slots: Slots, *, chunk: int, prefix_bytes: int) -> None:
        self.forward, self.slots, self.chunk = forward, slots, chunk
        self.stack, self.prefixes = Stack(slots.count), Prefixes(slots, prefix_bytes)
        self.rows: list[Row] = []
        self.counts = Counts()

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return len(self.rows) == self.slots.count

    def admit(self, row: Row) -> None:
        """Give a request a free slot, and what is known of its beginning."""
        slot = self._free_slot()
        self.rows.append(row)
        row.place(slot, self.prefixes.restore(row.digest, row.ids, slot))
        self.counts.reused += row.reused

    def drop_cancelled(self) -> None:
        """Free the slots of those whose reply nobody wants any more."""
        for row in [row for row in self.rows if row.ticket.cancelled]:
            self.end(row, End("cancelled", 0))

    def forget(self, loaded: Collection[Version]) -> None:
        """Let go of adapters that nobody here uses and that are loaded no more."""
        used = {row.version for row in self.rows}
        for version in self.stack.held:
            if version and version not in used and version not in loaded:
                self.stack.forget(version)

    def step(self) -> None:
        """One pass; if it fails, everybody by himself, so that it fails only for who is the cause."""
        due = self._due()
        try:
            self._advance(due)
        except Exception as error:
            if len(due) == 1:
                self._fail(due[0][0], error)
                return
            for row, part in due:
                try:
                    if row in self.rows:
                        self._advance([(row, part)])
                except Exception as error:
                    self._fail(row, error)

    def _due(self) -> _Due:
        """What each row brings; the prompts share their budget evenly."""
        self._gather()
        reading = sorted((row for row in self.rows if row.unread > 1), key=lambda row: row.unread)
        room = self.chunk if len(reading) < len(self.rows) else _ALONE * self.chunk
        due = [(row, row.part(1)) for row in self.rows if row.unread == 1]
        for i, row in enumerate(reading):
            part = row.part(max(1, room // (len(reading) - i)))
            room -= len(part.ids)
            due.append((row, part))
        return due

    def _gather(self) -> None:
        """Move the last row down where the slots in use have become few and far between."""
        last = max(self.rows, key=lambda row: row.slot)
        if last.slot + 1 > _SPARSE * len(self.rows) and last.slot + 1 > _FEW:
            slot = self._free_slot()
            self.slots.move(last.slot, slot, last.held)
            last.slot = slot

    def _advance(self, due: _Due) -> None:
        """One pass for these rows; if it fails, it leaves nothing that another would not overwrite."""
        run = Pass([part for _, part in due], self.slots, self.stack)
        hidden = self.forward.hidden(run)
        wanting = [i for i, (row, part) in enumerate(due) if part.end == len(row.ids)]
        scores = self.forward.logits(hidden[run.last[wanting]]).float().cpu() if wanting else None
        for row, part in due:
            self.counts.read += max(0, min(part.end, len(row.request.prompt)) - part.start)
            row.held = part.end
        self.counts.steps += 1
        if scores is not None:
            self._answer([due[i][0] for i in wanting], scores)

    def _answer(self, rows: Sequence[Row], scores: Tensor) -> None:
        """One token for each."""
        sound = scores.amax(-1).isfinite().tolist()
        for row in [row for row, good in zip(rows, sound, strict=True) if not good]:
            self._fail(row, ModelError("The model's scores are no numbers.", fix="Check the adapter."))
        if not all(sound):
            rows, scores = [row for row, good in zip(rows, sound, strict=True) if good], scores[sound]
        if not rows:
            return
        raw = scores.clone() if any(row.request.logprobs is not None for row in rows) else scores
        for i, (row, token) in enumerate(
            zip(rows, choose(scores, [row.hand for row in rows]), strict=True)
        ):
            try:
                events = row.take(token, _likely(row, raw[i], token))
            except Exception as error:
                self._fail(row, error)
            else:
                self._tell(row, events)

    def _tell(self, row: Row, events: Sequence[Event]) -> None:
        said = len(row.hand.said)
        if said <= 1:  # the prompt has just been read
            self.prefixes.keep(row.digest, row.request.prompt, row.slot)
        for event in events:
            if isinstance(event, End):
                self.end(row, event)
            else:
                self.counts.tokens += 1
                self._say(row, event)

    def _say(self, row: Row, event: Event) -> None:
        """A listener that fails has itself to blame."""
        try:
            row.ticket.tell(event)
        except Exception:
            row.ticket.cancelled = True

    def _fail(self, row: Row, error: Exception) -> None:
        row.broken = True
        self.end(row, End("error", 0, error=error))

    def end(self, row: Row, end: End) -> None:
        """Free its slot, then say so; once."""
        if row.ticket.end is not None:
            return
        if row in self.rows:
            self._leave(row)
        ended = self.counts.ended
        ended[end.reason] = ended.get(end.reason, 0) + 1
        self._say(row, row.ended(end))

    def _leave(self, row: Row) -> None:
        """Free its slot; what was read is kept if an answer has shown it to be sound, or else wiped."""
        self.rows.remove(row)
        if row.hand.said and not row.broken:
            self.prefixes.keep(row.digest, row.ids[: row.held], row.slot)
        else:
            self.slots.clear(row.slot, len(row.ids))

    def _free_slot(self) -> int:
        return min(set(range(self.slots.count)) - {row.slot for row in self.rows})


def _likely(row: Row, scores: Tensor, token: int) -> Likely | None:
    most = row.request.logprobs
    return None if most is None else likely(scores, token, most)
