# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack import _networks
from ansible_collections.mergetb.sriov.plugins.plugin_utils.openstack._networks import (
    Network,
    Selector,
    read,
)

P4P1, P4P2 = Selector("interface", "p4p1"), Selector("interface", "p4p2")


def own(value: t.Any) -> list[Network]:
    return read({_networks.OWN: value})


def test_all_ways_to_choose_a_pf() -> None:
    [network] = own(
        {
            "physnet2": [
                "p4p1",
                "0C:42:A1:00:00:10",
                "0C:42:a1:*",
                "0000:3B:00.0",
                {"vendor": "0x15B3", "device": "1017"},
                {"vendor": "8086"},
                {"nic_model": "ConnectX6"},
            ]
        }
    )
    assert network == Network(
        "physnet2",
        (
            P4P1,
            Selector("MAC", "0c:42:a1:00:00:10"),
            Selector("MAC", "0c:42:a1:*"),
            Selector("address", "0000:3b:00.0"),
            Selector("vendor", "15b3", "1017"),
            Selector("vendor", "8086"),
            Selector("nic_model", "ConnectX6"),
        ),
    )


def test_tags_are_in_novas_words() -> None:
    told = {"pfs": "p4p1", "trusted": True, "managed": False, "live_migratable": True}
    [network] = own({"physnet2": told | {"remote_managed": False}})
    assert network.tags == {
        "trusted": "true",
        "managed": "no",
        "live_migratable": "yes",
        "remote_managed": "false",
    }
    assert not network.whole


def test_the_other_two_mappings() -> None:
    kolla = {"physnet2": "p4p1", "physnet3": "p4p2"}
    kayobe = {"p4p1": "physnet2", "p4p2": "physnet2"}
    assert read({_networks.KOLLA: kolla}) == [
        Network("physnet2", (P4P1,)),
        Network("physnet3", (P4P2,)),
    ]
    assert read({_networks.KAYOBE: kayobe}) == [Network("physnet2", (P4P1, P4P2))]


def test_the_first_that_is_set_counts() -> None:
    kolla, kayobe = {_networks.KOLLA: {"a": "p4p1"}}, {_networks.KAYOBE: {"p4p1": "b"}}
    assert read({_networks.OWN: {}, **kolla, **kayobe}) == []
    assert [network.name for network in read({_networks.OWN: None, **kolla, **kayobe})] == ["a"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "sriov_physical_networks must be a dictionary"),
        ({"a:b": "p4p1"}, "physical network 'a:b' must have"),
        ({"a,b": "p4p1"}, "physical network 'a,b' must have"),
        ({"a\nb": "p4p1"}, r"physical network 'a\nb' must have"),
        ({"{{a}}": "p4p1"}, "physical network '{{a}}' must have"),
        ({"$a": "p4p1"}, "physical network '$a' must have"),
        ({"a": "p4p1\n"}, r"interface 'p4p1\n' must have"),
        ({"a": "{{ p4p1 }}"}, "interface '{{ p4p1 }}' must have"),
        ({"a": "p4p1;p4p2"}, "interface 'p4p1;p4p2' must have"),
        ({"a": 1017}, "'1017' must be a text; put it into quotes"),
        (
            {"a": {"vendor": "15b3", "device": 1017}},
            "device '1017' must be four hexadecimal digits, in quotes",
        ),
        ({"a": {"vendor": "15b3", "product": "1017"}}, "must have vendor, vendor and device, or"),
        ({"a": []}, "physical network a has no PF"),
        ({"a": {"pfs": "p4p1", "whole": 1}}, "whole must be true or false"),
        ({"a": {"pfs": "p4p1", "trusted": "yes"}}, "trusted must be true or false"),
        ({"a": {"pfs": "p4p1", "trust": True}}, "'trust' is no option"),
        (
            {"a": {"pfs": "p4p1", "whole": True, "remote_managed": True}},
            "remote_managed is for VFs",
        ),
    ],
)
def test_what_cannot_be(value: t.Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        own(value)
    assert message in str(caught.value)


def test_nothing_is_set() -> None:
    with pytest.raises(InputError, match="set sriov_physical_networks in the inventory"):
        read({})


def test_mac_of_other_characters_is_no_mac() -> None:
    with pytest.raises(InputError, match="interface '0c:42:a1:zz' must have"):
        own({"a": "0c:42:a1:zz"})
