# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts for tests that run at once: one with x0, one with x1, or one with both."""

from __future__ import annotations

import contextlib
import fcntl
import typing as t

import pytest

AloneOn = t.Callable[..., t.ContextManager[None]]


@pytest.fixture(scope="session")
def alone_on(tmp_path_factory: pytest.TempPathFactory) -> AloneOn:
    """Wait until no other test has one of the hosts, which must be in alphabetical order."""
    # The processes of one run have this in common.
    directory = tmp_path_factory.getbasetemp().parent

    @contextlib.contextmanager
    def locked(*hosts: str) -> t.Iterator[None]:
        with contextlib.ExitStack() as stack:
            for host in hosts:
                file = stack.enter_context((directory / f"{host}.lock").open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    return locked


@pytest.fixture
def x0(machines: dict[str, t.Any], alone_on: AloneOn) -> t.Iterator[t.Any]:
    with alone_on("x0"):
        yield machines["x0"]


@pytest.fixture
def x1(machines: dict[str, t.Any], alone_on: AloneOn) -> t.Iterator[t.Any]:
    with alone_on("x1"):
        yield machines["x1"]


@pytest.fixture
def both(machines: dict[str, t.Any], alone_on: AloneOn) -> t.Iterator[dict[str, t.Any]]:
    with alone_on("x0", "x1"):
        yield machines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that need one host alone."""
    items.sort(key=lambda item: "both" in getattr(item, "fixturenames", ()))
