# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nova and Neutron read what the playbook `openstack` writes, and see the VFs that are meant."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit import openstack_hosts as hosts
from ansible_collections.mergetb.sriov.tests.unit.fabricated import DEVICES
from ansible_collections.mergetb.sriov.tests.unit.fabricated_facility import Facility
from ansible_collections.mergetb.sriov.tests.unit.hypervisor import Hypervisor

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-openstack/bin/python"
Told = dict[str, dict[str, t.Any]]
PLAYBOOK = "mergetb.sriov.openstack"
ALIASES = [
    {"name": "vf", "device_type": "type-VF", "vendor_id": "15b3", "product_id": "1018"},
    {"name": "pf", "device_type": "type-PF", "vendor_id": "8086", "product_id": "10c9"},
    {"name": "gpu", "device_type": "type-PCI", "vendor_id": "10de", "product_id": "25b6"},
]


class Deployment(t.NamedTuple):
    """The hosts, and the directory with the files."""

    facility: Facility
    config: Path

    def options(self, **others: t.Any) -> tuple[str, str]:
        variables = {"sriov_kolla_config": str(self.config), "sriov_nova_aliases": ALIASES}
        return "-e", json.dumps(variables | others)

    def files(self, host: str) -> list[Path]:
        """The files that the services of a host read, in the order in which they count."""
        names = (
            *("nova.conf", f"nova/{host}/nova.conf"),
            *("neutron/ml2_conf.ini", f"neutron/{host}/sriov_agent.ini"),
        )
        return [self.config / name for name in names if (self.config / name).exists()]

    def told(self, host: str) -> dict[str, t.Any]:
        """What Nova and Neutron tell of a host."""
        with self.facility.host(host) as machine:
            return ask(machine, *self.files(host))


def ask(machine: Hypervisor, *files: Path) -> dict[str, t.Any]:
    done = subprocess.run(
        [PYTHON, HERE / "ask.py", machine.root, *files],
        input=json.dumps(functions(machine)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def functions(machine: Hypervisor) -> list[dict[str, t.Any]]:
    """All PCI functions of a host, as libvirt tells Nova of them."""

    def told(address: str, name: str) -> str:
        return (machine.read(f"{DEVICES}/{address}/{name}") or "").removeprefix("0x")

    return [
        {
            "address": address,
            "vendor_id": told(address, "vendor"),
            "product_id": told(address, "device"),
            "parent_addr": machine.link(f"{DEVICES}/{address}/physfn"),
        }
        for address in machine.names(DEVICES)
    ]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Deployment]:
    """Three hosts, and what a run of the playbook has written for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 0)
        directory = tmp_path_factory.mktemp("deployment")
        facility = Facility(directory)
        for name, make in hosts.HOSTS.items():
            variables = {"sriov_physical_networks": hosts.NETWORKS[name]}
            facility.add(name, make, **variables, sriov_pfs=hosts.OFFERED.get(name, []))
        (directory / "config").mkdir()
        made = Deployment(facility, directory / "config")
        drivers = ["openvswitch", "l2population"]
        options = made.options(sriov_neutron_mechanism_drivers=drivers)
        check = facility.play(PLAYBOOK, *options, "--check", "--diff")
        assert list(made.config.iterdir()) == []
        run = facility.play(PLAYBOOK, *options)
        again = facility.play(PLAYBOOK, *options)
        assert (check.code, run.code, again.code) == (0, 0, 0), check.output + run.output
        changed = [any(task.changed for task in play.tasks) for play in (check, run, again)]
        assert changed == [True, True, False]
        yield made


@pytest.fixture(scope="module")
def told(deployment: Deployment) -> Told:
    """What Nova and Neutron tell of each host."""
    return {host: deployment.told(host) for host in hosts.HOSTS}


@pytest.mark.parametrize("host", hosts.HOSTS)
def test_nova_offers_exactly_what_is_meant(told: Told, host: str) -> None:
    """No PF, unless it is a guest's as a whole, and no VF that a materialization holds."""
    offered = told[host]["offered"]
    assert {address: tags["physical_network"] for address, tags in offered.items()} == {
        address: network
        for address, network in hosts.MEANT[host].items()
        if address not in hosts.HELD[host]
    }


def test_tags(told: Told) -> None:
    vfs = {host: told[host]["offered"] for host in hosts.HOSTS}
    assert vfs["compute0"][hosts.IGB_VFS[hosts.IGB[1]][0]] == {
        "physical_network": "physnet3",
        "trusted": "true",
    }
    assert vfs["compute1"][hosts.CONNECTX_VFS[hosts.CONNECTX[0]][0]] == {
        "physical_network": "physnet2",
        "managed": "false",
    }
    assert vfs["compute2"][hosts.CONNECTX_VFS[hosts.CONNECTX[0]][0]] == {
        "physical_network": "physnet3",
        "live_migratable": "true",
    }


def test_neutron_maps_and_excludes(told: Told) -> None:
    assert {host: told[host]["neutron"] for host in hosts.HOSTS} == {
        "compute0": {
            "mappings": {"physnet2": ["p4p1"], "physnet3": ["p4p2"]},
            "excluded": {"p4p1": hosts.HELD["compute0"][:2], "p4p2": hosts.HELD["compute0"][2:]},
        },
        "compute1": {
            "mappings": {"physnet2": ["p5p1", "p5p2"]},
            "excluded": {"p5p2": hosts.HELD["compute1"]},
        },
        "compute2": {"mappings": {"physnet2": ["p4p1"], "physnet3": ["p5p1"]}, "excluded": {}},
    }


def test_what_all_hosts_share(told: Told) -> None:
    aliases = told["compute0"]["aliases"]
    assert {name: spec["dev_type"] for name, (_policy, [spec]) in aliases.items()} == {
        alias["name"]: alias["device_type"] for alias in ALIASES
    }
    assert told["compute0"]["enabled_filters"] == [
        *("ComputeFilter", "ComputeCapabilitiesFilter", "ImagePropertiesFilter"),
        *("ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter", "PciPassthroughFilter"),
    ]
    assert told["compute0"]["mechanism_drivers"] == [
        "openvswitch",
        "l2population",
        "sriovnicswitch",
    ]


def test_novas_own_filters_are_kept(deployment: Deployment, told: Told) -> None:
    """The default of the role is Nova's, and one more."""
    with deployment.facility.host("compute0") as machine:
        default = ask(machine)["enabled_filters"]
    assert told["compute0"]["enabled_filters"] == [*default, "PciPassthroughFilter"]


def test_old_name_of_the_option(deployment: Deployment, told: Told) -> None:
    options = deployment.options(sriov_nova_whitelist=True)
    assert deployment.facility.play(PLAYBOOK, *options).code == 0
    text = (deployment.config / "nova/compute1/nova.conf").read_text(encoding="utf-8")
    assert "device_spec" not in text
    assert deployment.told("compute1")["offered"] == told["compute1"]["offered"]


def spec(directory: Path, **fields: str) -> Path:
    path = directory / "nova.conf"
    path.write_text(f"[pci]\ndevice_spec = {json.dumps(fields)}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "fields", [{"devname": "p5p1"}, {"address": hosts.CONNECTX[0]}], ids=["interface", "address"]
)
def test_a_pf_stands_for_its_vfs_and_itself(tmp_path: Path, fields: dict[str, str]) -> None:
    """That is why the role names VFs."""
    (tmp_path / "root").mkdir()
    told = ask(hosts.compute1(tmp_path / "root"), spec(tmp_path, **fields))
    pf = hosts.CONNECTX[0]
    assert sorted(told["offered"]) == sorted([pf, *hosts.CONNECTX_VFS[pf]])


def test_two_mistakes_of_kayobes_document(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    machine = hosts.compute1(tmp_path / "root")
    by_mac = ask(machine, spec(tmp_path, address="0c:42:a1:*"))["offered"]
    assert by_mac["error"].startswith("PciDeviceWrongAddressFormat: ")
    by_id = ask(machine, spec(tmp_path, vendor_id="15b3", product_id="1017"))["offered"]
    assert sorted(by_id) == list(hosts.CONNECTX), "PFs alone"


def test_neutron_refuses_what_the_role_never_writes(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    path = tmp_path / "sriov_agent.ini"
    path.write_text("[sriov_nic]\nexclude_devices = p4p1:0000:07:10.0\n", encoding="utf-8")
    told = ask(hosts.compute0(tmp_path / "root"), path)["neutron"]
    assert "missing from physical_device_mappings" in told["error"]
