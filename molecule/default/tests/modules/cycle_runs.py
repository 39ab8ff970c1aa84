# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give VFs to somebody who sends, and free them, again and again.

Usage: cycle_runs.py CYCLES MAC VLAN...

In each cycle the first VFs of the PF with the MAC, one for each VLAN, get the kernel's own driver,
send, and are freed. Prints the seconds that each cycle took, and the VFs' MACs, as JSON.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

sys.path.insert(0, "/run/library")

from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _assignment, _request  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host  # noqa: E402
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _pci  # noqa: E402

FRAMES = 5
_EXPERIMENTAL = 0x88B5  # the EtherType for local experiments (IEEE 802)
MZID = "cycles.hello.demo"


def send(host: Host, address: str) -> None:
    """Broadcast from the VF's interface, as a guest would."""
    base = f"{_pci.DEVICES}/{address}/net"
    assert host.wait_for(lambda: host.names(base), seconds=30), f"{address} has no interface"
    subprocess.run(["udevadm", "settle"], check=True)  # it renames the interface
    name = host.names(base)[0]
    subprocess.run(["ip", "link", "set", "dev", name, "up"], check=True)
    is_up = f"{base}/{name}/operstate"
    assert host.wait_for(lambda: host.read(is_up) == "up", seconds=30), f"{name} has no carrier"
    mac = bytes.fromhex((host.read(f"{base}/{name}/address") or "").replace(":", ""))
    frame = b"\xff" * 6 + mac + _EXPERIMENTAL.to_bytes(2, "big") + bytes(46)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((name, 0))
        for _frame in range(FRAMES):
            sender.send(frame)
    subprocess.run(["ip", "link", "set", "dev", name, "down"], check=True)


def main() -> None:
    cycles, mac, *vlans = sys.argv[1:]
    host = Host()
    claims = [
        _request.Claim(
            node="n",
            nic=f"eth{vf}",
            pf_name="pf",
            pf_mac=mac,
            vf=vf,
            mac=f"02:00:00:00:0c:{vf:02x}",
            vlan=int(vlan),
            mtu=None,
        )
        for vf, vlan in enumerate(vlans)
    ]
    policy = _request.Policy("igbvf")
    _assignment.run(host, MZID, [], policy)  # what an interrupted call left
    seconds = []
    for _cycle in range(int(cycles)):
        started = time.monotonic()
        for device in _assignment.run(host, MZID, claims, policy)["devices"]:
            send(host, device["pci_address"])
        _assignment.run(host, MZID, [], policy)
        seconds.append(round(time.monotonic() - started, 2))
    print(json.dumps({"seconds": seconds, "macs": [claim.mac for claim in claims]}))


if __name__ == "__main__":
    main()
