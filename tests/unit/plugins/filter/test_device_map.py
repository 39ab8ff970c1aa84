# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.filter.device_map import FilterModule

device_map = FilterModule().filters()["device_map"]


def test_device_map() -> None:
    assert device_map([], "one.hello.demo") == {
        "version": 1,
        "mzid": "one.hello.demo",
        "devices": [],
    }
    assert device_map([], mzid="one.hello.demo")["mzid"] == "one.hello.demo"


def test_error() -> None:
    with pytest.raises(AnsibleFilterError, match="^device_map: device .*: node must be a string"):
        device_map([{"nic": "eth1"}], "one.hello.demo")
