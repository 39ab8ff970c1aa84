# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils._errors import InputError

HOSTILE = [
    "",
    "-oProxyCommand=id",
    "../x0",
    "x0/y",
    "x0\n",
    "x0 y",
    "x0\0",
    "{{ lookup('pipe', 'id') }}",
    "$(id)",
    "x0,y=1",
    "größe",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("rule", [_names.HOST, _names.MZID_PART, _names.NODE, _names.NIC])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_names_are_refused(rule: _names.Rule, value: str) -> None:
    with pytest.raises(InputError, match="^the thing ['\"].* must have 1 to ") as caught:
        rule.check(value, "the thing")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (_names.HOST, "x0.lab.example.net"),
        (_names.HOST, "x" * 253),
        (_names.MZID_PART, "real-1_a"),
        (_names.NODE, "a"),
        (_names.NODE, "0node.a-b_c"),
        (_names.NIC, "eth1"),
        (_names.NIC, "e" * 15),
    ],
)
def test_usual_names(rule: _names.Rule, value: str) -> None:
    assert rule.check(value, "name") == value


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        (_names.HOST, ".x0"),
        (_names.HOST, "x" * 254),
        (_names.MZID_PART, "a.b"),
        (_names.NODE, "_a"),
        (_names.NIC, "0eth"),
        (_names.NIC, "e" * 16),
        (_names.NIC, "eth1.100"),
    ],
)
def test_names_just_beyond_the_rule(rule: _names.Rule, value: str) -> None:
    with pytest.raises(InputError):
        rule.check(value, "name")


def test_text() -> None:
    for value in ("", "Größe {{ 1 + 1 }} $(id) ../", "x" * 255):
        assert _names.text(value, "text") == value
    for value in ("a\nb", "a\x1b[2J", "\u202ea", "x" * 256):
        with pytest.raises(InputError, match="^the text '.*' must be printable and"):
            _names.text(value, "the text")


@pytest.mark.parametrize(
    "value", ["04:72:00:00:10:0a", "04-72-00-00-10-0A", "0472.0000.100a", "04720000100A"]
)
def test_mac(value: str) -> None:
    assert _names.mac(value, "MAC") == "04:72:00:00:10:0a"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "04:72:00:00:10",
        "04:72:00:00:10:0a:00:00",
        "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
    ],
)
def test_what_is_no_mac_of_an_interface(value: str) -> None:
    with pytest.raises(InputError, match="^the MAC "):
        _names.mac(value, "the MAC")


def test_link() -> None:
    name = "~".join(f"node{number}.0" for number in range(1000))
    assert _names.link(name, "link") == name
    for wrong in ("a\nb", "x" * (_names.LINK_LIMIT + 1)):
        with pytest.raises(InputError, match="must be printable and have at most 65535 characters"):
            _names.link(wrong, "link")


def test_address() -> None:
    assert _names.address("172.29.0.16/16", "address") == "172.29.0.16"
    assert _names.address("2001:DB8::1", "address") == "2001:db8::1"
    for value in ("", "x0", "172.29.0", "172.29.0.256", "fe80::1%$(id)", "172.29.0.1/99", "-1"):
        with pytest.raises(InputError, match="^the address "):
            _names.address(value, "the address")
