# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An mstconfig of version 4.21 and the firmware of one card, for what no emulated card does."""

from __future__ import annotations

import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed


class Firmware:
    """The parameters of a card.

    `columns` are the default, current and next value of each; `frozen` are those that it does not
    store although it says so; `fails` are errors by command. `calls` are the commands that changed
    it.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[str]] = {
            "SRIOV_EN": ["False(0)"] * 3,
            "NUM_OF_VFS": ["0"] * 3,
        }
        self.frozen: set[str] = set()
        self.fails: dict[str, str] = {}
        self.calls: list[str] = []

    def run(self, argv: t.Sequence[str]) -> Completed:
        """The tool, called as mstconfig or mstfwreset."""
        assert argv[1] == "-d"
        command = "reset" if argv[0] == "mstfwreset" else argv[4]
        if command in self.fails:
            return Completed(3, f"-E- {self.fails[command]}\n", "")
        if "-j" in argv:
            return Completed(3, "-E- invalid argument: -j\n", "")
        if command == "query":
            return self._query(argv[5:])
        self.calls.append(" ".join(argv))
        if command == "reset":
            self.start()
        else:
            self._set(argv[5:])
        return Completed(0, "Done!\n-I- Please reboot machine to load new configurations.\n", "")

    def start(self) -> None:
        """Load what is set for the next start."""
        for columns in self.columns.values():
            columns[1] = columns[2]

    def _query(self, names: t.Sequence[str]) -> Completed:
        lines = ["Configurations:  Default  Current  Next Boot"]
        for name in names:
            if name not in self.columns:
                return Completed(3, f"-E- The Device doesn't support {name} parameter\n", "")
            lines.append(f"   {name}  {'  '.join(self.columns[name])}")
        return Completed(0, "\n".join(lines), "")

    def _set(self, assignments: t.Iterable[str]) -> None:
        for assignment in assignments:
            name, _equals, text = assignment.partition("=")
            if name not in self.frozen:
                boolean = self.columns[name][0].startswith(("True", "False"))
                label = {"0": "False(0)", "1": "True(1)"}[text] if boolean else text
                self.columns[name][2] = label
