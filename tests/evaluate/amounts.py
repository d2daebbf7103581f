"""How much the tests ask: numbers worked by hand stay right, whatever size `quick` has become."""

from mien.evaluate.sizes import (
    Ability,
    Amounts,
    Diversity,
    Drift,
    Forms,
    HeldOut,
    Judged,
    Latency,
    Ocean,
    Pressure,
    Revealed,
    Safety,
    Voice,
)

FEW = Amounts(
    size="quick",
    held_out=HeldOut(prompts=24, seeds=2),
    voice=Voice(distances=8),
    forms=Forms(each=4, chat=8, seeds=1),
    drift=Drift(conversations=4, turns=6, tokens=20, probes=0),
    pressure=Pressure(prompts=10, each=2, facts=10, doubts=1, dilemmas=6, wordings=2),
    judged=Judged(rated=6, ratings=2, compared=5, comparisons=1, everybody=False),
    ability=Ability(openings=1, tasks=8, seeds=1),
    safety=Safety(pairs=3, provocations=10, seeds=1, claims=10, leads=1),
    diversity=Diversity(facts=12),
    revealed=Revealed(every=2, distances=(1, 3)),
    ocean=Ocean(scenes=2, statements=4, crossed=0, respondents=0, written=0, doses=False),
    latency=Latency(repeats=3, tokens=4),
)
