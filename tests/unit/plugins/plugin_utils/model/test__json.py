# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _json
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError


@pytest.mark.parametrize("key", ["NICs", "niCs", "ni_cs", "NI_CS", "nics"])
def test_keys_are_compared_by_letters_and_digits(key: str) -> None:
    resource = _json.read("Resource", {key: [{}]})
    assert len(resource.NICs) == 1


def test_keys_of_maps_are_data() -> None:
    resource = _json.read("Resource", {"infranetAddr": {"Harbor_A": {"list": ["10.0.0.1"]}}})
    assert list(resource.infranet_addr) == ["Harbor_A"]


@pytest.mark.parametrize("key", ["7", 7])
def test_numbers_as_keys_of_maps(key: t.Any) -> None:
    link = _json.read("LinkRealization", {"segments": {key: {"vid": 100}}})
    assert link.segments[7].vid == 100


@pytest.mark.parametrize("role", ["Hypervisor", "Role_Hypervisor", "hypervisor", 25, "25", 25.0])
def test_enum_by_name_or_number(role: t.Any) -> None:
    assert list(_json.read("Resource", {"roles": [role]}).roles) == [25]


def test_enum_value_that_is_not_known() -> None:
    resource = _json.read("Resource", {"roles": ["NewRole", 99, "Leaf"]})
    assert list(resource.roles) == [99, 10]
    assert _json.read("Port", {"role": "NewLink"}).role == 0


@pytest.mark.parametrize("capacity", [100_000_000_000, "100000000000", 1e11])
def test_integer_as_number_or_string(capacity: t.Any) -> None:
    assert _json.read("Port", {"capacity": capacity}).capacity == 100_000_000_000


@pytest.mark.parametrize(
    "sriov",
    [
        {"Pf": {"MaxVFs": 16}},
        {"Data": {"Pf": {"MaxVFs": 16}}, "PfNi": 3},
        {"data": {"pf": {"max_v_fs": "16"}}},
        {"Pf": {"MaxVFs": 16}, "Vf": None},
        {"vf": {"vfIndex": 0}, "pf": {"maxVFs": 16}},
    ],
)
def test_oneof(sriov: t.Any) -> None:
    message = _json.read("SRIOV", sriov)
    assert message.WhichOneof("Data") == "Pf"
    assert message.Pf.MaxVFs == 16


def test_oneof_that_is_set_but_empty() -> None:
    assert _json.read("SRIOV", {"Vf": {}}).WhichOneof("Data") == "Vf"


def test_null_and_unknown_are_skipped() -> None:
    resource = _json.read("Resource", {"id": None, "NICs": None, "gpus": [{"vendor": 1}]})
    assert not resource.ListFields()


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], "the document must be an object"),
        ({"id": 5}, "id must be a string"),
        ({"resources": {}}, "resources must be a list"),
        ({"resources": [{"id": "x0"}, []]}, "resources[1] must be an object"),
        (
            {"resources": [{"NICs": [{"ports": [{"capacity": -1}]}]}]},
            "resources[0].NICs[0].ports[0].capacity must be an integer of 64 bits",
        ),
        ({"resources": [{"infranetAddr": {"h": {"list": "a"}}}]}, "h.list must be a list"),
        ({"resources": [{"roles": [True]}]}, "roles[0] must be an integer"),
        ({"resources": [{"roles": [2**31]}]}, "roles[0] must be an integer of 31 bits"),
        ({"id": "\ud800"}, "id must be valid Unicode"),
        (
            {"resources": [{"nics": [{"ports": [{"sriov": {"Pf": {"MaxVFs": "7e9"}}}]}]}]},
            "sriov.Pf.MaxVFs must be an integer of 32 bits",
        ),
        (
            {
                "resources": [
                    {"nics": [{"ports": [{"sriov": {"Pf": {"MaxVFs": 7}, "Vf": {"VfIndex": 1}}}]}]}
                ]
            },
            "sriov has more than one of Pf, Vf",
        ),
    ],
)
def test_value_that_does_not_fit(document: t.Any, place: str) -> None:
    with pytest.raises(InputError) as caught:
        _json.read("Facility", document)
    assert place in str(caught.value)


@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_boolean(value: t.Any) -> None:
    assert _json.read("BoolConstraint", {"value": True}).value is True
    with pytest.raises(InputError, match="^value must be true or false$"):
        _json.read("BoolConstraint", {"value": value})


def test_signed_integer() -> None:
    assert _json.read("Socket", {"index": "2147483647"}).index == 2**31 - 1
    with pytest.raises(InputError, match="^index must be an integer of 31 bits$"):
        _json.read("Socket", {"index": -1})


@pytest.mark.parametrize(
    "key",
    ["id!", "i d", "id\n", "\u0131d", "id\u0301", "\uff49\uff44", "i-d", "i.d", "$id", "\u212ad"],
)
def test_what_only_looks_like_a_key_is_none(key: str) -> None:
    assert _json.read("Facility", {key: "other", "fqdn": "lab"}).id == ""


def test_only_the_fields_of_a_oneof_are_inside_its_object() -> None:
    endpoint = _json.read("Endpoint", {"interface": {"mac": "02:72:00:00:00:01", "vf": {}}})
    assert endpoint.WhichOneof("interface") == "vf"
    assert endpoint.mac == ""


def test_what_is_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="^niCs is given twice: as NICs, too"):
        _json.read("Resource", {"NICs": [], "niCs": []})
    with pytest.raises(InputError, match="^the JSON has the key 'a' twice in one object"):
        _json.loads('{"infranetAddr": {"a": {}, "a": {}}}')
    inside, beside = {"interface": {"vf": {"vid": 100}}}, {"vf": {"vid": 200}}
    for document in (inside | beside, beside | inside, inside | {"Interface": beside}):
        with pytest.raises(InputError, match="is given twice: as "):
            _json.read("Endpoint", document)
    assert _json.read("Resource", {"NICs": [], "niCs": None}).id == ""


@pytest.mark.parametrize(
    "value",
    ["1_0", " 1", "1\n", "+1", "\u0661", "\uff11", "0x1", "1e1", "1.0", "-1", "", "NaN", "01"],
)
def test_texts_that_are_no_numbers(value: str) -> None:
    with pytest.raises(InputError, match="must be an integer of 32 bits"):
        _json.read("SRIOV_PF", {"MaxVFs": value})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1" * 5000])
def test_numbers_that_json_does_not_have(text: str) -> None:
    with pytest.raises(ValueError):
        _json.loads(f'{{"unknown": {text}}}')
