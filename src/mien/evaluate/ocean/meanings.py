"""What the figures of the Big Five mean, for a person who meets them for the first time."""

from __future__ import annotations

from mien.evaluate.finding import Meaning

_GATE = "To be read only where the gate is open."

_SCALES = {
    "alpha/*": Meaning("alpha", "Internal consistency of the items, over described respondents.", 1),
    "omega/*": Meaning("omega", "The same, for one factor behind the items.", 1),
    "split-half/*": Meaning("split half", "Agreement of two halves of the items.", 1),
    "discrimination/*": Meaning(
        "discrimination", "How often an item goes with its own trait rather than another.", 1, True
    ),
}

_FORMS = {
    "mass": Meaning("valid mass", "Probability that the reply is one of the options.", 1, True),
    "excluded": Meaning("excluded", "Answers left out for too little valid mass.", -1, True),
    "acquiescence": Meaning(
        "acquiescence",
        "Agreement with items of opposite meaning, from -1 to 1. Away from 0, it is a way of answering"
        " that is measured, and not a trait.",
    ),
    "icc": Meaning(
        "agreement of wordings", "ICC(2,1) of one form with another about the same items.", 1
    ),
    "variance/*": Meaning("variance", "Share of the variance of answers that comes from this.", 0, True),
}

MEANINGS: dict[str, Meaning] = {
    "ocean/contrast/*": Meaning(
        "leaning",
        "How much likelier it goes on the way of the trait's high pole, in nats per token. It has no"
        " zero of its own: read the difference from base and from null.",
    ),
    "ocean/claimed": Meaning(
        "as claimed",
        "How much likelier it goes on as the persona's five traits would, in nats per token: the"
        " leanings, turned and weighted by where the persona stands.",
        1,
    ),
    "ocean/scene/*": Meaning("scenes", f"Level in situations with choices, 1 to 5. {_GATE}"),
    "ocean/statement/*": Meaning("self-report", f"Level on the IPIP-NEO-120, 1 to 5. {_GATE}"),
    **{
        f"ocean/{kind}/{what}": meaning
        for kind in ("contrast", "scene", "statement")
        for what, meaning in _SCALES.items()
    },
    **{
        f"ocean/{kind}/{what}": meaning
        for kind in ("scene", "statement")
        for what, meaning in _FORMS.items()
    },
    "ocean/t/*": Meaning("T score", f"50 is the mean of adults, 10 their standard deviation. {_GATE}"),
    "ocean/convergent": Meaning(
        "convergent r",
        "How alike one trait comes out in two formats, as a correlation over described people.",
        1,
    ),
    "ocean/convergent/*": Meaning("convergent r", "The same, for this trait.", 1),
    "ocean/discriminant": Meaning(
        "discriminant r",
        "The same for two different traits, without its sign: near 0 if the formats tell traits apart.",
        -1,
    ),
    "ocean/gap": Meaning(
        "convergent over discriminant",
        "The first minus the second: above 0 where a trait goes with itself rather than with others.",
        1,
    ),
    "ocean/said/parsed": Meaning(
        "answers in words", "Replies, freely written, that name an option.", 1, True
    ),
    "ocean/said/agrees": Meaning(
        "says what it ranks first", "Of those, how many name the likeliest option.", 1, True
    ),
    "ocean/said/acquiescence": _FORMS["acquiescence"],
    "ocean/said/*": Meaning("self-report, written", "Level on the IPIP-NEO-120, by options it names."),
    "ocean/dose/rho/*": Meaning(
        "dose, rank", "Spearman correlation of the adapter's scale and the trait."
    ),
    "ocean/dose/slope/*": Meaning(
        "dose, slope", "Change per whole adapter as it is asked, in nats per token."
    ),
    "ocean/dose/line/*": Meaning(
        "dose, line", "R2 of a straight line, about items that it was not fitted to."
    ),
    "ocean/dose/step/*": Meaning("dose, step", "R2 of a switch between two states, likewise."),
    "ocean/dose/leakage": Meaning(
        "leakage",
        "Share of the effect on the traits that points elsewhere than the persona; all of it where the"
        " effect is the contrary of what the persona claims.",
        -1,
        True,
    ),
}
