# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit import _correction
from ansible_collections.mergetb.sriov.plugins.plugin_utils.audit._correction import Fix
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from hypothesis import given, settings
from hypothesis import strategies as st
from mergetbapi import xir
from mergetbapi.portal import v1 as portal


def model() -> xir.Facility:
    """Return a facility with much that the collection does not know of."""
    facility = models.phobos()
    x0 = models.resource(facility, "x0")
    facility.resources = [x0]
    facility.cables = facility.cables[:2]
    x0.ni_cs[1].model = xir.NicModel.ConnectX4
    x0.os = xir.OsConfig(append="intel_iommu=on {{ 7 * 7 }}")
    x0.procs = [xir.Proc(cores=8)]
    x0.ni_cs[0].dpdk = True
    x0.ni_cs[1].ports[0].queues = 2**63
    return facility


NIC = ("resources", 0, "NICs", 1)
PORT = (*NIC, "ports", 0)

FIXES = {
    "MAC": (Fix((*PORT, "mac"), "02:00:00:00:00:01"), "04:72:00:00:10:00"),
    "MaxVFs": (Fix((*PORT, "sriov", "Pf", "MaxVFs"), 63), 7),
    "capacity": (Fix((*PORT, "capacity"), 25 * 10**9), 10**9),
    "model": (Fix((*NIC, "model"), 102), 101),
    "model that was none": (Fix(("resources", 0, "NICs", 0, "model"), 103), None),
}


def fixed(facility: xir.Facility, fix: Fix) -> xir.Facility:
    """Return what MergeTB's own bindings make of the same correction."""
    names = {"NICs": "ni_cs", "Pf": "pf", "MaxVFs": "max_v_fs"}
    facility = xir.Facility().parse(bytes(facility))
    element: t.Any = facility
    *parents, last = fix.path
    for step in parents:
        element = (
            element[step] if isinstance(step, int) else getattr(element, names.get(step, step))
        )
    setattr(element, names.get(str(last), str(last)), fix.value)
    return facility


def differences(one: t.Any, other: t.Any) -> list[tuple[t.Any, t.Any]]:
    """Return the values in which two JSON documents differ; the keys' order counts."""
    if isinstance(one, dict) and isinstance(other, dict):
        added = [(None, other[key]) for key in other if key not in one]
        assert [key for key in other if key in one] == list(one)
        return added + [pair for key in one for pair in differences(one[key], other[key])]
    if isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other)
        return [pair for pair in zip(one, other, strict=True) for pair in differences(*pair)]
    return [] if (one, type(one)) == (other, type(other)) else [(one, other)]


OLD = models.before_2025(model())
ENCODINGS = models.facility_encodings(model()) | models.go_encodings(OLD)


def check(facility: xir.Facility, encoding: str, data: bytes, change: str) -> None:
    """Correct the facility in ``data`` and hold that only the field of ``change`` differs."""
    fix, former = FIXES[change]
    text = _correction.corrected(data, [fix])
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data.startswith(b"{"):
        [(old, new)] = differences(json.loads(data), json.loads(text))
        if old is not None:
            assert type(old) is type(new)
        if isinstance(fix.value, str):
            assert (old, new) == (former, fix.value)
        elif "model" not in change:
            assert (int(old), int(new)) == (former, fix.value)
        elif "numbers" in encoding or "encoding/json" in encoding:
            assert new == fix.value
        else:
            assert new == {102: "ConnectX5", 103: "ConnectX6"}[fix.value]
        return
    corrected = base64.b64decode(text)
    if "response" in encoding:
        response = portal.GetFacilityResponse().parse(corrected)
        assert response.facility.name == "phobos"
        corrected = bytes(response.model)
    assert bytes(xir.Facility().parse(corrected)) == bytes(fixed(facility, fix))


@pytest.mark.parametrize("change", FIXES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_only_the_value_differs_in_every_encoding(encoding: str, change: str) -> None:
    check(model(), encoding, ENCODINGS[encoding], change)


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("ConnectX4", "ConnectX5"),
        ("NICModel_ConnectX4", "NICModel_ConnectX5"),
        ("101", "102"),
        (101, 102),
        (101.0, 102),
        (None, "ConnectX5"),
        ("ConnectX99", "ConnectX5"),
    ],
)
def test_enum_is_written_as_before(written: t.Any, right: t.Any) -> None:
    document = {"resources": [{"id": "x0", "NICs": [{"model": written}]}]}
    fix = Fix(("resources", 0, "NICs", 0, "model"), 102)
    corrected = json.loads(_correction.corrected(json.dumps(document).encode(), [fix]))
    assert corrected["resources"][0]["NICs"] == [{"model": right}]


@pytest.mark.parametrize(
    "sriov",
    [
        {"Pf": {"MaxVFs": 16}, "PfNi": 3},
        {"Data": {"Pf": {"MaxVFs": 16}}, "PfNi": 3},
        {"vf": None, "pf": {"max_v_fs": 16}},
        {"vf": {"vfIndex": 0}, "pf": {"maxVFs": 16}},
    ],
)
def test_every_form_of_a_oneof(sriov: dict[str, t.Any]) -> None:
    document = {"resources": [{"id": "x0", "NICs": [{"ports": [{"sriov": sriov}]}]}]}
    fix = Fix(("resources", 0, "NICs", 0, "ports", 0, "sriov", "Pf", "MaxVFs"), 8)
    text = _correction.corrected(json.dumps(document).encode(), [fix])
    assert differences(document, json.loads(text)) == [(16, 8)]


@pytest.mark.parametrize("indent", [None, 1, 2, 4, "\t"])
def test_json_keeps_its_indent_and_letters(indent: t.Any) -> None:
    document = {
        "id": "Köln \U0001f984",
        "resources": [{"id": "x0", "NICs": [{"ports": [{"mac": "a"}]}]}],
    }
    fix = Fix(("resources", 0, "NICs", 0, "ports", 0, "mac"), "b")
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    assert _correction.corrected(text.encode(), [fix]) == text.replace('"a"', '"b"') + "\n"


def test_letters_that_are_no_characters_are_kept() -> None:
    text = '{"resources": [{"id": "x0", "note": "\\ud800 ö"}]}'
    assert json.loads(_correction.corrected(text.encode(), [])) == json.loads(text)


def test_field_that_is_there_twice() -> None:
    text = '{"resources": [{"id": "x0", "NICs": [{"ports": [{"capacity": 1}]}], "niCs": [{}]}]}'
    with pytest.raises(InputError, match="niCs is given twice: as NICs, too"):
        _correction.corrected(text.encode(), [])


def test_file_that_is_no_model() -> None:
    with pytest.raises(InputError, match="no facility model"):
        _correction.corrected(models.facility_encodings(models.phobos())["wire"][:100], [])


def unknown_field(draw: st.DrawFn) -> bytes:
    """Return a field on the wire whose number nobody has given away."""
    number = draw(st.integers(1000, 2**29 - 1))
    payload = draw(st.binary(max_size=20))
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


@st.composite
def facilities(draw: st.DrawFn) -> bytes:
    """Return a facility on the wire, with fields that the collection or nobody knows."""
    facility = model()
    text = st.text(max_size=20)
    facility.properties.xir_version = draw(text)
    for resource in facility.resources:
        resource.realization_tags = draw(st.lists(text, max_size=3))
        resource.gpus = [xir.Gpu() for _gpu in range(draw(st.integers(0, 2)))]
        resource.bgp_id = draw(st.integers(0, 2**32 - 1))
        resource.max_watts = draw(st.floats(width=32, allow_nan=False))
        for element in (
            resource,
            *resource.ni_cs,
            *(p for nic in resource.ni_cs for p in nic.ports),
        ):
            if draw(st.booleans()):
                element._unknown_fields = unknown_field(draw)
    return bytes(facility)


@settings(deadline=None, max_examples=50)  # MergeTB's bindings take tenths of a second
@given(facilities(), st.sampled_from(sorted(FIXES)), st.data())
def test_unknown_fields_are_kept(wire: bytes, change: str, data: st.DataObject) -> None:
    facility = xir.Facility().parse(wire)
    writers = models.facility_writers(facility)
    encoding = data.draw(st.sampled_from(sorted(writers)))
    check(facility, encoding, writers[encoding](), change)


@pytest.mark.parametrize("how", ["same", "relative", "symlink", "hard link"])
def test_model_is_never_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    source = tmp_path / "phobos.xir"
    source.write_bytes(b"model")
    target = tmp_path / "other.xir"
    if how == "symlink":
        target.symlink_to("phobos.xir")
    elif how == "hard link":
        target.hardlink_to(source)
    monkeypatch.chdir(tmp_path)
    name = {"same": str(source), "relative": "./phobos.xir"}.get(how, str(target))
    with pytest.raises(InputError, match="is the file that is read"):
        _correction.refuse_overwriting(str(source), name)


def test_other_files_may_be_written(tmp_path: Path) -> None:
    source = tmp_path / "phobos.xir"
    source.write_bytes(b"model")
    (tmp_path / "other.xir").write_bytes(b"model")
    _correction.refuse_overwriting(str(source), str(tmp_path / "other.xir"))
    _correction.refuse_overwriting(str(source), str(tmp_path / "new.xir"))
    _correction.refuse_overwriting(str(source), str(tmp_path / "missing" / "new.xir"))


def test_two_results_are_not_one_file_that_is_yet_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name another"):
        _correction.refuse_overwriting(str(tmp_path / "new"), f"{tmp_path}/./new")


def test_document_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_correction, "_set_in_json", lambda *_args, **_options: None)
    fix, _former = FIXES["MAC"]
    with pytest.raises(InputError, match="cannot be corrected"):
        _correction.corrected(ENCODINGS["JSON"], [fix])
