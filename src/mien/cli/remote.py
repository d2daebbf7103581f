"""The options of `mien serve` for servers elsewhere, and the backend that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.base.fetch import BaseFiles
    from mien.chat import Sampling
    from mien.serve.backends import Backend
    from mien.serve.remote import Remote
    from mien.serve.upstream import Upstream

KINDS = ("local", "vllm", "openai")
_OPTIONS = (
    click.option(
        "--backend",
        type=click.Choice(KINDS),
        default=KINDS[0],
        show_default=True,
        help="Who decodes: this process, vLLM, or any OpenAI-compatible server.",
    ),
    click.option("--url", "urls", multiple=True, help="Of that server; repeated, of several replicas."),
    click.option("--key-env", metavar="NAME", help="Environment variable with that server's key."),
    click.option("--model", help="What that server calls the base; vLLM's first, if not said."),
    click.option(
        "--adapters",
        type=click.Path(path_type=Path),
        help="Folder where vLLM finds adapters; in the workspace, if not said.",
    ),
    click.option("--adapters-as", metavar="PATH", help="That folder's path, as vLLM sees it."),
)
_FOR = {
    **dict.fromkeys(("dtype", "slots", "threads", "blends"), KINDS[:1]),
    **dict.fromkeys(("urls", "key_env", "model"), KINDS[1:]),
    **dict.fromkeys(("adapters", "adapters_as"), ("vllm",)),
    **dict.fromkeys(("base_ref", "context"), KINDS[:2]),
}


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_options(backend: str) -> None:
    """Make sure that every option that was given means something to the backend.

    Raises:
        InputError: One does not, or one is missing.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        kinds = _FOR.get(parameter.name or "", KINDS)
        if given and backend not in kinds:
            what = f"{parameter.opts[0]} is for the backend {' or '.join(kinds)}, not for {backend}."
            raise InputError(what, fix="Leave it out.")
    for name, needed in (("urls", KINDS[1:]), ("model", ("openai",))):
        if backend in needed and not context.params[name]:
            option = "--url" if name == "urls" else "--model"
            raise InputError(f"The backend {backend} needs {option}.", fix=f"Give {option}.")


def plain(sampling: Sampling) -> Sampling:
    """What of it OpenAI's protocol knows."""
    return sampling.model_copy(update={"top_k": None, "repetition_penalty": 1.0})


@contextmanager
def remote(
    backend: str, *, base_ref: str, context: int | None, timeout: float, **more: Any
) -> Iterator[tuple[Backend, BaseFiles]]:
    """The backend, looking after its servers, and the base that they have."""
    from mien.serve.upstream import Upstream, read_key

    key = read_key(more["key_env"])
    servers = [Upstream(url, key=key, timeout=timeout) for url in more["urls"]]
    made = _vllm(servers, base_ref, context, more) if backend == "vllm" else _openai(servers, more)
    with made[0]:
        yield made


def _openai(servers: Sequence[Upstream], more: dict[str, Any]) -> tuple[Remote, BaseFiles]:
    from mien.base.fetch import BaseFiles
    from mien.serve.dialects import OpenAI
    from mien.serve.remote import Remote

    files = BaseFiles(more["model"], Path(), "")
    return Remote(servers, OpenAI(), model=more["model"], waiting=more["waiting"]), files


def _vllm(
    servers: Sequence[Upstream], base_ref: str, context: int | None, more: dict[str, Any]
) -> tuple[Remote, BaseFiles]:
    from mien.base.fetch import pull
    from mien.cli.output import stages
    from mien.serve.dialects import Vllm
    from mien.serve.pushed import Depot
    from mien.serve.remote import Remote
    from mien.workspace import Workspace

    workspace = Workspace.open()
    folder = (more["adapters"] or workspace.root / "served").absolute()
    depot = Depot(workspace, folder, PurePosixPath(more["adapters_as"] or folder))
    with stages("Reading the base's tokenizer ...") as report:
        files = pull(base_ref, report=report)
        dialect = Vllm.of(files)
    return Remote(
        servers,
        dialect,
        base_hash=files.sha256,
        model=more["model"] or "",
        depot=depot,
        context=context,
        waiting=more["waiting"],
    ), files
