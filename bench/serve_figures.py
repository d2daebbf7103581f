"""What the runs of the serving bench say: rates, ratios, bars, how far replies agree; and the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.table import Table

from common import Figures, console, times_better

OURS, MIXED, MERGED = "mien", "PEFT adapter_names", "transformers, merged"
LLAMA_F32, LLAMA_Q8 = "llama.cpp f32", "llama.cpp q8_0"
VLLM_F32, VLLM_BF16 = "vLLM float32", "vLLM bfloat16"
GATEWAY = "gateway"
EXACT = (MIXED, MERGED, LLAMA_F32, VLLM_F32)  # in float32, as we are, so that replies should be ours
EIGHT, ONE, ALONE = "eight", "one", "alone"
MEANINGS = {EIGHT: "8 rows, 8 personas", ONE: "8 rows, 1 persona", ALONE: "1 row"}
RATE, CPU_RATE = "tokens_per_second", "tokens_per_cpu_second"
EVENLY = "8 personas against 1, mien"
# How many times as fast we are to be, at least.
BARS = {
    EVENLY: 0.85,
    f"{MEANINGS[EIGHT]}, against {MIXED}": 2.5,
    f"{MEANINGS[EIGHT]}, against {LLAMA_F32}": 1.5,
    f"{MEANINGS[EIGHT]}, against {LLAMA_Q8}": 1.5,
    f"{MEANINGS[EIGHT]}, against {VLLM_F32}": 1.1,
    f"{MEANINGS[EIGHT]}, against {VLLM_BF16}": 1.1,
    f"{MEANINGS[ALONE]}, against {MERGED}": 0.85,
}
OVERHEAD_MS = 3.0  # that the gateway may add to the median request
Runs = Mapping[str, Sequence[Figures]]
Case = tuple[str, str, str]  # an arm, and the setting of ours and of its


def summary(runs: Runs) -> Figures:
    """All that is read off the runs."""
    same, found, gateway = equality(runs), ratios(runs), averages(runs[GATEWAY])
    return {
        "ours": rates(runs[OURS]),
        "peer": {name: rates(series) for name, series in runs.items() if name not in (OURS, GATEWAY)},
        "ratios": found,
        "bars": bars(found, gateway),
        "equal": all(same[key]["replies_equal"] == same[key]["replies"] for key in exact(same)),
        "equality": same,
        "gateway": gateway,
        "switching": averages([run["switching"] for run in runs[OURS]]),
        "loading": averages([run["loading"] for run in runs[OURS]]),
        "runs": {name: [without_replies(run) for run in series] for name, series in runs.items()},
    }


def cases(runs: Runs) -> Iterator[tuple[str, Case]]:
    """What is compared, by its title: every arm, in all settings that it was run in."""
    yield EVENLY, (OURS, EIGHT, ONE)
    for name, series in runs.items():
        for setting, meaning in MEANINGS.items():
            if name != OURS and setting in series[0]:
                yield f"{meaning}, against {name}", (name, setting, setting)


def rates(series: Sequence[Figures]) -> dict[str, float]:
    """Mean tokens a second of each setting that an arm was run in."""
    settings = [key for key in MEANINGS if key in series[0]]
    return {key: round(sum(run[key][RATE] for run in series) / len(series), 2) for key in settings}


def ratios(runs: Runs) -> dict[str, float]:
    """How many times better, by the clock and by processor time."""
    found = {}
    for title, (arm, setting, its) in cases(runs):
        for name, key in ((title, RATE), (f"{title} (CPU time)", CPU_RATE)):
            both = [run[setting][key] for run in runs[OURS]], [run[its][key] for run in runs[arm]]
            found[name] = times_better(*both, more_is_better=True)
    return found


def bars(found: Mapping[str, float], gateway: Figures) -> dict[str, Figures]:
    """What was to be reached, and whether it was; of what is absent, nothing."""
    told = {
        title: {"is": found[title], "least": least, "reached": found[title] >= least}
        for title, least in BARS.items()
        if title in found
    }
    for length, kind in (("short", "whole"), ("short", "stream"), ("long", "whole"), ("long", "stream")):
        added = gateway[length][kind]["p50"]
        title = f"gateway, ms more for {gateway[length]['tokens']:g} token(s), {kind}"
        told[title] = {"is": added, "most": OVERHEAD_MS, "reached": added < OVERHEAD_MS}
    return told


def equality(runs: Runs) -> dict[str, Figures]:
    """How far the greedy replies of each arm agree with ours."""
    return {
        title: agreement(runs[OURS][0][setting]["replies"], runs[arm][0][setting]["replies"])
        for title, (arm, setting, _) in cases(runs)
        if arm != OURS
    }


def exact(titles: Iterable[str]) -> list[str]:
    """Those of the arms in float32."""
    return [title for title in titles if title.partition(", against ")[2] in EXACT]


def agreement(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> Figures:
    """Of replies to the same prompts: how many, where others part, the share of tokens before that."""
    apart = [first_difference(a, b) for a, b in zip(ours, theirs, strict=True)]
    differing = [at for at in apart if at is not None]
    before = sum(len(a) if at is None else at for a, at in zip(ours, apart, strict=True))
    return {
        "replies": len(apart),
        "replies_equal": len(apart) - len(differing),
        "first_differences": differing,
        "tokens_before": round(before / sum(map(len, ours)), 3),
    }


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The first place where two replies differ."""
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((i for i, (a, b) in pairs if a != b), None)


def averages(series: Sequence[Figures]) -> Figures:
    """Means over the runs of every number, however deep it lies; a truth holds where it always held."""
    found: Figures = {}
    for key, value in series[0].items():
        values = [run[key] for run in series]
        if isinstance(value, Mapping):
            found[key] = averages(values)
        elif isinstance(value, bool):
            found[key] = all(values)
        elif isinstance(value, int | float):
            found[key] = round(sum(values) / len(values), 3)
    return found


def without_replies(run: Figures) -> Figures:
    """A run as it is kept."""
    return {
        key: {k: v for k, v in value.items() if k != "replies"} if key in MEANINGS else value
        for key, value in run.items()
    }


def show(found: Figures) -> None:
    """The result as tables."""
    scale = found["scale"]
    title = f"Decoding on {found['device']}, tokens/s, {scale['tokens']} tokens, {found['n']} cycle(s)"
    table = Table(title=title)
    table.add_column("")
    for meaning in MEANINGS.values():
        table.add_column(meaning, justify="right")
    for name, figures in {OURS: found["ours"], **found["peer"]}.items():
        table.add_row(name, *(f"{figures[key]:.4g}" if key in figures else "" for key in MEANINGS))
    console.print(table)
    for name, ratio in found["ratios"].items():
        console.print(f"{ratio:6.2f}  {name}")
    for name, bar in found["bars"].items():
        limit = f"at least {bar['least']}" if "least" in bar else f"below {bar['most']}"
        console.print(f"{'reached' if bar['reached'] else 'MISSED '}  {bar['is']:.3g}, {limit}: {name}")
    for name in ("gateway", "switching", "loading"):
        console.print(f"{name}: {found[name]}")
    for name, same in found["equality"].items():
        equal = f"{same['replies_equal']} of {same['replies']} replies equal"
        console.print(f"{equal}, {same['tokens_before']:.1%} of tokens before a difference: {name}")
    for name, reason in found["absent"].items():
        console.print(f"absent: {name}: {reason}")
