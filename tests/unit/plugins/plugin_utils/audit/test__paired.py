# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _paired
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.tests.unit import facts, models
from mergetbapi import xir


def host(facility: xir.Facility, **told: object) -> _paired.PairedHost:
    """Return x0 of a facility, with what the example's x0 tells, or ``told``."""
    message = _document.decode(bytes(facility), _document.FACILITY)
    truth = facts.truth(models.PHOBOS, "x0", vfs=2)["x0"]
    return _paired.PairedFacility(message, {"x0": truth | told}, ["XpLink"]).host("x0")


def test_ports_are_found_by_mac() -> None:
    facility = models.phobos()
    for nic in models.resource(facility, "x0").ni_cs:
        for port in nic.ports:
            port.name = ""
    ports = list(host(facility).ports)
    assert [port.found and port.found["mac"] for port in ports] == [port.mac for port in ports]
    assert [port.element for port in ports][-1] == "x0 NIC 1 port 1"
    assert [port.offered for port in ports] == [False, False, True, True]
    assert [port.pf and port.pf["address"] for port in ports] == [
        *(None, None, "0000:02:00.0", "0000:02:00.1")
    ]
    assert [port.leaf and port.leaf.resource.id for port in ports] == [
        *("mgmt", "infra", "xleaf0", "xleaf1")
    ]
    assert host(facility).unknown == []


def test_port_of_two_functions() -> None:
    """Ports of one PCI function are told apart by their MAC addresses."""
    truth = facts.truth(models.PHOBOS, "x0")["x0"]
    for port in truth["ports"]:
        port["address"] = "0000:02:00.0"
    found = host(models.phobos(), **truth)
    assert [port.found and port.found["mac"] for port in found.ports] == [
        port["mac"] for port in truth["ports"]
    ]
    assert found.unknown == []


def test_names_that_two_ports_have_prove_nothing() -> None:
    facility = models.phobos()
    models.pf(facility, "x0", 0).mac = "04:72:00:00:99:99"
    models.pf(facility, "x0", 1).name = "ens1f0"
    found = host(facility)
    assert [port.found is None for port in found.ports] == [False, False, True, False]
    assert [port["interface"] for port in found.unknown] == ["ens1f0"]


def test_interface_of_another_port_of_the_model_is_not_found_by_name() -> None:
    facility = models.phobos()
    models.pf(facility, "x0").mac = "04:72:00:00:99:99"
    assert all(port.found for port in host(facility).ports)
    models.pf(facility, "x1").mac = "04:72:00:00:10:00"
    assert [port.found is None for port in host(facility).ports] == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("xleaf0", "xleaf0"),
        ("XLEAF0", "xleaf0"),
        ("xleaf0.phobos.example.net", "xleaf0"),
        ("xleaf0.elsewhere", "xleaf0"),
        ("xleaf", None),
        ("", None),
    ],
)
def test_resources_are_found_by_name(name: str, resource: str | None) -> None:
    message = _document.decode(bytes(models.PHOBOS), _document.FACILITY)
    found = _paired.PairedFacility(message, {}, []).resource_named(name)
    assert (found and found.id) == resource


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("ens1f0", "ens1f0"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("\x1b[2J", "'\\x1b[2J'"),
        ("a" * 61, f"'{'a' * 60}...'"),
    ],
)
def test_labels_are_literal_but_harmless(text: str, label: str) -> None:
    assert _paired.label(text) == label
