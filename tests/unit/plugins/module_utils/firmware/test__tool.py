# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _tool
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._output import Setting
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._tool import Tool, ToolError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

PF = "0000:3b:00.0"
TABLE = """
Configurations:   Default   Current   Next Boot
"""
NO_JSON = Completed(3, "\n-E- invalid argument: -j\n    mstconfig [Options] <Commands>\n", "")


class Printing(Machine):
    """A host whose commands print what they are told to, in this order, and are recorded."""

    def __init__(self, directory: Path, *answers: Completed) -> None:
        super().__init__(directory)
        self.answers = list(answers)
        self.calls: list[t.Sequence[str]] = []
        self.commands = {"mstconfig", "mlxconfig"}

    def has_command(self, name: str) -> bool:
        return name in self.commands

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        self.calls.append(argv)
        return self.answers.pop(0)


class Writing(Printing):
    """Its tool writes a JSON document beside what it prints."""

    document: t.Any = None

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        Path(argv[argv.index("-j") + 1]).write_text(json.dumps(self.document))
        return super().run(argv)


def refused(*words: str, err: str = "") -> Completed:
    return Completed(3, TABLE + "\n".join(f"-E- {word}" for word in words) + "\n", err)


def test_a_table_where_there_is_no_json(tmp_path: Path) -> None:
    table = Completed(0, TABLE + "  NUM_OF_VFS  0  8  16\n", "")
    host = Printing(tmp_path, NO_JSON, table, table)
    tool = Tool(host, "mstconfig")
    for _call in range(2):
        answer, absent = tool.query(PF, ["NUM_OF_VFS"])
        assert answer.settings == {"NUM_OF_VFS": Setting(0, 8, 16)}
        assert absent == {}
    assert host.calls[1:] == [["mstconfig", "-d", PF, "-e", "query", "NUM_OF_VFS"]] * 2


def test_json_where_there_is(tmp_path: Path) -> None:
    host = Writing(tmp_path, Completed(0, "Query output saved", ""))
    host.document = {"Device #1": {"tlv_configuration": {"NUM_OF_VFS": {"next_value": 16}}}}
    answer, _absent = Tool(host, "mlxconfig").query(PF, ["NUM_OF_VFS"])
    assert answer.settings == {"NUM_OF_VFS": Setting(None, None, 16)}
    assert host.calls[0][0] == "mlxconfig"


def test_names_that_are_not_there(tmp_path: Path) -> None:
    host = Printing(
        tmp_path,
        NO_JSON,
        refused("Unknown Parameter: TYPO"),
        refused("The Device doesn't support PF_NUM_OF_VF parameter"),
        Completed(0, TABLE + "  NUM_OF_VFS  0  8  16\n", ""),
    )
    answer, absent = Tool(host, "mstconfig").query(PF, ["TYPO", "NUM_OF_VFS", "PF_NUM_OF_VF"])
    assert list(answer.settings) == ["NUM_OF_VFS"]
    assert absent == {"TYPO": _tool.UNKNOWN, "PF_NUM_OF_VF": _tool.UNSUPPORTED}


def test_a_name_that_nobody_asked_for(tmp_path: Path) -> None:
    host = Printing(tmp_path, refused("Unknown Parameter: TYPO"))
    with pytest.raises(ToolError, match="the tool failed; .* It says: -E- Unknown Parameter: TYPO"):
        Tool(host, "mstconfig").query(PF, ["NUM_OF_VFS"])


def test_no_name_is_there(tmp_path: Path) -> None:
    host = Printing(tmp_path, refused("Unknown Parameter: TYPO"))
    answer, absent = Tool(host, "mstconfig").query(PF, ["TYPO"])
    assert answer.settings == {}
    assert list(absent) == ["TYPO"]


@pytest.mark.parametrize(
    "line", ["SRIOV_EN  0  0  1", "NUM_OF_VFS  0  8  16\n  SRIOV_EN 0 0 1", ""]
)
def test_another_answer_than_asked_for_is_refused(tmp_path: Path, line: str) -> None:
    host = Printing(tmp_path, NO_JSON, Completed(0, f"{TABLE}  {line}\n", ""))
    with pytest.raises(SriovError, match="it has .* instead of NUM_OF_VFS"):
        Tool(host, "mstconfig").query(PF, ["NUM_OF_VFS"])


def test_an_answer_that_cannot_be_read_tells_whose_it_is(tmp_path: Path) -> None:
    host = Printing(tmp_path, NO_JSON, Completed(0, f"{TABLE}  NUM_OF_VFS 0 16\n", ""))
    with pytest.raises(SriovError, match=f"{PF}: mstconfig query: its answer cannot be read"):
        Tool(host, "mstconfig").query(PF, ["NUM_OF_VFS"])


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (refused("Unsupported device"), "the tool does not know this kind of card"),
        (refused("Device in Livefish mode is not supported"), "livefish"),
        (
            refused(
                "Cannot access NV register. Either FW does not support NV access register, or HW "
                "access is disabled."
            ),
            "gives this host no access to its configuration",
        ),
        (
            refused("failed to perform lock operation.", err="Resource temporarily unavailable"),
            "another process uses it, or another host that shares the card",
        ),
        (
            refused("Failed to open the device", err="write: Operation not permitted"),
            "the kernel keeps the tool from the card's configuration space",
        ),
        (refused("Failed to set configuration: refused"), "refused to store all of it"),
        (refused("Failed to set nv_pci_conf settings Bad parameter"), "refused to store all of it"),
        (
            refused("Parameter NUM_OF_VFS' value is smaller than minimum allowed 1"),
            "NUM_OF_VFS is smaller than minimum allowed, which is 1",
        ),
        (Completed(2, "Aborted by user.\n", ""), "the tool failed; see what it says"),
        (Completed(-9, "", ""), "It says: nothing"),
    ],
)
def test_what_the_tool_says_is_explained(tmp_path: Path, done: Completed, message: str) -> None:
    host = Printing(tmp_path, done)
    host.add_function(PF, vendor="0x15b3", device="0x1017")
    with pytest.raises(ToolError) as caught:
        Tool(host, "mstconfig").set(PF, ["NUM_OF_VFS=16"])
    assert str(caught.value).startswith(f"{PF}: ")
    assert message in str(caught.value)
    assert "'mstconfig -y set NUM_OF_VFS=16' failed" in str(caught.value)


def test_a_connectx3_that_the_tool_dropped(tmp_path: Path) -> None:
    host = Printing(tmp_path, refused("Unsupported device"))
    host.add_function(PF, vendor="0x15b3", device="0x1003")
    with pytest.raises(ToolError, match=r"ConnectX-3, which mstflint dropped in version 4\.26"):
        Tool(host, "mstconfig").query(PF, ["NUM_OF_VFS"])


# mstflint 4.33 goes by way of VFIO under lockdown, and says only that it finds no device.
@pytest.mark.parametrize("words", ["Failed to open the device", "Failed to identify the device"])
@pytest.mark.parametrize(
    ("lockdown", "message"),
    [("none [integrity] confidentiality", "in lockdown"), ("[none] integrity", "does not answer")],
)
def test_lockdown(tmp_path: Path, words: str, lockdown: str, message: str) -> None:
    host = Printing(tmp_path, refused(words))
    host.put("/sys/kernel/security/lockdown", lockdown)
    with pytest.raises(ToolError, match=message):
        Tool(host, "mstconfig").query(PF, ["NUM_OF_VFS"])


@pytest.mark.parametrize(
    ("says", "power_cycle"),
    [
        ("-I- Please reboot machine to load new configurations.", False),
        ("-I- Please power cycle machine to load new configurations.", True),
    ],
)
def test_set_tells_what_loads_it(tmp_path: Path, says: str, power_cycle: bool) -> None:
    host = Printing(tmp_path, Completed(0, f"Applying... Done!\n{says}\n", ""))
    assert Tool(host, "mstconfig").set(PF, ["SRIOV_EN=1", "NUM_OF_VFS=16"]) is power_cycle
    assert host.calls == [["mstconfig", "-d", PF, "-y", "set", "SRIOV_EN=1", "NUM_OF_VFS=16"]]


@pytest.mark.parametrize(
    ("tool", "reset"), [("mstconfig", "mstfwreset"), ("mlxconfig", "mlxfwreset")]
)
def test_reset(tmp_path: Path, tool: str, reset: str) -> None:
    host = Printing(tmp_path, Completed(0, "", ""), refused("The tool is not supported here"))
    Tool(host, tool).reset(PF)
    assert host.calls == [[reset, "-d", PF, "-l", "3", "-y", "reset"]]
    with pytest.raises(ToolError, match=f"{reset} could not .* It says: -E- The tool is not"):
        Tool(host, tool).reset(PF)


def test_find(tmp_path: Path) -> None:
    host = Printing(tmp_path)
    assert _tool.find(host, "auto").command == "mstconfig"
    assert _tool.find(host, "mlxconfig").command == "mlxconfig"
    host.commands = {"mlxconfig"}
    assert _tool.find(host, "auto").command == "mlxconfig"
    with pytest.raises(SriovError, match="^mstconfig is not installed .* package mstflint"):
        _tool.find(host, "mstconfig")
    host.commands = set()
    with pytest.raises(SriovError, match="^mstconfig and mlxconfig are not installed"):
        _tool.find(host, "auto")
