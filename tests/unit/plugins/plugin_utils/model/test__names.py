# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _names
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from hypothesis import given
from hypothesis import strategies as st

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
def test_hostile_names_are_refused(rule: _names.NameRule, value: str) -> None:
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
def test_usual_names(rule: _names.NameRule, value: str) -> None:
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
def test_names_just_beyond_the_rule(rule: _names.NameRule, value: str) -> None:
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
        "04:72:00:00:10:0a\n",
        " 04:72:00:00:10:0a",
        "\u0660\u0664:72:00:00:10:0a",
        "04:72:00:00:10:_a",
        "+4:72:00:00:10:0a",
        "4:72:0:0:10:a",
        "04:72-00:00-10:0a",
        "0:4:7:2:0:0",
        "11471:4106:7",
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


NO_ADDRESSES = [
    *("", "x0", "172.29.0", "172.29.0.256", "fe80::1%$(id)", "172.29.0.1/99", "-1"),
    *("172.29.0.1/24\n", "\n172.29.0.1", "172.29.0.1 /24", "172.29.0.1/2_4", "172.29.0.1/+24"),
    *("\u0661\u0667\u0662.29.0.1", "172.29.0.1/\u0662\u0664", "172.29.0.1/", "2001:db8::1/129"),
    *("172.29.0.1/255.255.0.0", "172.29.0.1/0.0.255.255", "172.029.0.1", "fe80::1%eth0"),
    *("172.29.0.1/024", "0x7f.1", "2886533121", "::1/64/64", "2001:db8::1::2"),
]


def test_address() -> None:
    assert _names.address("172.29.0.16/16", "address") == "172.29.0.16"
    assert _names.address("2001:DB8::1", "address") == "2001:db8::1"
    for value in NO_ADDRESSES:
        with pytest.raises(InputError, match="^the address "):
            _names.address(value, "the address")


def test_address_of_an_interface() -> None:
    for value, canonical in {
        "172.29.0.16/16": "172.29.0.16/16",
        "172.29.0.16": "172.29.0.16",
        "2001:DB8:0:0::1/64": "2001:db8::1/64",
        "2001:0db8::0001": "2001:db8::1",
    }.items():
        assert _names.interface_address(value, "address") == canonical
    for value in NO_ADDRESSES:
        with pytest.raises(InputError, match="^the address "):
            _names.interface_address(value, "the address")


@given(
    st.text(
        st.sampled_from("0123456789abcdefABCDEF.:/-_ \n\t\r\x85\u2028\u0660\uff11+%x"), max_size=24
    )
    | st.from_regex(r"\d{1,3}(\.\d{1,3}){3}(/\d+)?\s?")
    | st.ip_addresses().map(str)
    | st.from_regex(r"\w\w([:-]\w\w){5}\s?")
)
def test_what_is_taken_is_kept_as_canonical_text(value: str) -> None:
    for check in (_names.address, _names.interface_address, _names.mac):
        try:
            taken = check(value, "value")
        except InputError:
            continue
        assert re.fullmatch("[0-9a-f.:]+(/[0-9]+)?", taken, re.ASCII)
        assert check(taken, "value") == taken
        assert value.isascii() and value.isprintable() and " " not in value


def test_one_mac_in_two_spellings() -> None:
    for other in ("04-72-00-00-10-0A", "0472.0000.100a", "04720000100A"):
        assert _names.same_mac(other, "04:72:00:00:10:0a")
    for other in ("", "x", "04:72:00:00:10:0b", "04:72:00:00:10:0a\n"):
        assert not _names.same_mac(other, "04:72:00:00:10:0a")
    assert not _names.same_mac("", None)
