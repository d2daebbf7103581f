"""`mien serve`: personas behind the protocol that every client speaks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mien.base.fetch import DEFAULT_BASE, BaseFiles
from mien.cli.output import stages
from mien.cli.remote import check_options, plain, remote, remote_options
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.serve.backends import Backend
    from mien.serve.catalogue import Catalogue

_ENGINE = ("slots", "waiting", "threads")
_SETTINGS = ("timeout", "drain", "max_body", "blends", "log_text")


@click.command("serve")
@click.option("--base", "base_ref", default=DEFAULT_BASE, show_default=True, help="The base model.")
@click.option("--persona", "personas", multiple=True, help="Serve only this one; may be repeated.")
@remote_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen at; 0 for any that is free.",
)
@click.option("--keys", type=click.Path(path_type=Path), help="A YAML file of API keys and limits.")
@click.option("--open", "is_open", is_flag=True, help="Let the network in without keys.")
@click.option("--dtype", default="auto", show_default=True, help="auto, float32 or bfloat16.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the model; by default as torch is set.")
@click.option(
    "--slots", default=8, show_default=True, type=click.IntRange(min=1), help="Replies at once."
)
@click.option(
    "--waiting", default=256, show_default=True, type=click.IntRange(min=1), help="That may wait."
)
@click.option("--context", type=click.IntRange(min=2), help="Longest prompt and reply, in tokens.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Longest request, in seconds.",
)
@click.option(
    "--drain",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to finish in, when stopped.",
)
@click.option(
    "--max-body",
    default=2**20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Largest request, in bytes.",
)
@click.option("--blends", is_flag=True, help="Answer as blends too, such as witty:0.7+warm:0.3.")
@click.option("--log-text", is_flag=True, help="Write prompts and replies into the log.")
def serve(
    *,
    backend: str,
    personas: tuple[str, ...],
    host: str,
    port: int,
    keys: Path | None,
    is_open: bool,
    **more: Any,
) -> None:
    """Serve personas over HTTP, as OpenAI's API.

    The model of a request is a persona's name; `base` is the bare base, `witty:prompt` the persona by
    its system prompt alone, `witty@RUN` one version. `GET /v1/models` lists them. What is trained or
    promoted meanwhile is served without a restart.

    With --backend vllm, adapters are brought to vLLM when they are first asked for, and what it decodes
    is what is rendered here. Any other server answers as `base` and as personas by their prompts.

    Keys come from --keys, or from MIEN_API_KEYS as name=KEY,name=KEY. Ctrl-C or SIGTERM finishes what
    runs and refuses what comes; a second one stops at once. The log goes to stderr, in JSON.
    """
    from mien.serve.keys import Keys
    from mien.serve.settings import Settings

    check_options(backend)
    known = Keys.read(keys)
    if not (len(known) or is_open or _loopback(host)):
        fix = "Give --keys FILE or set MIEN_API_KEYS, or pass --open to let everybody in."
        raise InputError(f"{host} can be reached from elsewhere, and there are no keys.", fix=fix)

    from mien.evaluate.setting import SAMPLING
    from mien.serve.catalogue import Catalogue
    from mien.serve.gateway import Gateway
    from mien.serve.logs import start_logging
    from mien.serve.server import Server
    from mien.workspace import Workspace

    sampling = plain(SAMPLING) if backend == "openai" else SAMPLING
    settings = Settings(sampling=sampling, **{name: more[name] for name in _SETTINGS})
    opened: AbstractContextManager[tuple[Backend, BaseFiles]]
    opened = _local(**more) if backend == "local" else remote(backend, **more)
    with opened as (made, files):
        start_logging()
        catalogue = Catalogue(files, Workspace.open(), personas)
        for name in personas:
            _check_known(catalogue, name)
        gateway = Gateway(made, catalogue, keys=known, settings=settings)
        Server(gateway, host=host, port=port).run()


@contextmanager
def _local(
    *, base_ref: str, dtype: str, context: int | None, **more: Any
) -> Iterator[tuple[Backend, BaseFiles]]:
    """The engine in this process, and its base."""
    from mien.base.model import Base
    from mien.serve.engine import Engine
    from mien.serve.local import Local

    with stages("Loading the base model ...") as report:
        base = Base.load(base_ref, dtype=dtype, report=report)
        engine = Engine(base, **{name: more[name] for name in _ENGINE})
    with engine:
        yield Local(engine, context=context), base.files


def _check_known(catalogue: Catalogue, name: str) -> None:
    if {name, f"{name}:prompt"}.isdisjoint(catalogue.models):
        raise InputError(
            f"There is no persona {name!r} to serve on {catalogue.base.name}.",
            fix=f"Run `mien train sft --persona {name}` first; `mien adapter list` says what there is.",
        )


def _loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"
