# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who uses a VF: the proof that one may be unbound, reset or destroyed."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _ledger, _pci
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host
    from ansible_collections.mergetb.sriov.plugins.module_utils._netlink import Link


# How the workers of systemd-udevd name themselves, before and since systemd 252.
_UDEV = ("systemd-udevd", "(udev-worker)")
_UDEV_SECONDS = 10


class Opened(t.NamedTuple):
    """A file that a process has open: its path, the name of the program, the process as text."""

    path: str
    by: str
    process: str


def holders(
    host: Host, addresses: t.Collection[str], *, own: t.Container[str] = ()
) -> dict[str, list[str]]:
    """Who uses the PCI functions *addresses*, as text, by address; unused ones are left out.

    A materialization uses its VFs also before its guests run; those of the ids *own* do not count.
    Raises `SriovError` where the use cannot be told.
    """
    found: dict[str, list[str]] = {address: [] for address in addresses}
    for address, text in _claims(host, own) if found else ():
        if address in found:
            found[address].append(text)
    for address, texts in users(
        host, [_pci.read_device(host, address) for address in found]
    ).items():
        found[address] += texts
    return {address: texts for address, texts in found.items() if texts}


def users(host: Host, devices: t.Iterable[_pci.Device]) -> dict[str, list[str]]:
    """Who on this host has one of *devices* at work, as `holders` tells it."""
    found: dict[str, list[str]] = {}
    handles: dict[str, list[str]] = {}
    with_kernel = []
    for device in devices:
        paths = _vfio_paths(host, device) if device.driver else []
        for path in paths:
            handles.setdefault(path, []).append(device.address)
        if device.driver and not paths:
            with_kernel.append(device)
    if with_kernel:
        links = {link.name: link for link in host.netlink.links()}
        ips = host.netlink.addresses()
        for device in with_kernel:
            found[device.address] = _kernel_use(host, device, links, ips)
    for opened in _lasting(host, handles) if handles else ():
        for address in handles[opened.path]:
            found.setdefault(address, []).append(f"{opened.process} has {opened.path} open")
    return {address: texts for address, texts in found.items() if texts}


def _claims(host: Host, own: t.Container[str]) -> t.Iterator[tuple[str, str]]:
    """The addresses of the VFs that materializations other than *own* hold, and for whom."""
    held = [
        (holder, entry)
        for holder, entries in _ledger.read(host).items()
        for entry in entries
        if holder not in own
    ]
    links = host.netlink.links() if held else []
    vfs: dict[str, tuple[str, ...]] = {}
    for mac in {entry.pf_mac for _holder, entry in held}:
        # Where the PF is gone, its VFs are with it.
        with contextlib.suppress(SriovError):
            vfs[mac] = _pci.find_pf(host, mac, links).vfs
    for holder, entry in held:
        if entry.vf < len(vfs.get(entry.pf_mac, ())):
            yield (
                vfs[entry.pf_mac][entry.vf],
                f"materialization {holder} holds it for {entry.node}.{entry.nic}",
            )


def _vfio_paths(host: Host, device: _pci.Device) -> list[str]:
    """The character devices that give a process the function, where a VFIO driver has it.

    A variant driver such as mlx5_vfio_pci serves as vfio-pci does, so the name of the driver does
    not tell.
    """
    paths = [
        f"/dev/vfio/devices/{name}"
        for name in host.names(f"{_pci.DEVICES}/{device.address}/vfio-dev")
    ]
    if device.iommu_group and "vfio" in (device.driver or ""):
        paths.append(f"/dev/vfio/{device.iommu_group}")
    return paths


def _kernel_use(
    host: Host,
    device: _pci.Device,
    links: t.Mapping[str, Link],
    ips: t.Mapping[int, t.Sequence[str]],
) -> list[str]:
    base = f"{_pci.DEVICES}/{device.address}"
    texts = [
        f"the vDPA device {name} is on it" for name in host.names(base) if name.startswith("vdpa")
    ]
    names = host.names(f"{base}/net")
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
        elif name in links and links[name].index in ips:
            texts.append(f"interface {name} has {', '.join(ips[links[name].index])}")
    return texts


def _lasting(host: Host, paths: t.Container[str]) -> list[Opened]:
    """Who has one of *paths* open, once udev, which opens new devices for a moment, is done."""
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
                host.target(f"/proc/{pid}/fd/{number}") for number in host.names(f"/proc/{pid}/fd")
            }
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
            if path is not None and path in paths:
                yield Opened(path, name or "", f"process {pid} ({name}{guest})")


def _guest(command_line: bytes) -> str:
    """The guest that a QEMU runs, by its `-name`, which libvirt gives as `guest=NAME,...`."""
    words = command_line.decode(errors="replace").split("\0")
    if "-name" not in words[:-1]:
        return ""
    value = words[words.index("-name") + 1].split(",")[0]
    return f", guest {value[len('guest=') :] if value.startswith('guest=') else value}"
