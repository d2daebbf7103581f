"""One base, one shop of trained personas and one browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from mien.base.model import Base
from mien.workspace import Workspace
from tests.serve.gateways import House, roomy_base, serving, stocked
from tests.serve.page.browsers import SLOWEST, Reader, browsing

expect.set_options(timeout=SLOWEST)


@pytest.fixture(scope="package")
def base() -> Base:
    return roomy_base()


@pytest.fixture(scope="package")
def shop(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return stocked(tmp_path_factory.mktemp("shop"), base)


@pytest.fixture(scope="package")
def house(base: Base, shop: Workspace) -> Iterator[House]:
    with serving(base, shop) as house:
        yield house


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def reader(browser: Browser, house: House) -> Iterator[Reader]:
    reader = Reader(browser, house.url)
    yield reader
    reader.close()
