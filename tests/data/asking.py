"""A job in a process of its own, to be interrupted: `python -m tests.data.asking URL STORE ITEMS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mien.chat import Sampling
from mien.data.teacher import Calls, Teacher, Unfinished
from mien.endpoint import Endpoint
from mien.schema import conversation


def main() -> None:
    """Ask, and say on stdout what came of it."""
    url, store, items = sys.argv[1:]
    teacher = Teacher(Endpoint(url, "stub"), Calls(Path(store)), parallel=4)

    def work(number: int) -> str:
        return teacher.ask(conversation(f"question {number}"), Sampling(), seed=number).text

    results = teacher.each(range(int(items)), work)
    print(
        json.dumps(
            {
                "texts": [each for each in results if isinstance(each, str)],
                "reasons": sorted({each.reason for each in results if isinstance(each, Unfinished)}),
                "stopped": type(teacher.stopped).__name__,
                "tally": teacher.tally.model_dump(),
            }
        )
    )


if __name__ == "__main__":
    main()
