# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Linux host with SR-IOV made of plain files, for tests of what needs root and hardware.

    machine = Machine(tmp_path)
    machine.add_pf("0000:01:00.0", "ens1f0", "04:70:00:00:00:10", numvfs=2)
    machine.add_driver("vfio-pci")

The files follow Documentation/ABI/testing/sysfs-bus-pci, and a write to one of them has at once
the effect that it has in the kernel. `Machine.log` records every write, also those that fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host, Turn, _Call
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import (
    Link,
    NoVfAttributesError,
    Refusal,
    Rtnetlink,
    VfRequest,
    VfState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ledger import READY, VfEntry

DEVICES = "/sys/bus/pci/devices"
DRIVERS = "/sys/bus/pci/drivers"
PROBE = "/sys/bus/pci/drivers_probe"
GROUPS = "/sys/kernel/iommu_groups"

NEW_VF = VfState(
    mac="00:00:00:00:00:00",
    vlan=0,
    qos=0,
    vlan_proto="802.1Q",
    spoofchk=True,
    trust=False,
    link_state="auto",
    min_tx_rate=0,
    max_tx_rate=0,
    query_rss=None,
)

_NETWORK_DRIVERS = ("igb", "igbvf", "mlx5_core")
_VF_DRIVERS = {"igb": "igbvf", "mlx5_core": "mlx5_core"}


class Event(t.NamedTuple):
    """One access: *action* is `write`, `replace`, `remove`, `set_up`, `set_vf` or `vf_states`."""

    action: str
    subject: str
    value: t.Any = None


class Netlink(Rtnetlink):
    """Stands in for the kernel's, without a socket, with a driver whose manners a test can set.

    *refuse* is asked for each attribute of a request (VF, name, value) and answers an errno, or 0
    to accept it; *keep* answers which value the driver then has. *without_attributes* names the
    interfaces whose drivers keep no attributes for VFs (no VST).
    """

    def __init__(self, log: list[Event]) -> None:
        self.interfaces: dict[str, Link] = {}
        self.vfs: dict[int, dict[int, VfState]] = {}
        self.ips: dict[int, list[str]] = {}
        self.refuse: t.Callable[[int, str, t.Any], int] = _accept
        self.keep: t.Callable[[int, str, t.Any], t.Any] = _as_asked
        self.without_attributes: set[str] = set()
        self._log = log

    def links(self) -> list[Link]:
        return list(self.interfaces.values())

    def addresses(self) -> dict[int, list[str]]:
        return self.ips

    def vf_states(self, ifindex: int) -> dict[int, VfState]:
        self._log.append(Event("vf_states", str(ifindex)))
        for name in self.without_attributes:
            if self.interfaces[name].ifindex == ifindex:
                raise NoVfAttributesError("its driver keeps no attributes for VFs (no VST)")
        return dict(self.vfs.get(ifindex, {}))

    def set_up(self, ifindex: int) -> None:
        link = next(link for link in self.links() if link.ifindex == ifindex)
        self._log.append(Event("set_up", link.name))
        self.interfaces[link.name] = link._replace(up=True)

    def set_vfs(self, requests: t.Sequence[VfRequest]) -> list[Refusal | None]:
        return [self._set_vf(*request) for request in requests]

    def _set_vf(self, ifindex: int, vf: int, values: t.Mapping[str, t.Any]) -> Refusal | None:
        self._log.append(Event("set_vf", f"{ifindex} {vf}", dict(values)))
        # do_setvfinfo() goes through the attributes in this order and ends at the first refusal.
        for group in (
            ("mac",),
            ("vlan", "qos", "vlan_proto"),
            ("min_tx_rate", "max_tx_rate"),
            ("spoofchk",),
            ("link_state",),
            ("query_rss",),
            ("trust",),
        ):
            asked = {name: values[name] for name in group if name in values}
            for name, value in asked.items():
                number = self.refuse(vf, name, value)
                if number:
                    return Refusal(number, "")
            kept = {name: self.keep(vf, name, value) for name, value in asked.items()}
            self.vfs[ifindex][vf] = self.vfs[ifindex][vf]._replace(**kept)
        return None


class Machine(Host):
    """The host; *directory* is its root directory.

    `faults` holds the errno of an access that fails, by action (`read`, `write`) and path;
    `unprobed` the functions that no driver takes although it is asked to; `iommu` tells whether
    functions get an IOMMU group, and `vfio_cdev` whether VFIO makes a character device for each.
    `native` has the drivers that take functions without `driver_override`. `between` is called for
    each VF that is made or destroyed, when the kernel does not count it yet, or still does.
    """

    def __init__(self, directory: str | Path) -> None:
        self.log: list[Event] = []
        self._fabricated = Netlink(self.log)
        super().__init__(str(directory), netlink=self._fabricated)
        self.faults: dict[tuple[str, str], int] = {}
        self.unprobed: set[str] = set()
        self.iommu = True
        self.vfio_cdev = False
        self.native: dict[str, str] = {}
        self.between: t.Callable[[], object] = _nothing
        self._pf_interfaces: dict[str, str] = {}
        self._pf_macs: dict[str, str] = {}
        self._vf_addresses: dict[str, t.Sequence[str]] = {}
        self._indexes = iter(range(2, 1 << 16))
        self._groups = iter(range(1, 1 << 16))
        self.put(PROBE, "")

    @property
    def netlink(self) -> Netlink:
        return self._fabricated

    def put(self, path: str, content: str | bytes) -> None:
        """Any file of the machine, whole at once, and the directories that it needs."""
        file = os.path.realpath(self.path(path))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        descriptor, whole = tempfile.mkstemp(dir=os.path.dirname(self.root))
        with os.fdopen(descriptor, "wb") as new:
            new.write(content.encode() if isinstance(content, str) else content)
        os.chmod(whole, os.stat(file).st_mode if os.path.exists(file) else 0o644)
        os.replace(whole, file)

    def mask(self, path: str) -> None:
        """Switch the file *path* off, as `systemctl mask` does; it takes root."""
        self.put(path, "")
        os.unlink(self.path(path))
        device = self.path("/dev/null")
        if not os.path.exists(device):
            os.makedirs(os.path.dirname(device), exist_ok=True)
            os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.symlink(os.path.relpath(device, os.path.dirname(self.path(path))), self.path(path))

    def add_driver(self, name: str) -> None:
        self.put(f"{DRIVERS}/{name}/unbind", "")

    def add_function(
        self,
        address: str,
        *,
        driver: str | None = None,
        group: str | None = None,
        bridge: str | None = None,
        config: bytes = b"",
        vendor: str = "0x8086",
        device: str = "0x10c9",
        device_class: str = "0x020000",
        numa_node: int = -1,
    ) -> None:
        """A PCI function, in an IOMMU group of its own where *group* names no other."""
        base = "/".join(filter(None, ("/sys/devices/pci0000:00", bridge, address)))
        self.put(f"{base}/vendor", vendor)
        self.put(f"{base}/device", device)
        self.put(f"{base}/class", device_class)
        self.put(f"{base}/numa_node", str(numa_node))
        self.put(f"{base}/driver_override", "(null)")
        self.put(f"{base}/config", config)
        self._link(f"{DEVICES}/{address}", base)
        if self.iommu:
            group = group or str(next(self._groups))
            self._link(f"{base}/iommu_group", f"{GROUPS}/{group}")
            self._link(f"{GROUPS}/{group}/devices/{address}", base)
        if driver:
            self.bind(address, driver)

    def add_pf(
        self,
        address: str,
        interface: str | None,
        mac: str,
        *,
        driver: str = "igb",
        numvfs: int = 0,
        totalvfs: int = 7,
        autoprobe: bool = False,
        up: bool = True,
        mtu: int = 1500,
        vf_addresses: t.Sequence[str] | None = None,
        config: bytes = b"",
    ) -> None:
        """A PF with its interface and *numvfs* VFs; only as many as *vf_addresses* ever appear."""
        self.add_function(address, config=config)
        self.add_driver(driver)
        self._bind(address, driver)
        base = f"{DEVICES}/{address}"
        self.put(f"{base}/sriov_totalvfs", str(totalvfs))
        self.put(f"{base}/sriov_numvfs", "0")
        self.put(f"{base}/sriov_drivers_autoprobe", str(int(autoprobe)))
        if interface:
            self._pf_interfaces[address] = interface
            self._pf_macs[address] = mac
            self.add_interface(interface, address, mac=mac, up=up, mtu=mtu)
        if vf_addresses is None:
            vf_addresses = [_vf_address(address, index) for index in range(totalvfs)]
        self._vf_addresses[address] = vf_addresses
        self._set_numvfs(f"{base}/sriov_numvfs", str(numvfs))

    def add_interface(
        self,
        name: str,
        address: str | None = None,
        *,
        mac: str,
        up: bool = False,
        mtu: int = 1500,
        port_name: str | None = None,
        dev_port: int = 0,
        uppers: t.Iterable[str] = (),
    ) -> Link:
        """A network interface, of the function *address* or virtual; *uppers* are its masters."""
        device = f"{DEVICES}/{address}" if address else "/sys/devices/virtual"
        base = f"{device}/net/{name}"
        self.put(f"{base}/dev_port", str(dev_port))
        if port_name is None:
            self.faults["read", f"{base}/phys_port_name"] = errno.EOPNOTSUPP
        else:
            self.put(f"{base}/phys_port_name", port_name)
        for upper in uppers:
            self.put(f"{base}/upper_{upper}", "")
        self._link(f"/sys/class/net/{name}", base)
        if address:
            self._link(f"{base}/device", device)
        link = Link(next(self._indexes), name, mac, mac if address else None, up, mtu, None, None)
        self.netlink.interfaces[name] = link
        return link

    def add_node(
        self, address: str, path: str, number: str, *, kind: str = "char", within: str = ""
    ) -> None:
        """The device file *path* of the function *address*, as sysfs shows it below *within*."""
        name = path.rpartition("/")[2]
        base = f"{DEVICES}/{address}/{within or 'nodes'}/{name}"
        self.put(f"{base}/uevent", f"DEVNAME={path[len('/dev/') :]}\n")
        self._link(f"/sys/dev/{kind}/{number}", base)

    def hide_interface(self, name: str, address: str) -> None:
        """Move the interface of the function *address* to another network namespace."""
        del self.netlink.interfaces[name]
        os.unlink(self.path(f"/sys/class/net/{name}"))
        shutil.rmtree(self.path(f"{DEVICES}/{address}/net"))

    def add_process(self, pid: int, name: str, *opened: str) -> None:
        """A process that has the files *opened*."""
        self.put(f"/proc/{pid}/comm", f"{name}\n")
        os.makedirs(self.path(f"/proc/{pid}/fd"))
        for number, path in enumerate(opened):
            os.symlink(path, self.path(f"/proc/{pid}/fd/{number}"))

    def bind(self, address: str, driver: str) -> None:
        """Give the function to *driver*, with what that brings about."""
        self.add_driver(driver)
        self._bind(address, driver)
        if driver in _NETWORK_DRIVERS and address in self._pf_macs:
            self.add_interface(self._pf_interfaces[address], address, mac=self._pf_macs[address])
        elif driver in _NETWORK_DRIVERS:
            number = next(n for n in range(1, 1 << 16) if f"eth{n}" not in self.netlink.interfaces)
            mac = f"02:ff:00:00:{number & 255:02x}:{number >> 8:02x}"
            self.add_interface(f"eth{number}", address, mac=mac)
        elif "vfio" in driver and self.vfio_cdev:
            self.put(f"{DEVICES}/{address}/vfio-dev/vfio{self.link(_group(address))}/dev", "")

    def move_to_group(self, address: str, group: str) -> None:
        """Put the function into the IOMMU group *group*, as where nothing isolates it."""
        own = self.link(_group(address))
        os.unlink(self.path(_group(address)))
        shutil.rmtree(self.path(f"{GROUPS}/{own}"))
        self._link(f"{DEVICES}/{address}/iommu_group", f"{GROUPS}/{group}")
        self._link(f"{GROUPS}/{group}/devices/{address}", f"{DEVICES}/{address}")

    @property
    def writes(self) -> list[Event]:
        """What was written or sent, without what was only read."""
        return [event for event in self.log if event.action != "vf_states"]

    def driver(self, address: str) -> str | None:
        return self.link(f"{DEVICES}/{address}/driver")

    def vf(self, interface: str, vf: int) -> VfState:
        return self.netlink.vfs[self.netlink.interfaces[interface].ifindex][vf]

    def alter_link(self, name: str, **values: t.Any) -> None:
        """Change an interface behind the back of the code under test."""
        self.netlink.interfaces[name] = self.netlink.interfaces[name]._replace(**values)

    def alter_vf(self, interface: str, vf: int, **values: t.Any) -> None:
        """Change the attributes of a VF in the same way."""
        index = self.netlink.interfaces[interface].ifindex
        self.netlink.vfs[index][vf] = self.netlink.vfs[index][vf]._replace(**values)

    def files(self) -> dict[str, t.Any]:
        """Everything below the root: the content of files, the targets of links."""
        found: dict[str, t.Any] = {}
        for path in Path(self.root).rglob("*"):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            else:
                found[str(path)] = path.read_bytes() if path.is_file() else None
        return found

    def read_bytes(self, path: str) -> bytes | None:
        self._fail("read", path)
        return super().read_bytes(path)

    def write(self, path: str, value: str, *, seconds: float = 60) -> None:
        self.log.append(Event("write", path, value))
        self._fail("write", path)
        if stat.S_ISFIFO(os.stat(self.path(path)).st_mode):
            super().write(path, value, seconds=seconds)  # This blocks, as a driver can.
            return
        effects = {
            "sriov_numvfs": self._set_numvfs,
            "driver_override": self._set_override,
            "unbind": self._unbind,
            "drivers_probe": self._probe,
        }
        effects.get(os.path.basename(path), self.put)(path, value)

    def generic_dump(self, family: str, command: int) -> list[dict[int, bytes]] | None:
        return None

    def read_all(self, paths: t.Sequence[str]) -> list[str | None]:
        return [self.read(path) for path in paths]

    def write_in_turn(
        self, turns: t.Sequence[Turn], *, seconds: float = 60
    ) -> tuple[int, Exception | None]:
        for number, turn in enumerate(turns):
            try:
                for path, value in turn.writes:
                    self.write(path, value, seconds=seconds)
            except OSError as error:
                return number, error
            if self.link(turn.link) != turn.outcome:
                return number, None
        return len(turns), None

    def _helper_calls(
        self, seconds: float, calls: t.Sequence[_Call]
    ) -> tuple[list[t.Any], Exception | None]:
        answers: list[t.Any] = []
        for call in calls:
            if self._is_fifo(call.path):
                return super()._helper_calls(seconds, calls)
            try:
                answers.append(call.function(*call.arguments))
            except Exception as error:
                return answers, error
        return answers, None

    def _is_fifo(self, path: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return stat.S_ISFIFO(os.stat(self.path(path)).st_mode)
        return False

    def replace(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        self.log.append(Event("replace", path, content))
        self._fail("write", path)
        super().replace(path, content, mode=mode)

    def remove(self, path: str) -> None:
        self.log.append(Event("remove", path))
        super().remove(path)

    def _fail(self, action: str, path: str) -> None:
        number = self.faults.get((action, path))
        if number:
            raise OSError(number, os.strerror(number), path)

    def _set_numvfs(self, path: str, value: str) -> None:
        pf, count = path.split("/")[-2], int(value)
        base = f"{DEVICES}/{pf}"
        now = int(self.read(path) or 0)
        if count > int(self.read(f"{base}/sriov_totalvfs") or 0):
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE), path)
        if count == now:
            return
        if count and now:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        for name in self.names(base):
            if name.startswith("virtfn"):
                self._remove_function(self.link(f"{base}/{name}") or "")
                os.unlink(self.path(f"{base}/{name}"))
                self.between()
        addresses = self._vf_addresses[pf][:count]
        for vf, address in enumerate(addresses):
            self.add_function(address, device="0x10ca")
            self._link(f"{DEVICES}/{address}/physfn", base)
            self._link(f"{base}/virtfn{vf}", f"{DEVICES}/{address}")
            if self.read(f"{base}/sriov_drivers_autoprobe") == "1":
                self.bind(address, _VF_DRIVERS[self.driver(pf) or ""])
            self.between()
        # The kernel counts the VFs last, and tells of attributes by that count.
        self.put(path, value)
        if pf in self._pf_interfaces:
            index = self.netlink.interfaces[self._pf_interfaces[pf]].ifindex
            self.netlink.vfs[index] = dict.fromkeys(range(count), NEW_VF)

    def _set_override(self, path: str, value: str) -> None:
        self.put(path, value.strip() or "(null)")

    def _probe(self, path: str, address: str) -> None:
        driver = self.read(f"{DEVICES}/{address}/driver_override")
        if driver == "(null)":
            driver = self.native.get(address)
        if driver in self.names(DRIVERS) and address not in self.unprobed:
            self.bind(address, str(driver))

    def _bind(self, address: str, driver: str) -> None:
        self._link(f"{DEVICES}/{address}/driver", f"{DRIVERS}/{driver}")

    def _unbind(self, path: str, address: str) -> None:
        base = f"{DEVICES}/{address}"
        for name in self.names(f"{base}/net"):
            del self.netlink.interfaces[name]
            os.unlink(self.path(f"/sys/class/net/{name}"))
        shutil.rmtree(self.path(f"{base}/net"), ignore_errors=True)
        shutil.rmtree(self.path(f"{base}/vfio-dev"), ignore_errors=True)
        os.unlink(self.path(f"{base}/driver"))

    def _remove_function(self, address: str) -> None:
        if self.driver(address):
            self._unbind("", address)
        group = self.link(_group(address))
        if group:
            os.unlink(self.path(f"{GROUPS}/{group}/devices/{address}"))
        shutil.rmtree(os.path.realpath(self.path(f"{DEVICES}/{address}")))
        os.unlink(self.path(f"{DEVICES}/{address}"))

    def _link(self, path: str, target: str) -> None:
        """A symbolic link that is relative and ends with the name of its target, as in sysfs."""
        file = Path(self.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        directory, name = os.path.split(os.path.realpath(self.path(target)))
        file.symlink_to(os.path.join(os.path.relpath(directory, file.parent.resolve()), name))


def _accept(vf: int, name: str, value: t.Any) -> int:
    return 0


def _as_asked(vf: int, name: str, value: t.Any) -> t.Any:
    return value


def _nothing() -> None:
    pass


def ledger_entry(**fields: t.Any) -> VfEntry:
    """An entry of the ledger: VF 0 of ens1f0, which was nobody's, on VLAN 100 of alpha's eth1."""
    values = {"mac": "02:00:00:00:01:01", "vlan": 100, "qos": 0, "vlan_proto": "802.1Q"}
    entry = VfEntry(
        node="alpha",
        nic="eth1",
        pf_name="ens1f0",
        pf_mac="04:70:00:00:00:10",
        pf_address="0000:01:00.0",
        vf=0,
        address="0000:01:10.0",
        vlan=100,
        vlan_mode="vst",
        values={**values, "spoofchk": True, "trust": False},
        refused=[],
        driver="vfio-pci",
        state=READY,
        baseline=NEW_VF._asdict(),
        baseline_driver=None,
    )
    return entry._replace(**fields)


def config_space(*capabilities: tuple[int, bytes]) -> bytes:
    """A PCI configuration space of 4096 bytes whose extended capabilities are *capabilities*.

    Each is its number (include/uapi/linux/pci_regs.h) and the bytes behind its header.
    """
    space = bytearray(4096)
    offset = 0x100
    for number, (kind, body) in enumerate(capabilities, 1):
        behind = offset + 4 + (len(body) + 3 & ~3) if number < len(capabilities) else 0
        struct.pack_into("<I", space, offset, kind | 1 << 16 | behind << 20)
        space[offset + 4 : offset + 4 + len(body)] = body
        offset = behind
    return bytes(space)


def _group(address: str) -> str:
    return f"{DEVICES}/{address}/iommu_group"


def _vf_address(pf: str, index: int) -> str:
    """Where igb's VFs are: 128 behind the PF and every second one."""
    domain, bus, rest = pf.split(":")
    device, function = rest.split(".")
    routing_id = (int(bus, 16) << 8 | int(device, 16) << 3 | int(function)) + 128 + 2 * index
    return f"{domain}:{routing_id >> 8:02x}:{routing_id >> 3 & 31:02x}.{routing_id & 7}"
