# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the inventory plugin against Ansible's own YAML inventory of the same hosts.

Both parse 10,000 hypervisors with 4 PFs each, every PF cabled to a leaf, in a process of its own.
Printed are CPU seconds, their ratio, and the largest resident set of each process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader

CHECKOUT = Path(__file__).resolve().parents[2]
HOSTS = 10_000
PFS_PER_HOST = 4
PORTS_PER_LEAF = 64


def model() -> bytes:
    """Return the facility model as a protocol buffer."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _schema

    facility = _schema.build("Facility", {"id": "bench"})
    leaf = None
    for number in range(HOSTS):
        octets = f"{number >> 8:02x}:{number & 255:02x}"
        host = facility.resources.add(
            id=f"x{number}",
            facility="bench",
            roles=[1, 25],  # TbNode, Hypervisor
            alloc=[6, 7],  # Physical, Virtual
            infranet_addr={"harbor": {"list": [f"172.29.{number >> 8}.{number & 255}"]}},
        )
        nic = host.NICs.add(model=103, product_info={"Manufacturer": "Mellanox", "Model": "CX-6"})
        for index in range(PFS_PER_HOST):
            cable = f"x{number}.{index}"
            facility.cables.add(id=cable)
            if leaf is None or len(leaf.ports) == PORTS_PER_LEAF:
                switch = facility.resources.add(id=f"leaf{len(facility.cables)}", roles=[6, 10])
                leaf = switch.NICs.add()
            leaf.ports.add(name=f"swp{len(leaf.ports) + 1}", connector={"element": cable})
            nic.ports.add(
                name=f"enp{index + 1}s0f0np0",
                mac=f"02:00:{octets}:00:{index:02x}",
                capacity=100_000_000_000,
                roles=[2],  # XpLink
                sriov={"Pf": {"MaxVFs": 127}},
                connector={"element": cable},
            )
    return facility.SerializeToString()


def yaml_inventory(path: Path) -> str:
    """Return Ansible's YAML inventory of the hosts, variables and groups of the model ``path``."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _xir

    facility = _document.load(str(path), _document.FACILITY)
    hosts, _warnings = _xir.inventory(facility, hypervisors_only=True, link_roles=["XpLink"])
    groups: dict[str, dict[str, dict[str, None]]] = {}
    for host in hosts:
        for group in host["groups"]:
            groups.setdefault(group, {"hosts": {}})["hosts"][host["name"]] = None
    variables = {host["name"]: host["variables"] for host in hosts}
    return yaml.dump({"all": {"hosts": variables, "children": groups}}, Dumper=yaml.CSafeDumper)


def parse(path: str) -> None:
    """Parse an inventory as ansible-playbook does; print the cost and what was found."""
    start = time.process_time()
    inventory = InventoryManager(loader=DataLoader(), sources=[path])
    seconds = time.process_time() - start
    # Not getrusage: its largest resident set begins with that of the process that forked this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    megabytes = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    found = {name: len(group.get_hosts()) for name, group in sorted(inventory.groups.items())}
    print(json.dumps([seconds, megabytes, found]))


def measure(path: Path) -> tuple[float, float, dict[str, int]]:
    """Parse an inventory in another process; return CPU seconds, MB and what was found."""
    command = [sys.executable, __file__, str(path)]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout
    return tuple(json.loads(output))


def main() -> None:
    """Print both measurements and their ratio."""
    with tempfile.TemporaryDirectory() as directory:
        xir, plain = Path(directory, "bench.xir"), Path(directory, "bench.yml")
        xir.write_bytes(model())
        plain.write_text(yaml_inventory(xir), encoding="utf-8")
        xir_seconds, xir_memory, xir_found = measure(xir)
        yaml_seconds, yaml_memory, yaml_found = measure(plain)
    if xir_found != yaml_found or xir_found["hypervisors"] != HOSTS:
        raise SystemExit("the inventories differ")
    print(
        f"inventory of {HOSTS} hosts with {PFS_PER_HOST} PFs: {xir_seconds:.1f} s and"
        f" {xir_memory:.0f} MB, as YAML {yaml_seconds:.1f} s and {yaml_memory:.0f} MB;"
        f" {yaml_seconds / xir_seconds:.1f}x as fast"
    )


if __name__ == "__main__":
    os.chdir(CHECKOUT)  # for its ansible.cfg
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    if len(sys.argv) > 1:
        parse(sys.argv[1])
    else:
        main()
