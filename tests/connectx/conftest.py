# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets tests import the emulator, which is a program of its own, and gives them machines."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from connectx.machine import Card, Machine  # noqa: E402

PF = "0000:3b:00.0"
OTHER_PF = "0000:3b:00.1"


class MakeMachine(t.Protocol):
    def __call__(self, *cards: Card, release: str = ...) -> Machine:
        """A machine with *cards* and the `mstconfig` of the Debian *release*."""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def release(request: pytest.FixtureRequest) -> str:
    """The Debian release whose `mstflint` is under test."""
    return str(request.param)


@pytest.fixture
def make_machine(tmp_path: pathlib.Path) -> t.Iterator[MakeMachine]:
    """Makes a machine with cards; it ends with the test."""
    machines: list[Machine] = []

    def make(*cards: Card, release: str = "trixie") -> Machine:
        machine = Machine(cards, mstflint=release, directory=tmp_path / f"machine{len(machines)}")
        machines.append(machine)
        return machine.__enter__()

    yield make
    for machine in machines:
        machine.__exit__()


@pytest.fixture
def machine(make_machine: MakeMachine, release: str) -> Machine:
    """A machine with a VPI card of two ports."""
    return make_machine(Card("ConnectX-5 VPI", [PF, OTHER_PF]), release=release)
