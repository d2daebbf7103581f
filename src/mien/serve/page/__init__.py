"""The page at `/`: one question, answered by several voices side by side.

It is a document, two style sheets and JavaScript modules in `files/`, served as they lie there: nothing
is built, nothing comes from elsewhere, and the policy below lets nothing else run. It talks to the same
API as every other client, with the key that its reader types in; only what stands on the cards of the
personas is told to it separately, by `cards`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from mien.serve.catalogue import Catalogue
from mien.serve.page.cards import card, cards, unknown
from mien.serve.settings import Settings
from mien.serve.trials import Trials

_FILES = Path(str(resources.files(__name__) / "files"))
_THEME = Path(str(resources.files("mien.page") / "theme.css"))
# Trusted types: even a mistake in a module of ours cannot make markup of what a model says.
POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{what}-src 'self'" for what in ("script", "style", "img", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors", "trusted-types")),
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "Cache-Control": "no-cache",  # asked for again each time, and answered by 304 while it is the same
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Files(StaticFiles):
    """The page's files, each with its headers."""

    def file_response(self, *args: Any, **named: Any) -> Response:
        response = super().file_response(*args, **named)
        response.headers.update(_HEADERS)
        return response


def add_to(app: FastAPI, catalogue: Catalogue, trials: Trials, settings: Settings) -> None:
    """Serve the page, and what it asks for beyond the API.

    Args:
        app: The gateway's application.
        catalogue: Whose models are on the page.
        trials: The experiments, which are on it too.
        settings: Of the gateway.
    """

    async def document() -> Response:
        return FileResponse(_FILES / "index.html", headers=_HEADERS)

    async def theme() -> Response:
        return FileResponse(_THEME, headers=_HEADERS)

    def personas() -> Response:
        data = [*cards(catalogue), *map(unknown, trials.entries().values())]
        defaults = settings.sampling.model_dump(mode="json")
        return JSONResponse({"object": "list", "data": data, "defaults": defaults})

    def persona(name: str) -> Response:
        if entry := trials.entries().get(name):
            return JSONResponse(unknown(entry))
        return JSONResponse(card(catalogue, catalogue.find(name, blends=settings.blends)))

    answers: dict[str, Callable[..., Any]] = {
        "/": document,
        "/page/theme.css": theme,
        "/v1/personas": personas,
        "/v1/personas/{name:path}": persona,
    }
    for path, answer in answers.items():
        app.add_api_route(path, answer, response_model=None, include_in_schema=False)
    app.mount("/page", _Files(directory=_FILES))
