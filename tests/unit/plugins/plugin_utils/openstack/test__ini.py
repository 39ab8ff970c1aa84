# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import _ini

SETTINGS = {
    "device_spec": [{"address": "0000:07:10.0", "physical_network": "a"}],
    "physical_device_mappings": ["a:p4p1", "b:p4p2"],
    "exclude_devices": ["p4p1:0000:07:10.2;0000:07:10.4"],
}
NOVA, NEUTRON = "nova/x0/nova.conf", "neutron/x0/sriov_agent.ini"
BLOCK = """\
# BEGIN mergetb.sriov.openstack
[pci]
device_spec = {"address": "0000:07:10.0", "physical_network": "a"}
# END mergetb.sriov.openstack
"""
NONE: dict[str, list[str]] = dict.fromkeys(SETTINGS, [])


def test_files_of_a_host() -> None:
    files = _ini.of_host("x0", SETTINGS)
    assert _ini.merged(NOVA, "", files[NOVA]) == BLOCK
    assert _ini.merged(NEUTRON, "", files[NEUTRON]).splitlines()[1:-1] == [
        "[sriov_nic]",
        "physical_device_mappings = a:p4p1,b:p4p2",
        "exclude_devices = p4p1:0000:07:10.2;0000:07:10.4",
    ]


def test_files_of_all_hosts() -> None:
    files = _ini.of_all([{"name": "a"}], ["ComputeFilter", "PciPassthroughFilter"], ["ovn"])
    assert _ini.merged(_ini.NOVA, "", files[_ini.NOVA]).splitlines()[1:-1] == [
        *("[pci]", 'alias = {"name": "a"}'),
        *("[filter_scheduler]", "enabled_filters = ComputeFilter,PciPassthroughFilter"),
    ]
    assert "mechanism_drivers = ovn\n" in _ini.merged(_ini.ML2, "", files[_ini.ML2])
    assert _ini.merged(_ini.ML2, "", _ini.of_all([], [], [])[_ini.ML2]) == ""


def test_old_name_only_when_asked() -> None:
    files = _ini.of_host("x0", SETTINGS, whitelist=True)
    text = _ini.merged(NOVA, "", files[NOVA])
    assert "passthrough_whitelist = {" in text
    assert "device_spec" not in text


def test_the_rest_of_a_file_stays() -> None:
    rest = "[DEFAULT]\ndebug = true\n[libvirt]\nvirt_type = kvm"
    file = _ini.of_host("x0", SETTINGS)[NOVA]
    text = _ini.merged(NOVA, rest, file)
    assert text == f"{rest}\n{BLOCK}"
    assert _ini.merged(NOVA, text, file) == text
    assert _ini.merged(NOVA, text, _ini.of_host("x0", NONE)[NOVA]) == f"{rest}\n"


@pytest.mark.parametrize(
    "rest",
    [
        '[pci]\ndevice_spec = {"devname": "p4p1"}\n',
        "[PCI]\nDevice_Spec: x\n",
        "[pci]\n# a remark\nalias = x\npassthrough_whitelist=x\n",
        "[DEFAULT]\npci_passthrough_whitelist = x\n",
        "pci_passthrough_whitelist = x\n",
    ],
)
def test_option_that_is_set_twice(rest: str) -> None:
    """Both would hold: a guest could get the PF, or a VF that a materialization holds."""
    with pytest.raises(InputError, match="outside of the block of mergetb.sriov; remove it there"):
        _ini.merged(NOVA, rest, _ini.of_host("x0", SETTINGS)[NOVA])
    # Where a host gives nothing to Nova, what the file has is none of our business.
    assert _ini.merged(NOVA, rest, _ini.of_host("x0", NONE)[NOVA]) == rest


@pytest.mark.parametrize("rest", ["[other]\ndevice_spec = x\n", "[pci]\n#device_spec = x\n"])
def test_what_only_looks_like_it(rest: str) -> None:
    file = _ini.of_host("x0", SETTINGS)[NOVA]
    assert _ini.merged(NOVA, rest, file) == rest + BLOCK
