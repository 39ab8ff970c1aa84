# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _info
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import _networks, _settings
from ansible_collections.mergetb.sriov.tests.unit import openstack_hosts as hosts
from ansible_collections.mergetb.sriov.tests.unit.fabricated import ledger_entry

Answers = dict[str, dict[str, t.Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    directory: Path = tmp_path_factory.mktemp("hosts")
    return hosts.answers(directory)


@pytest.fixture
def answers(told: Answers) -> Answers:
    """What three hosts tell, to be changed."""
    return copy.deepcopy(told)


def made(answer: dict[str, t.Any], networks: t.Any, host: str = "") -> dict[str, t.Any]:
    read = _networks.read({_networks.OWN: networks})
    return _settings.settings(answer, read, hosts.OFFERED.get(host, ()))


def refusal(answer: dict[str, t.Any], networks: t.Any) -> str:
    with pytest.raises(InputError) as caught:
        made(answer, networks)
    return str(caught.value)


@pytest.mark.parametrize("host", hosts.HOSTS)
def test_each_vf_that_is_meant(answers: Answers, host: str) -> None:
    specs = made(answers[host], hosts.NETWORKS[host], host)["device_spec"]
    found = {spec["address"]: spec["physical_network"] for spec in specs}
    meant = hosts.MEANT[host]
    assert len(specs) == len(found)
    assert found == {vf: meant[vf] for vf in meant if vf not in hosts.HELD[host]}


def test_all_of_a_host(answers: Answers) -> None:
    settings = made(answers["compute0"], hosts.NETWORKS["compute0"])
    assert settings["device_spec"][0] == {
        "address": "0000:07:10.2",
        "physical_network": "physnet2",
    }
    assert settings["device_spec"][-1] == {
        "address": "0000:07:11.3",
        "physical_network": "physnet3",
        "trusted": "true",
    }
    del settings["device_spec"]
    assert settings == {
        "physical_device_mappings": ["physnet2:p4p1", "physnet3:p4p2"],
        "exclude_devices": ["p4p1:0000:07:10.0;0000:07:10.6", "p4p2:0000:07:11.5"],
        "neutron_sriov_physnet_mappings": {"physnet2": "p4p1", "physnet3": "p4p2"},
        "sriov_physnet_mappings": {"p4p1": "physnet2", "p4p2": "physnet3"},
    }


def test_kollas_variable_has_one_device_a_network(answers: Answers) -> None:
    settings = made(answers["compute1"], hosts.NETWORKS["compute1"])
    assert settings["neutron_sriov_physnet_mappings"] is None
    assert settings["sriov_physnet_mappings"] == {"p5p1": "physnet2", "p5p2": "physnet2"}


@pytest.mark.parametrize("state", ["reserved", "changing", "leaving"])
def test_vf_of_any_state_is_held(answers: Answers, state: str) -> None:
    answer = answers["compute1"]
    answer["materializations"][hosts.MZID][0]["state"] = state
    settings = made(answer, {"physnet2": "0c:42:a1:*"})
    assert settings["exclude_devices"] == ["p5p2:0000:3b:00.7"]
    assert len(settings["device_spec"]) == 7


def test_choices_that_overlap_in_a_network(answers: Answers) -> None:
    networks = {"physnet2": ["p5p1", hosts.MACS[hosts.CONNECTX[0]], hosts.CONNECTX[0]]}
    settings = made(answers["compute1"], networks)
    assert settings["physical_device_mappings"] == ["physnet2:p5p1"]
    assert len(settings["device_spec"]) == 4


def test_no_networks(answers: Answers) -> None:
    assert made(answers["compute0"], {}) == {
        "device_spec": [],
        "physical_device_mappings": [],
        "exclude_devices": [],
        "neutron_sriov_physnet_mappings": {},
        "sriov_physnet_mappings": {},
    }


@pytest.mark.parametrize(
    "choice",
    [
        *("p9p9", "0000:ff:00.0", "0c:42:a1:00:00:99", "0c:42:a2:*"),
        # These two are VFs' ids: they choose no PF.
        *({"vendor": "8086", "device": "10ca"}, {"nic_model": "ConnectX5"}),
    ],
)
def test_choice_that_matches_nothing(answers: Answers, choice: t.Any) -> None:
    message = refusal(answers["compute0"], {"physnet2": choice})
    assert "physical network physnet2: " in message
    assert "matches no PF; name one of the host's: p4p1 (0000:07:00.0, MAC 0c:42:" in message


def test_pf_in_two_networks(answers: Answers) -> None:
    message = refusal(answers["compute0"], {"a": "p4p1", "b": "0c:42:a1:00:00:*"})
    assert "PF p4p1 (0000:07:00.0, MAC 0c:42:a1:00:00:12) is in the physical networks a and b;" in (
        message
    )


def test_pf_without_vfs_interface_or_rest(answers: Answers) -> None:
    first, second = answers["compute0"]["pfs"]
    first["vfs"] = []
    second["interface"], second["numvfs"] = None, 6
    message = refusal(answers["compute0"], {"a": [hosts.IGB[0], hosts.IGB[1]]})
    assert "has no VFs; run mergetb.sriov.prepare" in message
    assert "is unknown to Neutron, which names it by interface; load its driver" in message
    assert "is just getting or losing VFs; run this again" in message


@pytest.mark.parametrize("name", ["a,b", "a;b", "a{{b}}", "a:b", "a\nb", "$a"])
def test_name_that_does_not_fit_into_a_file(answers: Answers, name: str) -> None:
    answers["compute0"]["pfs"][0]["interface"] = name
    with pytest.raises(InputError):
        made(answers["compute0"], {"physnet2": hosts.IGB[0]})


def test_domain_that_nova_does_not_take(answers: Answers) -> None:
    answers["compute0"]["pfs"][0]["vfs"][1]["address"] = "10000:07:10.2"
    assert "Nova takes no PCI address such as '10000:07:10.2'" in refusal(
        answers["compute0"], {"physnet2": "p4p1"}
    )


def test_pf_that_goes_to_a_guest_as_a_whole(answers: Answers) -> None:
    whole = {"physnet4": {"pfs": "p6p1", "whole": True}}
    settings = made(answers["compute2"], whole)
    assert settings["device_spec"] == [{"address": hosts.WHOLE, "physical_network": "physnet4"}]
    assert settings["physical_device_mappings"] == []
    port = next(port for port in answers["compute2"]["ports"] if port["interface"] == "p6p1")
    port["management"] = "p6p1 carries the default route"
    assert "cannot be given to a guest: p6p1 carries the default route" in refusal(
        answers["compute2"], whole
    )


ALIAS = {
    "name": "connectx",
    "device_type": "type-VF",
    "vendor_id": "0x15b3",
    "product_id": "1018",
}


def test_alias() -> None:
    assert _settings.alias(ALIAS | {"numa_policy": "preferred", "live_migratable": True}) == {
        **ALIAS,
        "vendor_id": "15b3",
        "numa_policy": "preferred",
        "live_migratable": "yes",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "alias 'a b' must have"),
        ({"name": None}, "alias '' must have"),
        ({"device_type": "VF"}, "device_type must be one of type-PF, type-VF, type-PCI"),
        ({"numa_policy": "x\n"}, "numa_policy must be one of"),
        ({"product_id": "{{1}"}, "product_id '{{1}' must be four hexadecimal digits"),
        ({"product_id": ""}, "product_id is not so"),
        ({"product": "1018"}, "product is not so"),
        ({"live_migratable": "yes"}, "live_migratable must be true or false"),
    ],
)
def test_alias_that_is_none(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        _settings.alias(ALIAS | changes)
    assert message in str(caught.value)


def test_vfs_have_a_product_id_of_their_own(answers: Answers) -> None:
    aliases = [_settings.alias(ALIAS)]
    assert list(_settings.alias_problems(aliases, answers)) == []
    wrong = [_settings.alias(ALIAS | {"product_id": "1017"})]
    first, _compute2 = _settings.alias_problems(wrong, answers)
    assert first == (
        "alias connectx: host compute1: 1017 is the product id of the PF p5p1 (0000:3b:00.0, MAC"
        " 0c:42:a1:00:00:10), so no type-VF has it; theirs is 0x1018"
    )
    wrong = [_settings.alias(ALIAS | {"device_type": "type-PF"})]
    assert "1018 is the product id of the VFs of PF p5p1" in next(
        _settings.alias_problems(wrong, answers)
    )


def test_what_is_added_is_added_once() -> None:
    assert _settings.filters(["ComputeFilter"]) == ["ComputeFilter", "PciPassthroughFilter"]
    assert _settings.filters(["PciPassthroughFilter", "A"]) == ["PciPassthroughFilter", "A"]
    assert _settings.mechanism_drivers(["ovn"]) == ["ovn", "sriovnicswitch"]
    with pytest.raises(InputError, match="filter 'A,B' must have"):
        _settings.filters(["A,B"])


def test_a_held_vf_is_not_offered_after_its_bus_was_renumbered(tmp_path: Path) -> None:
    host = hosts.compute1(tmp_path)
    pf = hosts.CONNECTX[1]
    old = ledger_entry(node="alpha", nic="eth0", address="0000:41:00.7", vf=1)
    old = old._replace(pf_address="0000:41:00.1", pf_mac=hosts.MACS[pf])
    _ledger.write(host, {hosts.MZID: [old]})
    networks = _networks.read({_networks.OWN: {"physnet2": "p5p2"}})
    made = _settings.settings(_info.gather(host, None), networks)
    held = hosts.CONNECTX_VFS[pf][1]
    assert held not in [spec["address"] for spec in made["device_spec"]]
    assert made["exclude_devices"] == [f"p5p2:{held}"]


def test_a_whole_pf_with_vfs_is_refused(tmp_path: Path) -> None:
    host = hosts.compute0(tmp_path)
    whole = {"physnet2": {"pfs": hosts.IGB[0], "whole": True}}
    with pytest.raises(InputError, match="has VFs, which a guest would get, too"):
        _settings.settings(_info.gather(host, None), _networks.read({_networks.OWN: whole}))
