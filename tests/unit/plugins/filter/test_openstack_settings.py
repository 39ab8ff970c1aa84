# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.mergetb.sriov.plugins.filter.openstack_settings import FilterModule
from ansible_collections.mergetb.sriov.tests.unit import openstack_hosts as hosts

openstack_settings = FilterModule().filters()["openstack_settings"]


def test_settings_and_error(tmp_path: Path) -> None:
    answer = hosts.answers(tmp_path)["compute2"]
    networks, offered = hosts.NETWORKS["compute2"], hosts.OFFERED["compute2"]
    settings = openstack_settings(answer, networks, offered)
    assert settings["physical_device_mappings"] == ["physnet2:p4p1", "physnet3:p5p1"]
    with pytest.raises(AnsibleFilterError, match="(?s)^openstack_settings: .*matches no PF"):
        openstack_settings(answer, networks)
