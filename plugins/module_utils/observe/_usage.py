# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who uses a PCI function: the proof that one may be unbound, reset or destroyed."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger, _nodes, _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import Link


# How the workers of systemd-udevd name themselves before systemd 252, and since then.
_UDEV = ("systemd-udevd", "(udev-worker)")
_UDEV_SECONDS = 10

# What the kernel adds to the name of an open file that has been removed.
_DELETED = " (deleted)"


class Opened(t.NamedTuple):
    """A file that a process has open: its path, the name of the program, the process as text."""

    path: str
    by: str
    process: str


def holders(
    host: Host,
    addresses: t.Collection[str],
    *,
    own: t.Container[str] = (),
    ledger: _ledger.Ledger | None = None,
    known: t.Iterable[_pci.Device] = (),
) -> dict[str, list[str]]:
    """Who uses the PCI functions *addresses*, as text, by address, without the unused ones.

    A materialization uses its VFs even before its guests run. Those with the ids *own* do not
    count. *ledger* is the ledger of the host, and *known* are functions, if the caller has read
    them already. Raises `SriovError` if nobody can tell the use.
    """
    if ledger is None:
        ledger = _ledger.read(host)
    found: dict[str, list[str]] = {address: [] for address in addresses}
    for address, text in holdings(host, ledger, own) if found else ():
        if address in found:
            found[address].append(text)
    devices = {device.address: device for device in known if device.address in found}
    unknown = [address for address in found if address not in devices]
    devices.update(zip(unknown, _pci.read_devices(host, unknown)))
    for address, texts in users(host, [devices[address] for address in found]).items():
        found[address] += texts
    return {address: texts for address, texts in found.items() if texts}


class UsedVf(t.NamedTuple):
    """VF number *vf* of the PF at *pf*, itself at *address*, and who uses it, as text.

    The number is `None` while the kernel takes the VF away, which waits for its user. A whole
    function has its own address as *pf*, and no number.
    """

    pf: str
    vf: int | None
    address: str
    users: list[str]

    @property
    def lines(self) -> list[str]:
        """One sentence for each user."""
        if self.pf == self.address:
            return [f"function {self.address}: {user}" for user in self.users]
        name = self.address if self.vf is None else f"{self.vf} ({self.address})"
        return [f"VF {name} of PF {self.pf}: {user}" for user in self.users]


def used_vfs(host: Host, pfs: t.Iterable[_pci.PF]) -> list[UsedVf]:
    """The VFs of *pfs* that somebody uses or holds; raises `SriovError` as `holders`."""
    pfs = list(pfs)
    used = holders(host, [address for pf in pfs for address in pf.vfs])
    return [
        UsedVf(pf.address, vf, address, used[address])
        for pf in pfs
        for vf, address in enumerate(pf.vfs)
        if address in used
    ]


def used_nic_vfs(host: Host) -> list[UsedVf]:
    """The VFs of all NICs of *host* that somebody uses or holds; raises as `holders`.

    The kernel takes away the link of a PF to its VF before the VF (sriov_del_vfs()), so these are
    found by their own link. VFs of other devices, such as accelerators, count if VFIO has them, and
    whole functions that a materialization has. What is gone of the ledger does not count: nobody
    can lose it.
    """
    ledger = _ledger.read(host)
    whole = [
        entry.address
        for _mzid, entry in _ledger.functions(ledger)
        if host.exists(f"{_pci.DEVICES}/{entry.address}")
    ]
    vfs = [address for address in _pci.devices(host) if _is_nic_vf(host, address)]
    used = holders(host, [*vfs, *whole], ledger=ledger)
    found = []
    for address in used:
        if address in whole:
            found.append(UsedVf(address, None, address, used[address]))
            continue
        pf = host.link(f"{_pci.DEVICES}/{address}/physfn") or ""
        links = [name for name in host.names(f"{_pci.DEVICES}/{pf}") if name.startswith("virtfn")]
        numbers = [
            int(name[len("virtfn") :])
            for name in links
            if host.link(f"{_pci.DEVICES}/{pf}/{name}") == address
        ]
        found.append(UsedVf(pf, numbers[0] if numbers else None, address, used[address]))
    return found


def _is_nic_vf(host: Host, address: str) -> bool:
    return _pci.is_vf(host, address) and (
        _pci.read_identity(host, address).device_class.startswith(_pci.NETWORK_CLASS)
        or "vfio" in (_pci.read_device(host, address).driver or "")
    )


def users(host: Host, devices: t.Iterable[_pci.Device]) -> dict[str, list[str]]:
    """Who on this host works with one of *devices*, in the form of `holders`."""
    found: dict[str, list[str]] = {}
    handles: dict[str, list[str]] = {}
    with_kernel: list[_pci.Device] = []
    for device in devices:
        paths = _vfio_paths(host, device) if device.driver else _left_paths(device)
        for path in paths:
            handles.setdefault(path, []).append(device.address)
        if device.driver and not paths:
            with_kernel.append(device)
    if with_kernel:
        links = {link.name: link for link in host.netlink.links()}
        ips = host.netlink.addresses()
        behind = _interfaces_behind(host, links)
        for device in with_kernel:
            own = host.names(f"{_pci.DEVICES}/{device.address}/net")
            names = list(dict.fromkeys([*own, *behind.get(device.address, ())]))
            if names or _is_network(host, device.address):
                found[device.address] = _kernel_use(host, device, names, links, ips)
            else:
                found[device.address] = _vdpa(host, device.address)
    addresses = [device.address for device in with_kernel]
    for address, nodes in _nodes.of_functions(host, addresses).items():
        found[address] += _nodes.storage(host, nodes)
        for node in nodes:
            handles.setdefault(node.path, []).append(address)
    for opened in _lasting(host, handles) if handles else ():
        for address in handles[opened.path]:
            path = opened.path[: -len(_DELETED)] if opened.path.endswith(_DELETED) else opened.path
            found.setdefault(address, []).append(f"{opened.process} has {path} open")
    return {address: texts for address, texts in found.items() if texts}


def _interfaces_behind(host: Host, names: t.Iterable[str]) -> dict[str, list[str]]:
    """The interfaces by each PCI function on their way, also behind a bus of its own (USB)."""
    found: dict[str, list[str]] = {}
    for name in names:
        for part in (host.target(f"/sys/class/net/{name}") or "").split("/"):
            if _pci.is_address(part):
                found.setdefault(part, []).append(name)
    return found


def holdings(
    host: Host, ledger: _ledger.Ledger, own: t.Container[str]
) -> t.Iterator[tuple[str, str]]:
    """The addresses of the devices that materializations other than *own* have, and for whom."""
    for holder, whole in _ledger.functions(ledger):
        if holder not in own:
            yield whole.address, f"materialization {holder} {whole.has} it for {whole.guest}"
    had = [
        (holder, entry)
        for holder, entries in _ledger.vfs(ledger).items()
        for entry in entries
        if holder not in own
    ]
    links = host.netlink.links() if had else []
    pfs: dict[str, _pci.PF] = {}
    for mac in {entry.pf_mac for _holder, entry in had}:
        with contextlib.suppress(SriovError):
            pfs[mac] = _pci.find_pf(host, mac, links)
    for holder, entry in had:
        pf = pfs.get(entry.pf_mac)
        address = pf.vfs[entry.vf] if pf and entry.vf < len(pf.vfs) else None
        if address != entry.address and remains(host, entry, pf, links):
            address = entry.address
        if address is not None:
            yield address, f"materialization {holder} {entry.has} it for {entry.node}.{entry.nic}"


def remains(
    host: Host, entry: _ledger.VfEntry, pf: _pci.PF | None, links: t.Iterable[Link]
) -> bool:
    """Whether the VF of *entry*, which its PF does not show, is still a function on PCI.

    *pf* is the PF. It is `None` if no interface here has the PF's MAC, because its driver is gone
    or its interface is in another network namespace. It can then also be another PF of the same
    MAC.
    """
    if pf and entry.address in pf.vfs:
        return False  # It is another VF of the PF by now.
    pf_address = host.link(f"{_pci.DEVICES}/{entry.address}/physfn")
    if pf_address is None or pf_address not in (entry.pf_address, pf and pf.address):
        return False
    names = _pci.interfaces(host, pf_address)
    macs = {link.permanent_mac for link in links if link.name in names}
    # With another MAC it is another card, in the slot of the one that had the VF.
    return not macs or entry.pf_mac in macs


def stranded(host: Host, entry: _ledger.VfEntry, pf: _pci.PF | None) -> t.Iterator[str]:
    """Why the VF of *entry* remains although its PF is not where it was; nothing if it is gone.

    *pf* is as `remains` takes it.
    """
    if remains(host, entry, pf, host.netlink.links()):
        using = users(host, [_pci.read_device(host, entry.address)]).get(entry.address, [])
        other = f"; that of PF {pf.address} is the same" if pf else ""
        yield "; ".join(
            [
                f"VF {entry.address} is still there, but no interface here has the MAC "
                f"{entry.pf_mac} of PF {entry.pf_name} at {entry.pf_address}{other}: load its "
                "driver, or move its interface back from the network namespace where it is, and "
                "run this again",
                *using,
            ]
        )


def _vfio_paths(host: Host, device: _pci.Device) -> list[str]:
    """The character devices that give a process the function, if a VFIO driver has it.

    A variant driver such as mlx5_vfio_pci does the same as vfio-pci, so the name of the driver does
    not tell.
    """
    paths = [
        f"/dev/vfio/devices/{name}"
        for name in host.names(f"{_pci.DEVICES}/{device.address}/vfio-dev")
    ]
    if device.iommu_group and "vfio" in (device.driver or ""):
        paths.append(f"/dev/vfio/{device.iommu_group}")
    return paths


def _left_paths(device: _pci.Device) -> list[str]:
    """The files of *device*, which shows no driver, that a process may still have open.

    The kernel hides a driver before the driver lets go (__device_release_driver()). VFIO removes
    the name of the group and lets go after its last user. Until then the guest goes on.
    """
    return [f"/dev/vfio/{device.iommu_group}{_DELETED}"] if device.iommu_group else []


def _vdpa(host: Host, address: str) -> list[str]:
    vdpa = set(host.names("/sys/bus/vdpa/devices"))
    names = host.names(f"{_pci.DEVICES}/{address}") if vdpa else ()
    return [f"the vDPA device {name} is on it" for name in names if name in vdpa]


def _is_network(host: Host, address: str) -> bool:
    identity = _pci.read_identity(host, address)
    return identity.device_class.startswith(_pci.NETWORK_CLASS)


def _kernel_use(
    host: Host,
    device: _pci.Device,
    names: t.Sequence[str],
    links: t.Mapping[str, Link],
    ips: t.Mapping[int, t.Sequence[str]],
) -> list[str]:
    texts = _vdpa(host, device.address)
    if not names and not texts:
        return [
            f"driver {device.driver} has it without a network interface here "
            "(another network namespace, or no network device)"
        ]
    for name in names:
        upper = [
            entry[len("upper_") :]
            for entry in host.names(f"/sys/class/net/{name}")
            if entry.startswith("upper_")
        ]
        if upper:
            texts.append(f"interface {name} is part of {', '.join(upper)}")
        elif name in links and links[name].up:
            texts.append(f"interface {name} is up")
        elif name in links and links[name].ifindex in ips:
            texts.append(f"interface {name} has {', '.join(ips[links[name].ifindex])}")
    return texts


def openers_of(host: Host, paths: t.Container[str]) -> dict[str, list[str]]:
    """Who has which of the files *paths* open, as text, by path; raises as `holders`."""
    found: dict[str, list[str]] = {}
    for opened in _lasting(host, paths):
        found.setdefault(opened.path, []).append(f"{opened.process} has {opened.path} open")
    return found


def openers_of_removed(host: Host, path: str | None) -> list[str]:
    """Who has the file *path* open, even if the kernel has removed its name by now."""
    opened = _open_files(host, {path, f"{path}{_DELETED}"}) if path else ()
    return [f"{item.process} has {path} open" for item in opened]


def _lasting(host: Host, paths: t.Container[str]) -> list[Opened]:
    """Who has one of *paths* open, after udev has closed those that it opens for a moment."""
    found: list[Opened] = []

    def settled() -> bool:
        found[:] = _open_files(host, paths)
        return not any(opened.by in _UDEV for opened in found)

    host.wait_for(settled, seconds=_UDEV_SECONDS)
    return found


def _open_files(host: Host, paths: t.Container[str]) -> t.Iterator[Opened]:
    for pid in host.names("/proc"):
        if not pid.isdigit():
            continue
        try:
            opened = {
                path
                for number in host.names(f"/proc/{pid}/fd")
                for path in [host.target(f"/proc/{pid}/fd/{number}")]
                if path is not None and path in paths
            }
            if not opened:
                continue
            name = host.read(f"/proc/{pid}/comm")
            guest = _guest(host.read_bytes(f"/proc/{pid}/cmdline") or b"")
        except ProcessLookupError:  # it ended while we looked
            continue
        except PermissionError as error:
            raise SriovError(
                f"what process {pid} has open cannot be read, so nothing is proven unused: "
                "run as root"
            ) from error
        for path in opened:
            yield Opened(path, name or "", f"process {pid} ({name}{guest})")


def _guest(command_line: bytes) -> str:
    """The guest that a QEMU runs, by its `-name`, which libvirt gives as `guest=NAME,...`."""
    words = command_line.decode(errors="replace").split("\0")
    if "-name" not in words[:-1]:
        return ""
    value = words[words.index("-name") + 1].split(",")[0]
    return f", guest {value[len('guest=') :] if value.startswith('guest=') else value}"


def openers(host: Host, device: _pci.Device) -> t.Callable[[], list[str]]:
    """A function that tells who has *device* open, even after its files have lost their names.

    The kernel removes the names when the driver is to let go, before it waits for the last user.
    """
    paths = _vfio_paths(host, device) if device.driver else []
    names = {name: path for path in paths for name in (path, f"{path}{_DELETED}")}

    def look() -> list[str]:
        opened = _open_files(host, names) if names else ()
        return [f"{item.process} has {names[item.path]} open" for item in opened]

    return look
