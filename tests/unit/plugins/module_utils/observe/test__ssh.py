# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ssh
from ansible_collections.mergetb.sriov.plugins.module_utils.observe._ssh import Connection
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Machine

OWN = Connection(ip_address("10.9.0.1"), 5555, ip_address("10.0.0.2"), 22)
# The kernel prints the words of an address as numbers of the byte order of this processor.
HERE, FAR = "0200000A", "0100090A"
FAR_PORT = "15B3"


@pytest.fixture
def host(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.put("/proc/self/environ", "A=1\0")
    machine.put("/proc/self/status", "Name:\tpython3\nPPid:\t42\nUid:\t0\n")
    machine.put("/proc/42/environ", "SUDO_USER=operator\0")
    machine.put("/proc/42/status", "Name:\tsudo\nPPid:\t1\n")
    machine.put("/proc/1/status", "Name:\tinit\nPPid:\t0\n")
    namespace(machine, "self", 1)
    return machine


def namespace(host: Machine, process: str, number: int) -> None:
    os.makedirs(host.path(f"/proc/{process}/ns"))
    os.symlink(f"net:[{number}]", host.path(f"/proc/{process}/ns/net"))


def server(
    host: Machine, *sockets: tuple[str, str, str, int], name: str = "sshd", ns: int = 1
) -> None:
    """Process 7, a server with *sockets*: local and remote end, state, inode."""
    host.add_process(7, name, "/dev/null", *(f"socket:[{inode}]" for *_ends, inode in sockets))
    namespace(host, "7", ns)
    lines = [
        f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 "
        f"{inode} 1 0000000000000000 100 0 0 10 0"
        for local, remote, state, inode in sockets
    ]
    host.put("/proc/7/net/tcp", "\n".join(["  sl  local_address rem_address   st", *lines]))
    host.put("/proc/7/net/tcp6", "  sl  local_address\n")


LISTENING = ("00000000:0016", "00000000:0000", "0A", 100)
SESSION = (f"{HERE}:0016", f"{FAR}:{FAR_PORT}", "01", 101)


def test_no_connection(host: Machine) -> None:
    assert _ssh.connections(host) == []


def test_the_connection_of_an_ancestor(host: Machine) -> None:
    host.put("/proc/42/environ", "A=1\0SSH_CONNECTION=10.9.0.1 5555 10.0.0.2 22\0B=2\0")
    assert _ssh.connections(host) == [OWN]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESRCH])
def test_an_ancestor_that_cannot_be_looked_into(host: Machine, number: int) -> None:
    host.put("/proc/42/status", "Name:\tsudo\nPPid:\t41\n")
    host.put("/proc/41/environ", "SSH_CONNECTION=10.9.0.1 5555 10.0.0.2 22\0")
    host.faults["read", "/proc/42/environ"] = number
    assert _ssh.connections(host) == [OWN]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "UNKNOWN 65535 UNKNOWN 65535",
        "10.9.0.1",
        "--help 1 --help 2",
        "10.9.0.1 -x 10.0.0.2 22",
        "10.9.0.1 1 10.0.0.2 22 5",
    ],
)
def test_no_connection_of_ip(host: Machine, value: str) -> None:
    host.put("/proc/self/environ", f"SSH_CONNECTION={value}\0")
    assert _ssh.connections(host) == []


def test_a_link_local_connection_keeps_its_interface(host: Machine) -> None:
    host.put("/proc/self/environ", "SSH_CONNECTION=fe80::1%eth0 1 fe80::2%eth0 22\0")
    [connection] = _ssh.connections(host)
    assert str(connection.client) == "fe80::1%eth0"
    assert str(connection.server) == "fe80::2%eth0"


@pytest.mark.parametrize("name", ["sshd", "sshd-session", "dropbear"])
def test_the_sessions_of_a_server(host: Machine, name: str) -> None:
    server(host, LISTENING, SESSION, name=name)
    assert _ssh.connections(host) == [OWN]


def test_a_connection_that_is_found_twice(host: Machine) -> None:
    host.put("/proc/42/environ", "SSH_CONNECTION=10.9.0.1 5555 10.0.0.2 22\0")
    server(host, LISTENING, SESSION)
    assert _ssh.connections(host) == [OWN]


def test_other_sockets_are_no_sessions(host: Machine) -> None:
    """A forwarded port, a session that ends, and what another program has."""
    forwarded = (f"{HERE}:9C40", f"{FAR}:0016", "01", 102)
    ending = (f"{HERE}:0016", f"{FAR}:{FAR_PORT}", "08", 103)
    server(host, LISTENING, forwarded, ending)
    assert _ssh.connections(host) == []
    server_of_web = (f"{HERE}:0016", f"{FAR}:{FAR_PORT}", "01", 104)
    os.rename(host.path("/proc/7"), host.path("/proc/6"))
    server(host, LISTENING, server_of_web, name="nginx")
    assert _ssh.connections(host) == []


def test_a_server_in_another_network_namespace(host: Machine) -> None:
    server(host, LISTENING, SESSION, ns=2)
    assert _ssh.connections(host) == [OWN._replace(elsewhere=True)]


def test_ipv6_and_ipv4_at_one_socket(host: Machine) -> None:
    server(host, ("0" * 32 + ":0016", "0" * 32 + ":0000", "0A", 100), SESSION)
    six = [
        "  sl  local_address",
        f"  0: {'0' * 32}:0016 {'0' * 32}:0000 0A 0:0 0:0 0 0 0 100 1",
        f"  1: 0000000000000000FFFF0000{HERE}:0016 0000000000000000FFFF0000{FAR}:{FAR_PORT} 01 "
        "0:0 0:0 0 0 0 101 1",
        f"  2: B80D0120000000000000000002000000:0016 B80D0120000000000000000001000000:{FAR_PORT} "
        "01 0:0 0:0 0 0 0 102 1",
    ]
    host.put("/proc/7/net/tcp", "  sl  local_address\n")
    host.put("/proc/7/net/tcp6", "\n".join(six))
    os.symlink("socket:[102]", host.path("/proc/7/fd/9"))
    assert _ssh.connections(host) == [
        OWN,
        Connection(ip_address("2001:db8::1"), 5555, ip_address("2001:db8::2"), 22),
    ]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESRCH])
def test_a_server_that_cannot_be_looked_into(host: Machine, number: int) -> None:
    server(host, LISTENING, SESSION)
    host.faults["read", "/proc/7/net/tcp"] = number
    assert _ssh.connections(host) == []
