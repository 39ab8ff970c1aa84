# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often the code under test goes to the machine, so that its cost does not grow unseen."""

from __future__ import annotations

import collections
import typing as t

import pytest
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES, Machine


class Counted:
    """Counts the accesses to files of *machine*, but not those that are the effect of a write.

    *exchanges* are those of the exchanges with the child that take a list of files.
    """

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.accesses: list[str] = []
        self.exchanges: list[str] = []
        self._within = False
        for name in ("exists", "read_bytes", "names", "target", "write"):
            monkeypatch.setattr(machine, name, self._counting(getattr(machine, name)))
        for name in ("read_all", "write_in_turn"):
            monkeypatch.setattr(machine, name, self._listing(name, getattr(machine, name)))

    def of(self, address: str) -> collections.Counter[str]:
        """How often each file of the function at *address* was accessed."""
        base = f"{DEVICES}/{address}/"
        return collections.Counter(
            path[len(base) :] for path in self.accesses if path.startswith(base)
        )

    def _counting(self, access: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def counting(path: str, *arguments: t.Any, **options: t.Any) -> t.Any:
            if self._within:
                return access(path, *arguments, **options)
            self.accesses.append(path)
            self._within = True
            try:
                return access(path, *arguments, **options)
            finally:
                self._within = False

        return counting

    def _listing(self, name: str, access: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def listing(files: t.Sequence[t.Any], **options: t.Any) -> t.Any:
            if files:
                self.exchanges.append(name)
            return access(files, **options)

        return listing
