# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SSH connections that this host serves, one of which the operator's may be.

Sources: ssh(1) for SSH_CONNECTION; Documentation/networking/proc_net_tcp.rst of the Linux kernel.
"""

from __future__ import annotations

import ipaddress
import re
import struct
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_VARIABLE = b"SSH_CONNECTION="
# Since OpenSSH 9.8 a session has a program of its own.
_SERVER = re.compile(r"sshd(-session|-auth)?|dropbear")
_ESTABLISHED = "01"
_LISTENING = "0A"


class Connection(t.NamedTuple):
    """Both ends of a TCP connection; *server* is this host's.

    *elsewhere* tells that the server is in another network namespace than this process.
    """

    client: Address
    client_port: int
    server: Address
    server_port: int
    elsewhere: bool = False


class _Socket(t.NamedTuple):
    inode: str
    state: str
    connection: Connection


def connections(host: Host) -> list[Connection]:
    """The connection of this process or an ancestor, then those of all SSH servers.

    sudo knows its connection, but hides it from the process that it starts. A process that outlives
    its session, or that a service manager started, has no ancestor that knows. Only the servers
    tell its connection.
    """
    own = _of_ancestor(host)
    return list(dict.fromkeys([*([own] if own else []), *_of_servers(host)]))


def _of_ancestor(host: Host) -> Connection | None:
    process = "self"
    # The first process of a machine is nobody's session, and in a container cannot be looked into.
    while process not in ("0", "1"):
        try:
            environment = host.read_bytes(f"/proc/{process}/environ") or b""
        except (PermissionError, ProcessLookupError):
            environment = b""
        for entry in environment.split(b"\0"):
            if entry.startswith(_VARIABLE):
                return _parse(entry[len(_VARIABLE) :].decode(errors="replace"))
        status = host.read(f"/proc/{process}/status") or ""
        process = status.partition("\nPPid:")[2].partition("\n")[0].strip() or "0"
    return None


def _parse(value: str) -> Connection | None:
    """A value of SSH_CONNECTION; sshd writes UNKNOWN into it if it serves no IP socket."""
    try:
        client, client_port, server, server_port = value.split()
        return Connection(_address(client), int(client_port), _address(server), int(server_port))
    except ValueError:
        return None


def _address(text: str) -> Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _of_servers(host: Host) -> t.Iterator[Connection]:
    here = host.target("/proc/self/ns/net")
    sockets: dict[str | None, list[_Socket]] = {}
    for process in filter(str.isdecimal, host.names("/proc")):
        base = f"/proc/{process}"
        try:
            if not _SERVER.fullmatch(host.read(f"{base}/comm") or ""):
                continue
            namespace = host.target(f"{base}/ns/net")
            if namespace not in sockets:
                sockets[namespace] = _sockets(host, base, elsewhere=namespace != here)
            opened = {host.target(f"{base}/fd/{name}") for name in host.names(f"{base}/fd")}
        except (PermissionError, ProcessLookupError):
            continue
        # If a client forwards a port, its server makes a connection itself. That is no session.
        ports = {
            socket.connection.server_port
            for socket in sockets[namespace]
            if socket.state == _LISTENING
        }
        for socket in sockets[namespace]:
            if (
                socket.state == _ESTABLISHED
                and socket.connection.server_port in ports
                and f"socket:[{socket.inode}]" in opened
            ):
                yield socket.connection


def _sockets(host: Host, process: str, *, elsewhere: bool) -> list[_Socket]:
    """The TCP sockets in the network namespace of *process*."""
    sockets = []
    for name in ("tcp", "tcp6"):
        for line in (host.read(f"{process}/net/{name}") or "").splitlines()[1:]:
            columns = line.split()
            server, server_port = _end(columns[1])
            client, client_port = _end(columns[2])
            sockets.append(
                _Socket(
                    inode=columns[9],
                    state=columns[3],
                    connection=Connection(client, client_port, server, server_port, elsewhere),
                )
            )
    return sockets


def _end(text: str) -> tuple[Address, int]:
    """An end of a socket: each word of its address is in the byte order of the host."""
    address, _colon, port = text.partition(":")
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return _address(str(ipaddress.ip_address(packed))), int(port, 16)
