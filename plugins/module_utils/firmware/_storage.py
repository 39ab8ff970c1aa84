# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices carry storage of this host over the network.

A connected disk counts whether or not it is mounted here: it may be swap, part of a volume, or a
guest's. For what is mounted from a server, the addresses that the kernel shows name the server.

Sources: Documentation/ABI in the Linux kernel, drivers/scsi/scsi_transport_iscsi.c and
drivers/nvme/host/sysfs.c for the files; proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

_NETWORK_FILE_SYSTEMS = (
    *("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "afs", "beegfs", "gpfs", "glusterfs"),
    *("fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"),
)
_NETWORK_TRANSPORTS = ("tcp", "rdma")
_SERVER_OPTIONS = ("addr", "mountaddr", "mon_addr")
# No file tells the server of these disks.
_OTHER_DISKS = re.compile(r"(rbd|drbd)\d+")


class _Need(t.NamedTuple):
    """Storage *what*: from IP addresses *servers* to *own*, or through *interfaces*."""

    what: str
    servers: t.Sequence[str]
    own: t.Sequence[str] = ()
    interfaces: t.Sequence[str] = ()


def devices(host: Host) -> tuple[dict[str, str], list[str]]:
    """The PCI addresses of these devices, each with what comes through it, and what is unknown.

    A VF counts as its PF. The second part lists the storage that comes over the network on a way
    that nobody can tell.
    """
    found: dict[str, str] = {}
    unknown = []
    needs = [*_iscsi(host), *_nvme(host), *_mounts(host), *_other_disks(host)]
    owners = _owners(host) if needs else {}
    for need in needs:
        routes = [_ways(host, server) for server in need.servers]
        own = [owners[address] for address in need.own if address in owners]
        ways = {*need.interfaces, *own, *(way for route in routes for way in route)}
        lost = [] if ways and all(routes) else ["the network"]
        for way in sorted(ways):
            function = _pci.function_of_interface(host, way)
            if function:
                address = host.link(f"{_pci.DEVICES}/{function}/physfn") or function
                found.setdefault(address, f"{need.what} comes through {way}")
            elif _is_tunnel(host, way):
                lost.append(way)
        if lost:
            unknown.append(
                f"{need.what} comes through {' and '.join(lost)}, and nobody can tell by which NIC"
            )
    return found, unknown


def _owners(host: Host) -> dict[str, str]:
    """The interface that has each IP address."""
    addresses = host.netlink.addresses()
    return {
        address.partition("/")[0]: link.name
        for link in host.netlink.links()
        for address in addresses.get(link.ifindex, ())
    }


def _ways(host: Host, server: str) -> list[str]:
    """The interfaces of the routes to *server*."""
    address, _percent, scope = server.partition("%")
    if scope:
        return [scope]
    done = host.run(["ip", "-json", "route", "get", address])
    routes = json.loads(done.out or "[]") if done.rc == 0 else []
    hops = [hop for route in routes for hop in route.get("nexthops", [route])]
    return [hop["dev"] for hop in hops if "dev" in hop]


def _is_tunnel(host: Host, interface: str) -> bool:
    """Whether nothing shows where *interface* leads: neither a device nor a lower interface.

    What lies over other interfaces, such as a bond, leads where they do.
    """
    base = f"/sys/class/net/{interface}"
    virtual = "/virtual/" in (host.target(base) or "/virtual/")
    lower = any(name.startswith("lower_") for name in host.names(base))
    return virtual and not lower and interface != "lo"


def _iscsi(host: Host) -> t.Iterator[_Need]:
    base = "/sys/class/iscsi_connection"
    for name in host.names(base):
        # The present address of the portal, and the one that the session began with.
        now, first, local = (
            _shown(host, f"{base}/{name}/{file}")
            for file in ("address", "persistent_address", "local_ipaddr")
        )
        portal = now or first
        yield _Need(f"the iSCSI {name} to {portal}", _ips(portal or ""), _ips(local or ""))


def _shown(host: Host, path: str) -> str | None:
    """The text of *path*; `None` if it has none, as for a connection that is lost."""
    try:
        return host.read(path)
    except OSError:
        return None


def _nvme(host: Host) -> t.Iterator[_Need]:
    base = "/sys/class/nvme"
    for name in host.names(base):
        transport = host.read(f"{base}/{name}/transport")
        if transport in _NETWORK_TRANSPORTS:
            given = _options(host.read(f"{base}/{name}/address") or "")
            yield _Need(
                f"the NVMe controller {name} ({transport}) of {given.get('traddr')}",
                _ips(given.get("traddr", "")),
                _ips(given.get("src_addr", "") or given.get("host_traddr", "")),
                [given["host_iface"]] if "host_iface" in given else [],
            )


def _mounts(host: Host) -> t.Iterator[_Need]:
    for line in (host.read("/proc/self/mountinfo") or "").splitlines():
        left, _separator, right = line.partition(" - ")
        where, (kind, source, options) = left.split(" ")[4], right.split(" ", 2)
        given = _options(options)
        if kind in _NETWORK_FILE_SYSTEMS or given.get("trans") in _NETWORK_TRANSPORTS:
            servers = [ip for name in _SERVER_OPTIONS for ip in _ips(given.get(name, ""))]
            name = "the root file system" if where == "/" else f"the file system {_plain(where)}"
            yield _Need(f"{name} ({kind}, {_plain(source)})", servers or _ips(source))


def _other_disks(host: Host) -> t.Iterator[_Need]:
    for name in host.names("/sys/block"):
        # ATA over Ethernet names its interfaces; the others name nothing.
        interfaces = (host.read(f"/sys/block/{name}/netif") or "").replace(",", " ").split()
        nbd = name.startswith("nbd") and host.exists(f"/sys/block/{name}/pid")
        if interfaces or nbd or _OTHER_DISKS.fullmatch(name):
            yield _Need(f"the disk {name}", [], interfaces=interfaces)


def _options(text: str) -> dict[str, str]:
    pairs = (option.partition("=") for option in text.split(","))
    return {name: value for name, equals, value in pairs if equals}


def _plain(text: str) -> str:
    """*text* of mountinfo without its octal escapes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _ips(text: str) -> list[str]:
    """The IP addresses in *text*, between slashes and commas, some with ports."""
    found = []
    for word in re.split(r"[,/=@\[\]\s]+", text):
        bare = word.rstrip(":")
        for candidate in (word, bare, bare.rpartition(":")[0]):
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                continue
            found.append(candidate)
            break
    return found
