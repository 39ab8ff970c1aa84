# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices the operator reaches the host through.

They carry a default route, or the route back to the SSH client that runs this module: directly, or
as a port of a bridge, a member of a bond or the lower device of a VLAN.
"""

from __future__ import annotations

import ipaddress
import json
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils import _pci
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils._host import Host

_SSH_CONNECTION = b"SSH_CONNECTION="


def devices(host: Host) -> dict[str, str]:
    """The PCI addresses of these devices, each with what it carries; of a VF, its PF's address."""
    found: dict[str, str] = {}
    for interface, route in _routes(host).items():
        for name in _lowest(host, interface):
            function = _pci.function_of_interface(host, name)
            if function is not None:
                address = host.link(f"{_pci.DEVICES}/{function}/physfn") or function
                through = "" if name == interface else f" of {interface}"
                found.setdefault(address, f"{name} carries {route}{through}")
    return found


def ssh_client(host: Host) -> str | None:
    """The address of the SSH client that this process, or an ancestor, was started for.

    sudo hides SSH_CONNECTION from what it starts, but has it itself.
    """
    process = "self"
    # The first process of a machine is nobody's session, and in a container cannot be looked into.
    while process not in ("0", "1"):
        environment = host.read_bytes(f"/proc/{process}/environ") or b""
        for entry in environment.split(b"\0"):
            if entry.startswith(_SSH_CONNECTION):
                return entry[len(_SSH_CONNECTION) :].decode().partition(" ")[0]
        status = host.read(f"/proc/{process}/status") or ""
        process = status.partition("\nPPid:")[2].partition("\n")[0].strip() or "0"
    return None


def _routes(host: Host) -> dict[str, str]:
    """The interfaces of these routes, each with the name of its route."""
    found: dict[str, str] = {}
    address, _percent, scope = (ssh_client(host) or "").partition("%")
    back = f"the route to the SSH client {address}"
    if scope:
        found[scope] = back
    elif _is_ip(address):
        done = host.run(["ip", "-json", "route", "get", address])
        # A client that cannot be reached has gone.
        for interface in _interfaces(done.out if done.rc == 0 else ""):
            found.setdefault(interface, back)
    for family in ("-4", "-6"):
        done = host.run(["ip", "-json", family, "route", "show", "table", "all", "default"])
        if done.rc:
            raise SriovError(f"the default routes cannot be read: {done.err.strip()}")
        for interface in _interfaces(done.out):
            found.setdefault(interface, "a default route")
    return found


def _is_ip(text: str) -> bool:
    """Whether *text* is an IP address; sshd says UNKNOWN where it serves no IP socket."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _interfaces(routes: str) -> list[str]:
    """The interfaces of the routes that `ip -json` printed."""
    hops = [hop for route in json.loads(routes or "[]") for hop in route.get("nexthops", [route])]
    return [hop["dev"] for hop in hops if "dev" in hop]


def _lowest(host: Host, interface: str) -> list[str]:
    """The interfaces at the bottom of *interface*, itself where it lies on none."""
    lower = [
        name[len("lower_") :]
        for name in host.names(f"/sys/class/net/{interface}")
        if name.startswith("lower_")
    ]
    return [below for name in lower for below in _lowest(host, name)] or [interface]
