"""What the tests of other servers as a backend share: a gateway before stubs, or before anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from mien.base.fetch import BaseFiles
from mien.base.model import Base
from mien.serve.catalogue import Catalogue
from mien.serve.dialects import Vllm
from mien.serve.gateway import Gateway
from mien.serve.prompts import Prompts
from mien.serve.pushed import Depot
from mien.serve.remote import Remote
from mien.serve.settings import Settings
from mien.serve.upstream import Upstream
from mien.workspace import Workspace
from tests.serve.gateways import SAMPLING, House, listening, wait_for


class Front(House):
    """A gateway that listens, before other servers."""

    def __init__(self, gateway: Gateway, backend: Remote, port: int) -> None:
        super().__init__(gateway, None, port)  # type: ignore[arg-type]
        self.backend = backend

    def until_idle(self) -> None:
        wait_for(lambda: not self.backend.replies and self.gateway.idle)


@contextmanager
def before(backend: Remote, files: BaseFiles, workspace: Workspace, **options: Any) -> Iterator[Front]:
    """A gateway that listens, before the servers of its backend."""
    settings = options.pop("settings", Settings(sampling=SAMPLING))
    gateway = Gateway(backend, Catalogue(files, workspace), settings=settings, **options)
    with backend, listening(gateway) as port:
        front = Front(gateway, backend, port)
        with closing(front.http):
            yield front


@contextmanager
def before_vllm(
    urls: Sequence[str], base: Base, workspace: Workspace, *, key: str = "", **options: Any
) -> Iterator[Front]:
    """A gateway before servers that speak as vLLM does."""
    folder = workspace.root / "served"
    backend = Remote(
        [Upstream(url, key=key) for url in urls],
        Vllm(Prompts(base.tokenizer), 1024),
        base_hash=base.files.sha256,
        depot=Depot(workspace, folder, PurePosixPath(Path(folder).absolute())),
        **{name: options.pop(name) for name in ("waiting", "resident") if name in options},
    )
    with before(backend, base.files, workspace, **options) as front:
        yield front
