# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _lldp
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._lldp import Neighbour
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import BootMachine

COMMAND = "lldpctl -f json0"
NOBODY = '{\n  "lldp": [\n    {\n      \n    }\n  ]\n}\n'
"""As lldpd 1.0.16 prints it."""


def heard(
    interface: str,
    port: tuple[str, str],
    *,
    description: str | None = None,
    name: str | None = "xleaf0",
    capability: str = "Bridge",
) -> dict[str, t.Any]:
    """A neighbour as lldpd 1.0.16 prints it; *port* is the type and the value of the port's id."""
    chassis: dict[str, t.Any] = {"id": [{"type": "mac", "value": "a6:a4:c2:74:62:6c"}]}
    if name:
        chassis["name"] = [{"value": name}]
    chassis["descr"] = [{"value": "Debian GNU/Linux 12 (bookworm)"}]
    chassis["capability"] = [
        {"type": kind, "enabled": kind == capability}
        for kind in ("Bridge", "Router", "Wlan", "Station")
    ]
    far = {"id": [dict(zip(("type", "value"), port, strict=True))]}
    if description:
        far["descr"] = [{"value": description}]
    far["ttl"] = [{"value": "120"}]
    return {
        "name": interface,
        "via": "LLDP",
        "rid": "1",
        "age": "0 day, 00:00:04",
        "chassis": [chassis],
        "port": [far],
    }


def printed(*entries: dict[str, t.Any]) -> str:
    return json.dumps({"lldp": [{"interface": entries}]})


@pytest.mark.parametrize(
    ("entry", "neighbour"),
    [
        (
            heard("ens1f0", ("ifname", "swp1"), description="to x0"),
            Neighbour("xleaf0", "swp1", "to x0"),
        ),
        (heard("ens1f0", ("local", "Eth1/1/1")), Neighbour("xleaf0", "Eth1/1/1", None)),
        # lldpd's own default on Linux.
        (
            heard("ens1f0", ("mac", "a6:a4:c2:74:62:6c"), description="swp1"),
            Neighbour("xleaf0", "swp1", "swp1"),
        ),
        (
            heard("ens1f0", ("mac", "a6:a4:c2:74:62:6c"), name=None),
            Neighbour("a6:a4:c2:74:62:6c", "a6:a4:c2:74:62:6c", None),
        ),
    ],
)
def test_a_neighbour(entry: dict[str, t.Any], neighbour: Neighbour) -> None:
    assert _lldp.parse(printed(entry)) == {"ens1f0": neighbour}


def test_several_interfaces() -> None:
    entries = [heard(f"ens{number}", ("ifname", f"swp{number}")) for number in range(3)]

    assert {name: found.port for name, found in _lldp.parse(printed(*entries)).items()} == {
        "ens0": "swp0",
        "ens1": "swp1",
        "ens2": "swp2",
    }


def test_the_switch_and_not_a_guest_behind_it() -> None:
    guest = heard("ens1f0", ("ifname", "eth0"), name="guest", capability="Station")
    switch = heard("ens1f0", ("ifname", "swp1"))

    for entries in ([guest, switch], [switch, guest]):
        assert _lldp.parse(printed(*entries))["ens1f0"].system == "xleaf0"
    assert _lldp.parse(printed(guest))["ens1f0"].system == "guest"


def test_nobody_was_heard() -> None:
    assert _lldp.parse(NOBODY) == {}


class Machine(BootMachine):
    """A host with lldpd."""

    def has_command(self, name: str) -> bool:
        return name == "lldpctl"


@pytest.mark.parametrize(
    "answer",
    [
        Completed(1, "", "unable to connect to socket"),
        Completed(0, "-----\nLLDP neighbors:\n", "unknown output format"),
        Completed(0, "{}", ""),
        Completed(0, '{"lldp": [[]]}', ""),
    ],
)
def test_lldpd_that_does_not_answer(tmp_path: Path, answer: Completed) -> None:
    machine = Machine(tmp_path, {})
    machine.answers[COMMAND] = Completed(0, NOBODY, "")
    assert _lldp.neighbours(machine) == {}

    machine.answers[COMMAND] = answer
    assert _lldp.neighbours(machine) is None


def test_lldpd_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: t.Sequence[str], *, seconds: float) -> t.NoReturn:
        raise SriovError(f"'{' '.join(argv)}' did not end within {seconds:g} s")

    machine = Machine(tmp_path, {})
    monkeypatch.setattr(machine, "run", hang)
    assert _lldp.neighbours(machine) is None


def test_a_host_without_lldpd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = BootMachine(tmp_path, {})
    monkeypatch.setattr(machine, "has_command", lambda name: False)

    assert _lldp.neighbours(machine) is None
    assert machine.calls == []
