"""Who is served next: personas in turn, and first come first served within each.

With few slots and one persona that is asked far more often than the rest, a single queue would starve
the rest. Here each persona waits in a line of its own, and the lines take turns.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Lines(Generic[T]):
    """Lines that take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[T]:
        for line in self._lines.values():
            yield from line

    def push(self, name: Hashable, item: T) -> None:
        """Join the end of a line; a new line has its turn after all others."""
        self._lines.setdefault(name, deque()).append(item)

    def pop(self) -> T:
        """The first of the line whose turn it is; that line's next turn comes after all others.

        Raises:
            KeyError: Nobody waits.
        """
        name, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[name] = line
        return item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out, and return, those that are not wanted any more."""
        gone = [item for item in self if unwanted(item)]
        if gone:
            kept = {
                name: deque(i for i in line if not unwanted(i)) for name, line in self._lines.items()
            }
            self._lines = OrderedDict((name, line) for name, line in kept.items() if line)
        return gone
