"""`mien doctor`: whether this machine is ready, line by line, and what to do where it is not."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.text import Text

import mien
from mien.base.fetch import DEFAULT_BASE, MANIFEST, bases, cached
from mien.cli.output import console, count, echo_json, folder_size, json_option, size, stages, table
from mien.registry.cards import cards
from mien.schema import Strict
from mien.workspace import Workspace, home

if TYPE_CHECKING:
    from mien.base.machine import Machine

State = Literal["ok", "note", "problem"]
_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
_FOR_A_PULL = 2e9  # bytes: the wheel, the file inside it, and the model that comes out
_FOR_A_RUN = 200e6


class Line(Strict):
    """One thing that was looked at."""

    state: State
    about: str
    found: str
    todo: str = ""


@click.command()
@click.option("--fresh", is_flag=True, help="Measure the machine's speed again.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, fresh: bool, as_json: bool) -> None:
    """Check this machine, and say what to do.

    Each line is ok, a note (worth knowing; everything works) or a problem, and says what to do. The
    exit code is 1 if there is a problem. The speed is measured on first use, which takes seconds, and
    then remembered.
    """
    with stages("Looking around ..."):
        lines = list(_lines(fresh=fresh))
    if as_json:
        echo_json([line.model_dump(mode="json") for line in lines])
    else:
        _show(lines)
    ctx.exit(1 if any(line.state == "problem" for line in lines) else 0)


def _show(lines: list[Line]) -> None:
    grid = table("", "", "")
    grid.show_header = False
    for line in lines:
        found = Text.assemble(line.found, (f"\n{line.todo}" if line.todo else "", "italic"))
        grid.add_row(Text(line.state, style=_STYLES[line.state]), line.about, found)
    out = console()
    out.print(grid)
    problems, notes = (sum(line.state == state for line in lines) for state in ("problem", "note"))
    verdict = "Ready" if not problems else "Not ready"
    out.print(f"\n[bold]{verdict}[/]: {count(problems, 'problem')}, {count(notes, 'note')}.")


def _lines(*, fresh: bool) -> Iterator[Line]:
    yield _line("python", f"{platform.python_version()}, {sys.executable}")
    yield _line("mien", mien.__version__)
    yield from _guarded("torch", _torch)
    yield from _guarded("transformers", _transformers)
    yield from _guarded("pip", _pip)
    yield from _guarded("speed", lambda: _speed(fresh))
    yield from _guarded("home", _home)
    yield from _guarded("base models", _bases)
    yield from _guarded("embedder", _embedder)
    yield from _guarded("workspace", _workspace)
    yield from _guarded("adapters", _adapters)


def _guarded(about: str, look: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """Whatever goes wrong in looking is what was looked for."""
    try:
        yield from look()
    except PackageNotFoundError:
        yield _problem(about, "not installed", "Run `pip install mien` again.")
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        yield _problem(about, what, "Mend or remove what it names, then look again.")


def _line(about: str, found: str) -> Line:
    return Line(state="ok", about=about, found=found)


def _note(about: str, found: str, todo: str = "") -> Line:
    return Line(state="note", about=about, found=found, todo=todo)


def _problem(about: str, found: str, todo: str) -> Line:
    return Line(state="problem", about=about, found=found, todo=todo)


def _torch() -> Iterator[Line]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    yield _line("torch", f"{torch.__version__}, {device}")


def _transformers() -> Iterator[Line]:
    yield _line("transformers", version("transformers"))


def _pip() -> Iterator[Line]:
    if find_spec("pip"):
        yield _line("pip", version("pip"))
    else:
        todo = f"Run `{sys.executable} -m ensurepip`: base models are fetched with pip."
        yield _problem("pip", "not installed", todo)


def _speed(fresh: bool) -> Iterator[Line]:
    from mien.base.machine import probe

    machine = probe(fresh=fresh)
    processor = f"{count(machine.cores, 'core')}, {machine.cpu}"
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) < machine.cores:
        todo = "Unset it to use them all."
        yield _note("processor", f"{processor}; OMP_NUM_THREADS allows {threads}", todo)
    else:
        yield _line("processor", processor)
    yield _arithmetic(machine)


def _arithmetic(machine: Machine) -> Line:
    if machine.cuda:
        return _line("speed", f"computes on the GPU, in {machine.dtype}")
    if machine.float32 is None:
        return _problem("speed", "torch cannot multiply matrices here", "Install torch again.")
    plain = f"float32 {machine.float32:.0f} GFLOP/s"
    if machine.bfloat16 is None:
        return _note("speed", f"{plain}; bfloat16 crashes here and is therefore not used")
    chosen = f"{plain}, bfloat16 {machine.bfloat16:.0f} GFLOP/s; computes in {machine.dtype}"
    return _line("speed", chosen)


def _home() -> Iterator[Line]:
    pulled = any(bases().glob(f"*/{MANIFEST}"))
    yield _folder("home", home(), "MIEN_HOME", 0 if pulled else _FOR_A_PULL)


def _workspace() -> Iterator[Line]:
    yield _folder("workspace", Workspace.open().root, "MIEN_WORKSPACE", _FOR_A_RUN)


def _folder(about: str, folder: Path, variable: str, needed: float) -> Line:
    whole = folder.absolute()
    there = next(path for path in (whole, *whole.parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{folder}{'' if there == whole else ' (not made yet)'}, {size(free)} free"
    if not there.is_dir() or not os.access(there, os.W_OK):
        return _problem(about, f"{found}, cannot be written to", f"Point {variable} elsewhere.")
    if free < needed:
        return _problem(about, found, f"Free {size(needed)}, or point {variable} elsewhere.")
    return _line(about, found)


def _bases() -> Iterator[Line]:
    here = cached()
    if not here:
        todo = f"`mien base pull` fetches {DEFAULT_BASE}; otherwise that happens on first use."
        yield _note("base models", "none yet", todo)
    else:
        names = [f"{files.name} ({size(folder_size(files.folder))})" for files in here]
        yield _line("base models", ", ".join(names))
    if unfinished := [path.name for path in bases().glob("*.partial")]:
        todo = f"Remove them from {bases()}, unless a pull is under way."
        yield _note("base models", f"unfinished: {', '.join(unfinished)}", todo)


def _embedder() -> Iterator[Line]:
    folder = home() / "embedder"
    if (folder / "config.json").exists():
        yield _line("embedder", f"cached ({size(folder_size(folder))})")
    else:
        todo = "It is fetched on first use, for example by `mien data check`."
        yield _note("embedder", "not cached", todo)


def _adapters() -> Iterator[Line]:
    done = cards(Workspace.open())
    if done:
        personas = sorted({card.persona for card in done})
        yield _line("adapters", f"{len(done)}, of {', '.join(personas)}")
    else:
        yield _note("adapters", "none trained yet", "`mien demo` trains one and shows what it does.")
