# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that was restarted while guests held its VFs, before anybody ran anything on it."""

from __future__ import annotations

import typing as t

SERVICE = "mergetb-sriov-restore.service"


def test_the_service_of_the_boot_gave_them_back(machines: dict[str, t.Any]) -> None:
    x0 = machines["x0"]

    shown = x0.check_output(f"systemctl show --property=ActiveState,Result {SERVICE}")
    assert shown.splitlines() == ["Result=success", "ActiveState=active"]
    journal = x0.check_output(f"journalctl --boot --output=cat --unit={SERVICE}")
    assert journal.count("restored: ") == 3
    assert "3 VFs are as the ledger says" in journal


def test_nothing_differs_from_the_ledger(machine: t.Any) -> None:
    done = machine.run("python3 /usr/local/lib/mergetb-sriov/restore.pyz --check")
    assert (done.rc, done.stdout) == (0, "3 VFs are as the ledger says\n"), done.stderr


def test_the_check_sees_drift(machine: t.Any) -> None:
    """And the service mends it, as it would at a boot."""
    ledger = machine.check_output("cat /var/lib/mergetb-sriov/ledger.json")
    address = ledger.partition('"address": "')[2].partition('"')[0]
    check = "python3 /usr/local/lib/mergetb-sriov/restore.pyz --check"
    machine.check_output(f"echo {address} > /sys/bus/pci/devices/{address}/driver/unbind")

    done = machine.run(check)
    assert done.rc == 1
    assert f"VF {address}" in done.stdout
    machine.check_output(f"systemctl restart {SERVICE}")
    assert machine.run(check).rc == 0
