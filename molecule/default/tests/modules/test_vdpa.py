# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vDPA devices on a real kernel, with its simulator; the tool `vdpa` says what is there."""

from __future__ import annotations

import json
import typing as t

import pytest

SIMULATOR = "vdpasim_net"
MAC = "02:00:00:00:00:0a"
HOLDER = "exec 3<>{path}; echo > /run/held; exec sleep 600"


@pytest.fixture(scope="module")
def x0(machines: dict[str, t.Any]) -> t.Iterator[t.Any]:
    machine = machines["x0"]
    machine.check_output("modprobe -a vhost_vdpa vdpa_sim_net")
    yield machine
    machine.check_output("modprobe -r vdpa_sim_net vhost_vdpa")


def vdpa(
    machine: t.Any, *devices: dict[str, t.Any], check: bool = False, force: bool = False
) -> dict[str, t.Any]:
    arguments = json.dumps({"devices": devices, "force": force})
    return machine.ansible("mergetb.sriov.vdpa", arguments, check=check, diff=False)


def shown(machine: t.Any, *words: str) -> dict[str, t.Any]:
    """What `vdpa` says."""
    output = machine.check_output(f"vdpa -j {' '.join(words)}")
    (found,) = json.loads(output).values()
    return found


def device(name: str, **values: t.Any) -> dict[str, t.Any]:
    return {"name": name, "management_device": SIMULATOR, **values}


def gone(*names: str) -> list[dict[str, t.Any]]:
    return [{"name": name, "state": "absent"} for name in names]


def test_a_device_for_a_guest(x0: t.Any) -> None:
    wanted = device("vd0", mac=MAC, mtu=1400)
    assert vdpa(x0, wanted, check=True)["changed"]
    assert shown(x0, "dev", "show") == {}

    (made,) = vdpa(x0, wanted)["devices"]

    assert shown(x0, "dev", "show")["vd0"]["mgmtdev"] == SIMULATOR
    configuration = shown(x0, "dev", "config", "show")["vd0"]
    assert (configuration["mac"], configuration["mtu"]) == (MAC, 1400)
    assert (made["mac"], made["mtu"], made["driver"]) == (MAC, 1400, "vhost_vdpa")
    assert x0.file(made["path"]).exists
    assert x0.file("/sys/bus/vdpa/drivers_autoprobe").content_string.strip() == "1"
    assert not vdpa(x0, wanted)["changed"]


def test_an_open_device_is_not_removed(x0: t.Any) -> None:
    (made,) = vdpa(x0, device("vd0"))["devices"]
    holder = HOLDER.format(path=made["path"])
    x0.check_output("mkfifo /run/held")
    x0.check_output(f"systemd-run --quiet --collect --unit=holder bash -c '{holder}'")
    x0.check_output("cat /run/held && rm /run/held")
    answer = vdpa(x0, *gone("vd0"))
    assert f"has {made['path']} open. End that use first" in answer["msg"]
    x0.check_output("systemctl stop holder")
    assert vdpa(x0, *gone("vd0"))["changed"]
    assert shown(x0, "dev", "show") == {}


def test_what_the_simulator_does_not_take(x0: t.Any) -> None:
    answer = vdpa(x0, device("vd0"), device("vd1", max_vqp=1))
    assert "vd1: vdpasim_net takes no max_vqp, only mac, mtu, features" in answer["msg"]
    assert shown(x0, "dev", "show") == {}


def test_a_thousand_in_one_call(x0: t.Any) -> None:
    names = [f"vd{number}" for number in range(1000)]
    made = vdpa(x0, *(device(name, mtu=1400) for name in names))["devices"]
    assert len({item["path"] for item in made}) == 1000
    assert set(shown(x0, "dev", "show")) == set(names)
    assert vdpa(x0, *gone(*names))["changed"]
    assert shown(x0, "dev", "show") == {}
