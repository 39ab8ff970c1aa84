# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.filter.libvirt_xml import FilterModule

libvirt_xml = FilterModule().filters()["libvirt_xml"]


def test_libvirt_xml() -> None:
    hostdev = ElementTree.fromstring(libvirt_xml({"nic": "eth1", "pci_address": "0000:01:10.0"}))
    address = hostdev.find("source/address")
    assert address is not None and address.get("slot") == "0x10"


def test_error() -> None:
    with pytest.raises(AnsibleFilterError, match="^libvirt_xml: device .*: nic must be a string"):
        libvirt_xml({})
