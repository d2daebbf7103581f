"""Versions for vLLM: each in a folder whose name says what is in it, and all that a server starts from.

vLLM knows an adapter by its name, and keeps what it has computed under that name. So a version's name
there ends in the hash of its weights: other weights are another name, at another path.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from transformers import AutoTokenizer

from mien.base.fetch import KNOWN, BaseFiles
from mien.base.peft import inspect
from mien.base.render import Renderer
from mien.errors import AdapterError, InputError
from mien.registry.attach import check_base
from mien.registry.cards import Card, adapter_folder, cards, newest
from mien.registry.hold import held
from mien.registry.promote import in_force
from mien.registry.template import chat_template
from mien.registry.transfer import export_peft
from mien.registry.verify import check_file
from mien.workspace import Workspace, disk_errors, write_atomic

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that `--max-lora-rank` takes
_MOST_AT_ONCE = 8  # different adapters in one batch, each of which takes memory of the GPU
_MOST_KEPT = 32  # in the machine's memory; others are read from disk again
_SCRIPT = """\
#!/bin/sh
# Starts vLLM (https://docs.vllm.ai) with the personas beside this script. Whatever is appended to the
# command line goes to vLLM, as in `./serve.sh --tensor-parallel-size 2`.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)

# Lets the gateway add adapters while the server runs. Whoever reaches the port can do so too: keep it
# in a network of your own, or take this line out and restart for new adapters.
export VLLM_ALLOW_RUNTIME_LORA_UPDATING=True
# No folder and no hub is searched for the names that requests bring along.
unset VLLM_LORA_RESOLVER_CACHE_DIR VLLM_LORA_RESOLVER_HF_REPO_LIST

exec vllm serve "${{BASE:-{base}}}" \\
    --served-model-name {name} \\
    --host "${{HOST:-127.0.0.1}}" --port "${{PORT:-8000}}" \\
    --chat-template "$here/chat_template.jinja" \\
    --generation-config vllm \\
    --enable-prompt-tokens-details \\
    --enable-lora --max-loras {at_once} --max-cpu-loras {kept} --max-lora-rank {rank} \\
    --lora-modules \\
{modules} \\
    "$@"
"""
_README = """\
# Personas for vLLM

{lines}

`./serve.sh` starts vLLM with them on port 8000 (`HOST`, `PORT` and `BASE` say otherwise).

- **The base** is {name} (sha256 {sha256}): {where}
- **Its gateway**: `mien serve --backend vllm --url http://HOST:8000 --port 9000` renders the prompts,
  knows keys and limits, and adds what is trained later. The names end in a hash of the weights, so that
  no name ever means another adapter.
- **Without the gateway**, ask for the names above. `chat_template.jinja` renders a chat as in training,
  except that a control mark that a person types stays one. Keep `repetition_penalty` at 1.1 for small
  bases.
"""
_COPIED = "in `base`."
_ELSEWHERE = "at `{folder}` on the machine that wrote this. {get}, and set `BASE` to where it is."


def version_name(card: Card) -> str:
    """What a version goes by on another server."""
    return f"{card.run}-{card.adapter_hash[:12]}"


def put(workspace: Workspace, card: Card, folder: Path) -> Path:
    """Have a version below `folder`, as a PEFT folder of its name; it is written once.

    Raises:
        AdapterError: It is not what its card says.
    """
    target = folder / version_name(card)
    with disk_errors(folder, "100 MB"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not target.exists():
                _write(workspace, card, target)
    check_file(card, target)
    return target


def _write(workspace: Workspace, card: Card, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as partial:
        with held(workspace.runs / card.run):
            export_peft(workspace, card, Path(partial) / target.name)
        (Path(partial) / target.name).rename(target)


def chosen(workspace: Workspace, names: Sequence[str], files: BaseFiles) -> list[Card]:
    """The versions to export: those that were promoted, of all personas or of some; or runs by name.

    Raises:
        AdapterError: Of one nothing was promoted, or nothing at all.
    """
    promoted = [row.persona for row in in_force(workspace) if row.base_hash == files.sha256]
    if not (names or promoted):
        raise AdapterError(
            f"{workspace.root}: nothing is promoted on {files.name}.",
            fix="Let adapters speak with `mien adapter promote RUN`, or name runs with `--persona`.",
        )
    runs = {card.run for card in cards(workspace)}
    for name in names:
        if name not in {*promoted, *runs}:
            raise AdapterError(
                f"No adapter of {name!r} is promoted on {files.name}.",
                fix="Let one speak with `mien adapter promote RUN`, or name the run itself.",
            )
    found = [newest(workspace, name, base_hash=files.sha256) for name in names or promoted]
    return list({card.run: card for card in found}.values())


def export_vllm(
    workspace: Workspace,
    versions: Sequence[Card],
    files: BaseFiles,
    target: Path,
    *,
    most_rank: int | None = None,
    with_base: bool = False,
) -> None:
    """Write what a vLLM server starts from: adapters, chat template, launch script, a few words.

    Args:
        workspace: Where the versions are.
        versions: Which.
        files: Their base.
        target: A folder that is not there yet.
        most_rank: The highest rank that the server shall take; by default what the adapters need.
        with_base: Copy the base's folder too, for another machine.

    Raises:
        InputError: There is something at `target`.
        AdapterError: A version is of another base or of too high a rank, or not what its card says.
    """
    rank = _rank(workspace, versions, files, most_rank)
    renderer = Renderer(AutoTokenizer.from_pretrained(files.folder))
    if target.exists():
        raise InputError(f"{target} is there already.", fix="Give a folder that is not there yet.")
    target.mkdir(parents=True)
    for card in versions:
        put(workspace, card, target / "adapters")
    if with_base:
        with disk_errors(target, "the size of the base"):
            shutil.copytree(files.folder, target / "base")
    write_atomic(target / "chat_template.jinja", chat_template(renderer))
    write_atomic(target / "serve.sh", _script(versions, files, rank, with_base))
    write_atomic(target / "README.md", _readme(versions, files, with_base))
    (target / "serve.sh").chmod(0o755)


def _script(versions: Sequence[Card], files: BaseFiles, rank: int, with_base: bool) -> str:
    names = [version_name(card) for card in versions]
    return _SCRIPT.format(
        base="$here/base" if with_base else files.folder.absolute(),
        name=shlex.quote(files.name),
        # On CPUs, vLLM 0.32 lets a row without an adapter use the last place, which is to stay empty.
        at_once=min(len(names) + 1, _MOST_AT_ONCE),
        kept=max(len(names), _MOST_KEPT),
        rank=rank,
        modules=" \\\n".join(f'        {name}="$here/adapters/{name}"' for name in names),
    )


def _readme(versions: Sequence[Card], files: BaseFiles, with_base: bool) -> str:
    get = f"Copy it, or run `mien base pull {files.name}`" if files.name in KNOWN else "Copy it"
    where = _COPIED if with_base else _ELSEWHERE.format(folder=files.folder.absolute(), get=get)
    lines = "\n".join(f"- `{version_name(card)}`: {card.persona}, {card.stage}" for card in versions)
    return _README.format(lines=lines, name=files.name, sha256=files.sha256[:12], where=where)


def _rank(workspace: Workspace, versions: Sequence[Card], files: BaseFiles, most: int | None) -> int:
    """The rank to allow."""
    if most not in (None, *RANKS):
        known = ", ".join(map(str, RANKS))
        raise InputError(f"vLLM takes no rank of {most}.", fix=f"Take one of {known}.")
    highest = 1
    for card in versions:
        check_base(card, files)
        rank = inspect(adapter_folder(workspace, card)).r
        if most is not None and rank > most:
            raise AdapterError(
                f"{card.run}: its rank {rank} is above {most}.",
                fix=f"Allow it with `--max-rank {_allowed(rank)}`, or cut it with"
                f" `mien adapter blend {card.run} --rank {most}`.",
            )
        highest = max(highest, rank)
    return most or _allowed(highest)


def _allowed(rank: int) -> int:
    return next(each for each in RANKS if each >= rank)
