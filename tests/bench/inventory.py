# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure reading a facility model, and making an inventory of it.

The inventory stands beside the floor, a plugin that adds the same hosts, variables and groups from
memory, and beside Ansible's YAML inventory of the same. The model stands beside what the library
of protobuf alone takes for the same bytes.

Usage: inventory.py inventory SOURCE | floor SOURCE | model SOURCE | protobuf SOURCE
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import yaml
from ansible import constants as C
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
from rows import CHECKOUT, Row, in_own_process, peak, tell

HOSTS = 10_000
YAML_HOSTS = 1_000
PFS = 4
PORTS_PER_LEAF = 64
ROUNDS = 3


def model(hosts: int) -> bytes:
    """A facility of *hosts* hypervisors with `PFS` PFs, each cabled to a leaf."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _schema

    facility = _schema.build("Facility", {"id": "bench"})
    leaf = None
    for number in range(hosts):
        octets = f"{number >> 8:02x}:{number & 255:02x}"
        host = facility.resources.add(
            id=f"x{number}",
            facility="bench",
            roles=[1, 25],  # TbNode, Hypervisor
            alloc=[6, 7],  # Physical, Virtual
            infranet_addr={"harbor": {"list": [f"172.29.{number >> 8}.{number & 255}"]}},
        )
        nic = host.NICs.add(model=103, product_info={"Manufacturer": "Mellanox", "Model": "CX-6"})
        for index in range(PFS):
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
    return bytes(facility.SerializeToString())


def hosts_of(path: Path) -> t.Any:
    """The hosts of a model, with their variables and groups."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _xir

    facility = _document.load(str(path), _document.FACILITY)
    return _xir.inventory(facility, hypervisors_only=True, link_roles=["XpLink"])[0]


def yaml_inventory(path: Path) -> str:
    """Ansible's YAML inventory of the hosts of a model."""
    hosts = hosts_of(path)
    groups: dict[str, dict[str, dict[str, None]]] = {}
    for host in hosts:
        for group in host["groups"]:
            groups.setdefault(group, {"hosts": {}})["hosts"][host["name"]] = None
    variables = {host["name"]: host["variables"] for host in hosts}
    return yaml.dump({"all": {"hosts": variables, "children": groups}}, Dumper=yaml.CSafeDumper)


def answer(what: str, path: str) -> list[t.Any]:
    """CPU seconds, the MB of this process at most, and what was found."""
    from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document, _schema

    inventory = None
    if what == "floor":
        C.INVENTORY_ENABLED = ["floor"]
        inventory_loader.add_directory(str(Path(__file__).with_name("floor")))
        inventory_loader.get("floor", class_only=True).hosts = json.loads(Path(path).read_bytes())
    start = time.process_time()
    if what in ("inventory", "floor"):
        inventory = InventoryManager(loader=DataLoader(), sources=[path])
    elif what == "model":
        _document.load(path, _document.FACILITY)
    else:
        _schema._classes()["Facility"].FromString(Path(path).read_bytes())
    seconds = time.process_time() - start
    groups = inventory.groups if inventory else {}
    found = {name: len(group.get_hosts()) for name, group in sorted(groups.items())}
    return [seconds, peak(), found]


def rounds(*parts: tuple[str, Path]) -> list[tuple[list[float], list[float]]]:
    """The CPU seconds and MB of each part; the parts take turns, and must find the same."""
    told = [
        [in_own_process("inventory.py", what, path) for what, path in parts]
        for _round in range(ROUNDS)
    ]
    for part in told[0][1:]:
        if part[2] != told[0][0][2]:
            sys.exit(f"{parts}: what they find differs")
    return [
        ([turn[number][0] for turn in told], [turn[number][1] for turn in told])
        for number in range(len(parts))
    ]


def rows() -> t.Iterator[Row]:
    tell("inventories")
    with tempfile.TemporaryDirectory() as directory:
        large, small = Path(directory, "large.xir"), Path(directory, "small.xir")
        floor, plain = Path(directory, "floor.json"), Path(directory, "small.yml")
        large.write_bytes(model(HOSTS))
        small.write_bytes(model(YAML_HOSTS))
        floor.write_text(json.dumps(hosts_of(large)), encoding="utf-8")
        plain.write_text(yaml_inventory(small), encoding="utf-8")
        ours, least = rounds(("inventory", large), ("floor", floor))
        what = f"inventory, {HOSTS:,} hosts with {PFS} PFs"
        yield Row(what, ours[0], "s", least[0], "from memory", 1.2)
        yield Row(f"{what}: memory", ours[1], "MB", least[1], "from memory")
        read, parsed = rounds(("model", large), ("protobuf", large))
        yield Row(f"its model alone, {HOSTS:,} hosts", read[0], "s", parsed[0], "protobuf", 2)
        ours, theirs = rounds(("inventory", small), ("inventory", plain))
        what = f"inventory, {YAML_HOSTS:,} hosts with {PFS} PFs"
        yield Row(what, ours[0], "s", theirs[0], "Ansible's YAML", 1)


if __name__ == "__main__":
    init_plugin_loader([str(CHECKOUT / ".ansible/collections")])
    print(json.dumps(answer(*sys.argv[1:])))
