# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VFs of virtio-net, which has no VST, after `prepare`."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
EXPERIMENT = PROJECT / "molecule/untagged/experiment.json"

PF = "0000:01:00.0"
VFS = ("0000:01:00.1", "0000:01:00.2")


def playbook(name: str, directory: Path, *arguments: str) -> tuple[int, dict[str, t.Any]]:
    """The exit code and the result document of a run."""
    document = directory / "result.json"
    done = subprocess.run(
        [
            "ansible-playbook",
            f"--extra-vars=sriov_materialization={EXPERIMENT}",
            f"--extra-vars=sriov_device_map={directory / 'device_map.json'}",
            *arguments,
            f"mergetb.sriov.{name}",
        ],
        env={
            **os.environ,
            "ANSIBLE_CALLBACKS_ENABLED": "mergetb.sriov.result",
            "SRIOV_RESULT": str(document),
        },
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, json.loads(document.read_text())


def drivers(z0: t.Any) -> list[str]:
    found = z0.run(" ".join(("readlink", *(f"/sys/bus/pci/devices/{vf}/driver" for vf in VFS))))
    return [line.rpartition("/")[2] for line in found.stdout.splitlines()]


def test_the_kernel_has_no_attributes_of_its_vfs(z0: t.Any) -> None:
    [interface] = z0.check_output(f"ls /sys/bus/pci/devices/{PF}/virtio*/net").split()

    [link] = json.loads(z0.check_output(f"ip -d -j link show dev {interface}"))
    assert "vfinfo_list" not in link
    refused = z0.run(f"ip link set dev {interface} vf 0 vlan 100")
    assert "Operation not supported" in refused.stderr


def test_its_vfs_are_refused(z0: t.Any, tmp_path: Path) -> None:
    code, document = playbook("materialize", tmp_path)

    assert (code, document["outcome"]) == (10, "refused")
    message = document["hosts"]["z0"]["message"]
    assert "alpha.eth1: PF ens1f0 tags no VLANs for its VFs (no VST)" in message
    assert drivers(z0) == []


def test_their_guests_may_tag_if_that_is_allowed(z0: t.Any, tmp_path: Path) -> None:
    trunk = "--extra-vars=sriov_without_vst=trunk"

    code, document = playbook("materialize", tmp_path, trunk)

    assert (code, document["hosts"]["z0"]["changed"]) == (0, True)
    [leaf] = document["leafs"]
    assert (leaf["leaf"], leaf["vlans"], leaf["guest_tagged"]) == ("zleaf0", [100], [100])
    devices = json.loads((tmp_path / "device_map.json").read_text())["devices"]
    assert devices == document["devices"]
    assert [device["pci_address"] for device in devices] == list(VFS)
    assert [(device["vlan"], device["vlan_mode"]) for device in devices] == [(100, "trunk")] * 2
    assert drivers(z0) == ["vfio-pci"] * 2
    check = z0.run("python3 /usr/local/lib/mergetb-sriov/restore.pyz --check")
    assert (check.rc, check.stdout) == (0, "2 VFs are as the ledger says\n"), check.stderr

    code, document = playbook("materialize", tmp_path, trunk)
    assert (code, document["hosts"]["z0"]["changed"]) == (0, False)

    code, document = playbook("dematerialize", tmp_path)
    assert (code, document["hosts"]["z0"]["changed"]) == (0, True)
    assert drivers(z0) == []
