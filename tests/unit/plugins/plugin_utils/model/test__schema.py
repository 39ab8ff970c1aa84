# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import betterproto
import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _json, _schema
from mergetbapi import xir
from mergetbapi.portal import v1 as portal
from mergexp.pb import core_pb2

# Both packages have messages of the same names; these are meant in portal.v1.
PORTAL_AND_XIR = {"Link", "Endpoint", "BridgeMember"}


def binding(message: str) -> t.Any:
    """Return the class of the MergeTB bindings for a message of the schema."""
    names = {
        module: {_json.normalize(name): item for name, item in vars(module).items()}
        for module in (xir, portal)
    }
    name = _json.normalize(message.removeprefix("Xir"))
    if message in PORTAL_AND_XIR or name not in names[xir]:
        return names[portal][name]
    return names[xir][name]


@pytest.mark.parametrize("message", _schema.MESSAGES)
def test_fields_are_those_of_the_bindings(message: str) -> None:
    meta = binding(message)._betterproto
    theirs = {_json.normalize(name): name for name in meta.meta_by_field_name}
    for field in _schema.fields(message):
        name = theirs[_json.normalize(field.name)]
        their = meta.meta_by_field_name[name]
        assert their.number == field.number
        assert _json.normalize(their.group or "") == _json.normalize(field.oneof or "")
        assert (meta.default_gen[name] is list) == field.repeated
        if field.map_key:
            assert their.map_types == (field.map_key, betterproto.TYPE_MESSAGE)
        elif field.type in _schema.ENUMS:
            assert their.proto_type == betterproto.TYPE_ENUM
        elif field.type in _schema.MESSAGES:
            assert their.proto_type == betterproto.TYPE_MESSAGE
        else:
            assert their.proto_type == field.type


def test_names_of_xir_are_those_of_its_descriptor() -> None:
    newer = {("Resource", "fqdn"), ("Port", "roles"), ("Ref", "facility")}
    theirs = core_pb2.DESCRIPTOR.message_types_by_name
    compared = 0
    for message in set(_schema.MESSAGES) & set(theirs) - PORTAL_AND_XIR:
        for field in _schema.fields(message):
            if (message, field.name) not in newer:
                assert field.name in theirs[message].fields_by_name
                compared += 1
    assert compared > 40


@pytest.mark.parametrize("enum", _schema.ENUMS)
def test_enums_are_those_of_the_bindings(enum: str) -> None:
    theirs = {value.value: value.name.removeprefix(f"{enum}_") for value in binding(enum)}
    assert theirs == _schema.ENUMS[enum]


def test_unknown_fields_are_skipped_and_unknown_enum_values_kept() -> None:
    facility = xir.Facility(
        id="lab",
        properties=xir.FacilityProperties(xir_version="v9"),
        resources=[xir.Resource(id="x0", roles=[xir.Role.Hypervisor, 99])],
    )
    message = _schema.parse("Facility", bytes(facility))
    assert message.id == "lab"
    assert list(message.resources[0].roles) == [25, 99]
