"""The adapters on one vLLM server: brought there when they are first asked for, and taken off again.

A version goes by a name that ends in the hash of its weights, from a folder of that name. So a name
never changes its meaning, and nothing that the server has computed under it can be wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mien.errors import AdapterError, InputError, ModelError
from mien.registry.cards import Card
from mien.registry.vllm import put, version_name
from mien.serve.catalogue import Served
from mien.serve.logs import log
from mien.serve.upstream import UnknownModelError, Upstream
from mien.workspace import Workspace

_THERE = "already been loaded"  # vLLM, of a name that it has


@dataclass(frozen=True)
class Depot:
    """A folder that this machine writes adapters to, and the servers read them from.

    Attributes:
        folder: As this machine sees it.
        seen: As the servers see it.
    """

    workspace: Workspace
    folder: Path
    seen: PurePosixPath

    def put(self, card: Card) -> str:
        """Have a version there; its path, as the servers see it.

        Raises:
            AdapterError: It is not what its card says.
        """
        return str(self.seen / put(self.workspace, card, self.folder).name)


class Pushed:
    """The adapters that we have on a server.

    Args:
        server: It.
        depot: Where it reads them.
        most: How many are left there that nobody uses; beyond, the one asked for longest ago goes.
    """

    def __init__(self, server: Upstream, depot: Depot, *, most: int = 32) -> None:
        self.server, self.depot, self.most = server, depot, most
        self.names: OrderedDict[str, str] = OrderedDict()  # name there -> hash; last asked for, last
        self._users = Counter[str]()
        self._meant: dict[str, str] = {}  # what a client calls it -> its name there
        self._working = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def holding(self, model: Served) -> AsyncIterator[str]:
        """The name of a model's adapter there; it stays for as long as the block runs.

        Raises:
            AdapterError: It cannot be had there.
            BusyError: Not now.
        """
        assert model.card is not None
        name = version_name(model.card)
        self._meant[model.id] = name
        self._users[name] += 1
        try:
            await self._have(model.card, name)
            yield name
        finally:
            self._users[name] -= 1
            if any(self._unwanted()):
                self._tidying = asyncio.create_task(self._tidy())

    def forget(self, name: str) -> None:
        """The server says that it does not have it, as after a restart."""
        self.names.pop(name, None)
        self.server.models = {each: entry for each, entry in self.server.models.items() if each != name}

    async def _have(self, card: Card, name: str) -> None:
        if name not in self.names and name not in self.server.models:
            async with self._working:
                if name not in self.names:
                    await self._push(card, name)
                    self.names[name] = card.adapter_hash
        if name in self.names:
            self.names.move_to_end(name)

    async def _push(self, card: Card, name: str) -> None:
        path = await asyncio.to_thread(self.depot.put, card)
        try:
            await self.server.send("/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except InputError as error:
            if _THERE not in error.what:
                raise _refused(self.server, name, error.what) from None
        except UnknownModelError:
            raise _refused(self.server, name, f"it takes no adapters, or does not see {path}") from None
        else:
            log(logging.INFO, "adapter loaded", server=self.server.name, adapter=name)

    def _unwanted(self) -> list[str]:
        """What nobody uses: versions that another has replaced, and those beyond `most`."""
        meant = set(self._meant.values())
        idle = [name for name in self.names if not self._users[name]]
        old = [name for name in idle if name not in meant]
        beyond = len(self.names) - len(old) - self.most
        return old + [name for name in idle if name in meant][: max(0, beyond)]

    async def _tidy(self) -> None:
        async with self._working:
            for name in self._unwanted():
                if self._users[name]:  # asked for again meanwhile
                    continue
                self.forget(name)
                try:
                    await self.server.send("/unload_lora_adapter", {"lora_name": name})
                except (ModelError, InputError) as error:  # it is gone, or will be found there again
                    log(logging.WARNING, "adapter not unloaded", adapter=name, why=str(error))


def _refused(server: Upstream, name: str, why: str) -> AdapterError:
    return AdapterError(
        f"{server.name} does not take {name}: {why}.",
        fix="Start vLLM as `mien export vllm` writes it, with `--max-lora-rank` high enough, and let it"
        " see the folder of `--adapters`.",
    )
