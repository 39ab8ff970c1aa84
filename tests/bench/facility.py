# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A large facility of simulated hosts, and plays over it.

A host is a directory made of the fabricated tree of its kind. Ansible reaches it by the local
connection. The collection is a copy whose modules look at that directory (`simulated.py`), where
they would look at the machine. Nothing can be changed there, so roles that change something run in
check mode. There are twice as many forks as processors, or ANSIBLE_FORKS.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import typing as t
from pathlib import Path

import yaml
from rows import CHECKOUT, Cost, cost

HERE = Path(__file__).resolve().parent
COLLECTION = Path("ansible_collections", "mergetb", "sriov")
MACHINE = ".".join([*COLLECTION.parts, "plugins", "module_utils", "machine"])
MODULES = ("materialization", "plan_info", "sriov_info")
PFS = 2
VFS = 16
VFS_HELD = 4
PORTS_PER_LEAF = 64
CAPACITY = 100_000_000_000

_RECAP = re.compile(r"^(\S+) +: ok=(\d+) .*unreachable=(\d+) .*ignored=(\d+)", re.MULTILINE)


def pf_name(pf: int) -> str:
    return f"ens{pf + 1}f0"


def mac(host: int, pf: int) -> str:
    return f"{macs(host)}{pf:02x}"


def macs(host: int) -> str:
    """How the MACs of a host begin. A fabricated tree has those of host 0."""
    return f"04:72:00:{host >> 8:02x}:{host & 255:02x}:"


def leaf_port(host: int, pf: int) -> tuple[str, str]:
    """The leaf, and the port of it, that a PF is cabled to."""
    leaf, port = divmod(host * PFS + pf, PORTS_PER_LEAF)
    return f"leaf{leaf}", f"swp{port + 1}"


def model(hosts: int) -> bytes:
    """The facility of *hosts* hypervisors and their leafs."""
    from ansible_collections.mergetb.sriov.tests.tools import make_phobos
    from mergetbapi import xir

    build = make_phobos.Builder()
    leafs: dict[str, xir.Resource] = {}
    for number in range(hosts):
        name = f"x{number}"
        host = build.resource(
            name,
            [xir.Role.TbNode, xir.Role.Hypervisor],
            [xir.AllocMode.Physical, xir.AllocMode.Virtual],
        )
        address = f"172.29.{number >> 8}.{number & 255}"
        host.infranet_addr = {"harbor": xir.AddressList([address])}
        ports = [
            xir.Port(
                parent=name,
                index=pf,
                name=pf_name(pf),
                mac=mac(number, pf),
                capacity=CAPACITY,
                sriov=xir.Sriov(pf=xir.SriovPf(max_v_fs=VFS)),
            )
            for pf in range(PFS)
        ]
        product = xir.ProductInfo(manufacturer="Intel", model="E810-C")
        host.ni_cs.append(
            xir.Nic(
                kind=xir.NicKind.ENS,
                model=xir.NicModel.Intel800,
                product_info=product,
                ports=ports,
            )
        )
        for pf, port in enumerate(ports):
            leaf, _port = leaf_port(number, pf)
            if leaf not in leafs:
                roles = [xir.Role.XpSwitch, xir.Role.Leaf]
                leafs[leaf] = build.switch(leaf, roles, PORTS_PER_LEAF)
            build.connect(port, leafs[leaf], xir.LinkRole.XpLink)
    return bytes(xir.Facility(id="bench", resources=build.resources, cables=build.cables))


def bare(directory: Path, vfs: int = VFS) -> t.Any:
    """A host that nobody has prepared, whose PFs can have *vfs* VFs."""
    from ansible_collections.mergetb.sriov.tests.unit import fabricated, hypervisor

    host = hypervisor.Hypervisor(directory)
    host.add_driver("vfio-pci")
    for pf in range(PFS):
        address, name = f"0000:{0x41 + pf:02x}:00.0", pf_name(pf)
        host.add_pf(address, name, mac(0, pf), driver="ice", totalvfs=vfs, config=hypervisor.CONFIG)
        for path, text in (
            (f"{fabricated.DEVICES}/{address}/device", "0x1592"),
            (f"{fabricated.DEVICES}/{address}/numa_node", "0"),
            (f"{fabricated.DEVICES}/{address}/current_link_speed", "16.0 GT/s PCIe"),
            (f"{fabricated.DEVICES}/{address}/max_link_speed", "16.0 GT/s PCIe"),
            (f"{fabricated.DEVICES}/{address}/current_link_width", "16"),
            (f"{fabricated.DEVICES}/{address}/max_link_width", "16"),
            (f"/sys/class/net/{name}/carrier", "1"),
            (f"/sys/class/net/{name}/speed", str(CAPACITY // 1_000_000)),
        ):
            host.put(path, text)
    return host


def prepared(directory: Path, vfs: int = VFS) -> t.Any:
    """A host after `prepare`, with *vfs* VFs a PF."""
    from ansible_collections.mergetb.sriov.plugins.modules import (
        kernel_cmdline,
        kernel_modules,
        numvfs,
        restore_service,
    )

    host = bare(directory, vfs)
    kernel_cmdline.run(
        host, {"iommu": True, "present": ["iommu=pt"], "absent": []}, check_mode=False
    )
    host.restart()
    counts = [{"pf": mac(0, pf), "numvfs": vfs} for pf in range(PFS)]
    numvfs.run(host, {"pfs": counts, "at_boot": True, "force": False}, check_mode=False)
    kernel_modules.run(host, {"modules": ["vfio-pci"], "name": "mergetb-sriov"}, check_mode=False)
    before = restore_service.ARGUMENT_SPEC["before"]["default"]
    restore_service.run(host, {"before": before}, check_mode=False)
    return host


def held(directory: Path) -> t.Any:
    """A host where a materialization has some VFs, and a guest runs with them."""
    from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _request

    host = prepared(directory)
    claims = [
        _request.Claim(
            node="alpha",
            nic=f"eth{1 + pf * VFS_HELD + vf}",
            pf_name=pf_name(pf),
            pf_mac=mac(0, pf),
            vf=vf,
            mac=f"02:72:00:00:{pf:02x}:{vf:02x}",
            vlan=100 + vf,
            mtu=None,
        )
        for pf in range(PFS)
        for vf in range(VFS_HELD)
    ]
    policy = _request.Policy("vfio-pci")
    devices = _assignment.run(host, "bench.hello.demo", claims, policy)["devices"]
    groups = [
        host.link(f"/sys/bus/pci/devices/{device['pci_address']}/iommu_group") for device in devices
    ]
    host.add_process(4711, "qemu-system-x86", *(f"/dev/vfio/{group}" for group in groups))
    return host


Kinds = t.Mapping[str, t.Callable[[Path], t.Any]]

KINDS: Kinds = {
    "bare": bare,
    "free": prepared,
    "held": held,
    # The NIC has fewer VFs than the model promises.
    "short": functools.partial(prepared, vfs=VFS // 2),
}


def make_kinds(directory: Path, makers: Kinds) -> list[Path]:
    """One directory a kind, with the files of such a host and what netlink tells of it."""
    kinds = []
    for name, make in makers.items():
        kind = directory / name
        host = make(kind / "root")
        told = {
            "links": list(host.netlink.interfaces.values()),
            "vfs": {index: list(vfs.values()) for index, vfs in host.netlink.vfs.items()},
        }
        (kind / "netlink.json").write_text(json.dumps(told), encoding="utf-8")
        kinds.append(kind)
    return kinds


def make_collections(directory: Path) -> None:
    """A copy of the collection whose modules look at the simulated host."""
    copy = directory / COLLECTION
    for part in ("meta", "playbooks", "plugins", "roles"):
        shutil.copytree(CHECKOUT / part, copy / part)
    shutil.copy(HERE / "simulated.py", copy / "plugins/module_utils/machine/_simulated.py")
    for name in MODULES:
        path = copy / "plugins/modules" / f"{name}.py"
        before, imported, after = path.read_text(encoding="utf-8").partition(f"{MACHINE}._host")
        if not imported:
            sys.exit(f"the module {name} does not import {MACHINE}._host")
        path.write_text(f"{before}{MACHINE}._simulated{after}", encoding="utf-8")


def make_host(directory: Path, number: int, kind: Path) -> None:
    """Host *number*, which has sysfs and processes in common with its kind."""

    def copy(source: str, destination: str) -> None:
        content = Path(source).read_bytes()
        Path(destination).write_bytes(content.replace(macs(0).encode(), macs(number).encode()))

    shutil.copytree(
        kind,
        directory,
        symlinks=True,
        ignore=lambda path, _names: ["sys", "proc"] if path == str(kind / "root") else [],
        copy_function=copy,
    )
    for name in ("sys", "proc"):
        (directory / "root" / name).symlink_to(kind / "root" / name)
    heard = [
        {
            "name": pf_name(pf),
            "chassis": [
                {"name": [{"value": leaf}], "capability": [{"type": "Bridge", "enabled": True}]}
            ],
            "port": [{"id": [{"type": "ifname", "value": port}]}],
        }
        for pf in range(PFS)
        for leaf, port in [leaf_port(number, pf)]
    ]
    commands = {"lldpctl -f json0": json.dumps({"lldp": [{"interface": heard}]})}
    (directory / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    python = directory / "python"
    python.write_text(
        f'#!/bin/sh\nSIMULATED_HOST="{directory}" exec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)


class Facility:
    """The simulated facility in *directory*, and plays over it."""

    def __init__(self, directory: Path, hosts: int, makers: Kinds | None = None) -> None:
        self.directory = directory
        self.hosts = hosts
        directory.mkdir()
        (directory / "bench.xir").write_bytes(model(hosts))
        make_collections(directory / "collections")
        kinds = make_kinds(directory / "kinds", KINDS if makers is None else makers)
        for number in range(hosts):
            make_host(directory / "hosts" / f"x{number}", number, kinds[number % len(kinds)])
        self.kill([])

    def kill(self, dead: t.Iterable[int]) -> None:
        """Let nobody reach the hosts *dead*, and all others be reached."""
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": (
                f"{self.directory}/hosts/{{{{ inventory_hostname }}}}/python"
            ),
        }
        gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        no_hosts = {f"x{number}": gone for number in dead}
        self._write("hosts.yml", {"hypervisors": {"vars": variables, "hosts": no_hosts}})

    def tasks(self, *tasks: t.Mapping[str, t.Any]) -> Cost:
        """Run a play of *tasks* over all hosts."""
        play = {"hosts": "hypervisors", "gather_facts": False, "tasks": list(tasks)}
        return self.play(self._write("play.yml", [play]))

    def play(
        self, playbook: str, *arguments: str, reached: int | None = None, **variables: str
    ) -> Cost:
        """Run a playbook, which writes its files into the directory of the facility.

        *reached* is how many hosts it must reach, all unless given.
        """
        for name, value in variables.items():
            arguments += ("-e", f"{name}={value}")
        done = cost(self.command(playbook, *arguments), self.directory, **self.environment)
        recap = {name: tuple(map(int, counts)) for name, *counts in _RECAP.findall(done.output)}
        # A gate that is not passed ends with 2; each host must have done its part by then.
        if (
            done.code not in (0, 2)
            or len(recap) != (self.hosts if reached is None else reached)
            or any(not ok or unreachable or ignored for ok, unreachable, ignored in recap.values())
        ):
            sys.exit(f"{playbook} ended with {done.code}:\n{done.output[-4000:]}")
        return done

    def command(self, playbook: str, *arguments: str) -> list[str | Path]:
        """The command that runs a playbook."""
        inventories = [
            f"--inventory={self.directory / name}" for name in ("bench.xir", "hosts.yml")
        ]
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, *inventories, playbook, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What the command needs."""
        return {
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_FORKS": os.environ.get("ANSIBLE_FORKS", str(2 * (os.cpu_count() or 1))),
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory / "collections"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.directory / "facts"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def remember(self, asked: Facility) -> None:
        """Fill the fact cache with what the hosts of a smaller facility have told in its runs."""
        (self.directory / "facts").mkdir(exist_ok=True)
        (told,) = {path.name[:-2] for path in (asked.directory / "facts").glob("*x0")}
        for number in range(self.hosts):
            like = number % asked.hosts
            text = (asked.directory / "facts" / f"{told}x{like}").read_text(encoding="utf-8")
            text = text.replace(macs(like), macs(number))
            text = re.sub(rf"(host\W+)x{like}\b", rf"\g<1>x{number}", text)
            (self.directory / "facts" / f"{told}x{number}").write_text(text, encoding="utf-8")

    def _write(self, name: str, document: t.Any) -> str:
        path = self.directory / name
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return str(path)
