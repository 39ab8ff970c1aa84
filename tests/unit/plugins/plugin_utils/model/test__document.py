# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._document import (
    EXPERIMENT,
    FACILITY,
    MATERIALIZATION,
    Kind,
)
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from hypothesis import given
from hypothesis import strategies as st
from mergetbapi import xir

FACILITIES = models.facility_encodings(models.PHOBOS) | models.go_encodings(
    models.before_2025(models.PHOBOS)
)
MATERIALIZATIONS = models.materialization_encodings(models.EXPERIMENT)
NETWORKS = models.network_encodings(models.hello())


def load(tmp_path: Path, data: bytes, kind: Kind) -> t.Any:
    """Load ``data`` from a file."""
    path = tmp_path / "document"
    path.write_bytes(data)
    return _document.load(str(path), kind)


def refusal(tmp_path: Path, data: bytes, kind: Kind) -> str:
    """Return the error of loading ``data`` from a file, without the file's name."""
    with pytest.raises(InputError) as caught:
        load(tmp_path, data, kind)
    name, _colon, message = str(caught.value).partition(": ")
    assert name == str(tmp_path / "document")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("encoding", FACILITIES)
def test_facility_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    facility = load(tmp_path, FACILITIES[encoding], FACILITY)
    assert facility.id == "phobos"
    assert [r.id for r in facility.resources] == [r.id for r in models.PHOBOS.resources]


@pytest.mark.parametrize("encoding", MATERIALIZATIONS)
def test_materialization_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    materialization = load(tmp_path, MATERIALIZATIONS[encoding], MATERIALIZATION)
    assert (materialization.rid, len(materialization.links)) == ("one", 3)


@pytest.mark.parametrize("length", [*range(1, 48), 65, 97, 123, 200])
def test_wire_is_told_from_text_whatever_its_first_bytes(tmp_path: Path, length: int) -> None:
    # The second byte is the length of the id, which may be a brace, a letter or white space.
    for first in "{a ":
        name = first.ljust(length, "a")
        facility = xir.Facility(id=name, resources=[xir.Resource(id="x0")])
        assert load(tmp_path, bytes(facility), FACILITY).id == name


@pytest.mark.parametrize("encoding", MATERIALIZATIONS)
def test_materialization_is_no_facility(tmp_path: Path, encoding: str) -> None:
    message = refusal(tmp_path, MATERIALIZATIONS[encoding], FACILITY)
    assert "is a materialization (portal.v1.Materialization), but a facility model" in message


@pytest.mark.parametrize("encoding", FACILITIES)
def test_facility_is_no_materialization(tmp_path: Path, encoding: str) -> None:
    message = refusal(tmp_path, FACILITIES[encoding], MATERIALIZATION)
    assert "is a facility model (xir.Facility), but a materialization" in message


@pytest.mark.parametrize("encoding", NETWORKS)
def test_experiment_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    network = load(tmp_path, NETWORKS[encoding], EXPERIMENT)
    assert (network.id, [node.id for node in network.nodes]) == (
        "hello",
        ["alpha", "beta", "gamma"],
    )


@pytest.mark.parametrize("encoding", NETWORKS)
@pytest.mark.parametrize("kind", [FACILITY, MATERIALIZATION])
def test_experiment_is_nothing_else(tmp_path: Path, encoding: str, kind: Kind) -> None:
    message = refusal(tmp_path, NETWORKS[encoding], kind)
    assert message == f"this is a {EXPERIMENT.title}, but a {kind.title} is needed"


@pytest.mark.parametrize("data", [*FACILITIES.values(), *MATERIALIZATIONS.values()])
def test_nothing_else_is_an_experiment(tmp_path: Path, data: bytes) -> None:
    message = refusal(tmp_path, data, EXPERIMENT)
    assert message.endswith(f", but a {EXPERIMENT.title} is needed")


def test_experiment_without_sockets_is_no_facility(tmp_path: Path) -> None:
    network = xir.Network(id="hello", nodes=[xir.Node(id="alpha")], links=[xir.Link(id="lan0")])
    assert "a facility model (xir.Facility) is needed" in refusal(
        tmp_path, bytes(network), FACILITY
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b" \n\t\r\n", "is empty"),
        (b"{}", "holds no facility model"),
        (b"[]", "neither JSON, base64 nor a protocol buffer"),
        (b'{"id": "lab"}', "holds no facility model"),
        (b'{"model": {}}', "holds no facility model"),
        (b'{"model": null}', "holds no facility model"),
        (b'{"resources": [{"id": "x0"}', "JSON is damaged or truncated"),
        (b'{"resources": {"x0": {}}}', "resources must be a list"),
        (b'{"a": ' * 100_000, "JSON is nested too deeply"),
        (b'{"resources": [{"id": "x0"}], "id": "\xff"}', "JSON is damaged"),
        (b"plugin: mergetb.sriov.xir\n", "neither JSON, base64 nor a protocol buffer"),
        ("größe".encode(), "neither JSON, base64 nor a protocol buffer"),
        (b"CgNsY", "base64 text is damaged or truncated"),
        (b"aGVsbG8gd29ybGQ=", "damaged or truncated, or no facility model"),
        (b"\0" * 1000, "damaged or truncated, or no facility model"),
        (b"\x0a\x02\xff\xfe\x1a\x04\x0a\x02x0", "damaged or truncated, or no facility model"),
    ],
)
def test_what_is_no_facility(tmp_path: Path, data: bytes, expected: str) -> None:
    assert expected in refusal(tmp_path, data, FACILITY)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no", "No such file")):
        with pytest.raises(InputError, match=f"^{path}: cannot be read: {reason}"):
            _document.load(str(path), FACILITY)


def test_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "huge.xir"
    with path.open("wb") as file:
        file.truncate(_document.SIZE_LIMIT + 1)
    with pytest.raises(InputError, match="larger than 256 MB"):
        _document.load(str(path), FACILITY)


def decoded_or_refused(data: bytes) -> None:
    """Decode ``data`` as each kind; whatever else than InputError it raises fails the test."""
    for kind in (FACILITY, MATERIALIZATION, EXPERIMENT):
        try:
            message = _document.decode(data, kind)
        except InputError as error:
            assert str(error)
        else:
            assert kind.fits(message)


@pytest.mark.parametrize("depth", [*range(800, 1100, 20), 10_000])
def test_oneof_nested_in_itself(depth: int) -> None:
    sriov = '{"Data": ' * depth + "{}" + "}" * depth
    port = f'{{"sriov": {sriov}}}'
    decoded_or_refused(
        f'{{"resources": [{{"id": "x", "NICs": [{{"ports": [{port}]}}]}}]}}'.encode()
    )


@given(
    st.sampled_from([*FACILITIES.values(), *MATERIALIZATIONS.values(), *NETWORKS.values()]),
    st.data(),
)
def test_truncated_at_any_place(document: bytes, data: st.DataObject) -> None:
    decoded_or_refused(document[: data.draw(st.integers(0, len(document)))])


@given(
    st.sampled_from([*FACILITIES.values(), *MATERIALIZATIONS.values()]),
    st.data(),
    st.binary(min_size=1, max_size=8),
)
def test_damaged_at_any_place(document: bytes, data: st.DataObject, damage: bytes) -> None:
    place = data.draw(st.integers(0, len(document) - 1))
    decoded_or_refused(document[:place] + damage + document[place + len(damage) :])


@given(st.binary() | st.text().map(str.encode) | st.binary().map(base64.b64encode))
def test_anything(data: bytes) -> None:
    decoded_or_refused(data)


FACILITY_KEYS = ["id", "resources", "NICs", "ports", "sriov", "Data", "roles", "mac", "model"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(FACILITY_KEYS), inner),
    )
)
def test_any_json(document: object) -> None:
    decoded_or_refused(json.dumps(document).encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "lab", "fqdn": "lab.example.net"}',
        '\ufeff\n{\n  "id" : "lab"',
        '{"resources": [{"id": "x0"',
        '{"cables": [], "resources": []}',
        '{"model": {"id": "lab"}}',
        '{"facility": {"name": "lab"}, "model": {"id": "lab"}}',
        *(data.decode() for name, data in FACILITIES.items() if "JSON" in name or "json" in name),
    ],
)
def test_looks_like_facility_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text, encoding="utf-8")
    assert _document.looks_like_facility_json(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"all": {"hosts": {"x0": {"resources": [], "id": "x0"}}}}',
        '{"_meta": {"hostvars": {}}, "all": {"children": ["hypervisors"]}}',
        '{"model": {"hosts": {"x0": {}}}}',
        '{"facility": {\n"children": {"model": {}}}}',
        '{"id": {"hosts": {"x0": {}}}}',
        '{"rid": "one", "eid": "hello", "pid": "demo"}',
        '{"plugin": "mergetb.sriov.xir"}',
    ],
)
def test_does_not_look_like_facility_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "inventory.json"
    path.write_text(text, encoding="utf-8")
    assert not _document.looks_like_facility_json(str(path))


def test_missing_file_does_not_look_like_facility_json(tmp_path: Path) -> None:
    assert not _document.looks_like_facility_json(str(tmp_path / "no"))
