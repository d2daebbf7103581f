"""What a suite finds out about one subject: trials with their units, and what they mean.

A suite reports single trials and not means, so that everything after it is done once and alike: the
interval, the difference between two subjects paired by unit, and the effect in standard deviations over
the null adapter.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from mien.schema import Message, Score, Strict


class Meaning(NamedTuple):
    """What a score says to a person who meets it for the first time.

    Attributes:
        label: A word or three.
        about: What was counted, in a sentence or two.
        better: 1 if higher is better, -1 if lower is, 0 if neither is known to be.
        share: Whether it is a share of 1, shown in per cent.
    """

    label: str
    about: str = ""
    better: Literal[-1, 0, 1] = 0
    share: bool = False


class Measure(Strict):
    """One quantity of one subject, trial by trial.

    Attributes:
        name: As in `pressure/held/suffix`: the suite, the quantity, and of what.
        values: One number per trial; what is reported is their mean.
        units: What each trial belongs to and is resampled with: a prompt, a conversation, an item. Two
            subjects are compared where their units are the same.
        method: How a trial is measured, in a line.
        scale: `mean` of numbers; `share` of trials that are 0 or 1, which gets Wilson's interval where
            every trial has a unit of its own; `exp` of the mean, for perplexities.
    """

    name: str
    values: tuple[float, ...] = Field(min_length=1)
    units: tuple[str, ...]
    method: str
    scale: Literal["mean", "share", "exp"] = "mean"

    @model_validator(mode="after")
    def _as_many_units(self) -> Measure:
        if len(self.values) != len(self.units):
            raise ValueError(f"{self.name}: {len(self.values)} values and {len(self.units)} units")
        return self


class Transcript(Strict):
    """Something that was said, to be read by people.

    Attributes:
        title: What it shows.
        messages: The conversation, with the subject's own turns.
        note: What was made of it.
    """

    title: str
    messages: tuple[Message, ...]
    note: str = ""


class Finding(Strict):
    """All that one suite found out about one subject.

    Attributes:
        suite: The suite's name.
        subject: The subject's name.
        measures: What is a mean over trials.
        scores: What is not: slopes, reliabilities, rankings; with their own intervals.
        detail: What the suite's pictures are drawn from, in a shape of the suite's own (JSON).
        transcripts: A few, chosen without looking at how they came out.
        missing: What could not be measured on this subject, and why; one line each.
    """

    suite: str
    subject: str
    measures: tuple[Measure, ...] = ()
    scores: tuple[Score, ...] = ()
    detail: dict[str, Any] = Field(default_factory=dict)
    transcripts: tuple[Transcript, ...] = ()
    missing: tuple[str, ...] = ()
