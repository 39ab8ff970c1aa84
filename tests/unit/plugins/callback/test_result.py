# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the collection's playbooks on local hosts whose module is a stand-in.

The module itself takes NICs; a test of its own runs it as far as a host without them lets it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit import command_line
from ansible_collections.mergetb.sriov.tests.unit.local_facility import (
    CHANGES,
    MATERIALIZE,
    Facility,
    of_hosts,
)


@pytest.fixture
def facility(tmp_path: Path) -> Facility:
    """The example facility with the module's stand-in."""
    return Facility(tmp_path, real_module=False)


def test_ok(facility: Facility) -> None:
    document = facility.document("materialize", 0, *MATERIALIZE)
    assert document["version"] == 1
    assert document["mzid"] == "one.hello.demo"
    assert document["action"] == "materialize"
    assert document["outcome"] == "ok"
    assert document["message"] is None
    assert document["check_mode"] is False
    assert document["started"] < document["ended"]
    assert of_hosts(document, "outcome") == ["ok", "ok"]
    assert of_hosts(document, "changed") == [True, True]
    assert of_hosts(document, "changes") == [CHANGES, CHANGES]
    device_map = json.loads((facility.directory / "device_map.json").read_text(encoding="utf-8"))
    assert document["devices"] == device_map["devices"]
    assert [device["host"] for device in document["devices"]] == ["x0"] * 3 + ["x1"] * 3
    assert [facility.calls(host) for host in ("x0", "x1")] == [["reserved", "present"]] * 2
    assert [
        (leaf["leaf"], leaf["port"], leaf["vlans"], leaf["guest_tagged"])
        for leaf in document["leafs"]
    ] == [
        ("xleaf0", "swp1", [100, 200], []),
        ("xleaf0", "swp2", [100, 200], []),
        ("xleaf1", "swp1", [300], [300]),
        ("xleaf1", "swp2", [300], [300]),
    ]


def test_check_mode(facility: Facility) -> None:
    facility.fail("x0", "write", "written in check mode")
    document = facility.document("materialize", 0, *MATERIALIZE, "--check")
    assert [facility.calls(host) for host in ("x0", "x1")] == [["reserved (check)"]] * 2
    assert document["check_mode"] is True
    assert document["outcome"] == "ok"
    assert of_hosts(document, "changes") == [CHANGES, CHANGES]


@pytest.mark.parametrize("named", [("-e", "sriov_mzid=one.hello.demo"), MATERIALIZE])
def test_dematerialize(facility: Facility, named: tuple[str, ...]) -> None:
    document = facility.document("dematerialize", 0, *named)
    assert (document["action"], document["mzid"]) == ("dematerialize", "one.hello.demo")
    assert of_hosts(document, "changed") == [True, True]
    assert (document["devices"], document["leafs"]) == ([], [])


def test_materialization_that_the_inventory_names(facility: Facility) -> None:
    for host in ("x0", "x1"):
        facility.connect(host, ansible_connection="local", sriov_mzid="one.hello.demo")
    assert facility.document("dematerialize", 0)["mzid"] == "one.hello.demo"


def test_release_of_what_nobody_holds(facility: Facility) -> None:
    document = facility.document("release", 10, "-e", "sriov_mzid=one.hello.demo")
    assert (document["action"], document["outcome"]) == ("release", "refused")
    assert document["mzid"] == "one.hello.demo"
    assert "holds anything for one.hello.demo" in document["message"]
    assert of_hosts(document, "outcome") == ["untouched", "untouched"]


def test_host_refuses(facility: Facility) -> None:
    facility.fail("x1", "check", "VF is in use by {{ guest }}\n\u00fc")
    document = facility.document(
        "materialize", 10, *MATERIALIZE, ANSIBLE_LOCAL_TEMP=str(facility.directory / "tmp")
    )
    assert document["outcome"] == "refused"
    assert of_hosts(document, "outcome") == ["untouched", "refused"]
    assert of_hosts(document, "changed") == [False, False]
    assert of_hosts(document, "message") == [None, "VF is in use by {{ guest }}\n\u00fc"]
    assert document["devices"] == []
    assert len(document["leafs"]) == 4
    # The exit code does not keep Ansible from cleaning up.
    assert list((facility.directory / "tmp").iterdir()) == []
    assert {path.name for path in (facility.directory / "x1").iterdir()} == {"check", "calls"}
    assert not list(facility.directory.glob(".mergetb-sriov-*"))
    assert facility.calls("x0") == ["reserved", "withdrawn"]
    assert facility.calls("x1") == ["reserved"]


def test_input_is_refused(facility: Facility) -> None:
    document = facility.document("materialize", 10, "-e", "sriov_materialization=phobos.xir")
    assert document["outcome"] == "refused"
    assert document["mzid"] is None
    assert "this is a facility model (xir.Facility), but a mat" in document["message"]
    assert document["hosts"] == {}


def test_arguments_are_refused(facility: Facility) -> None:
    document = facility.document("materialize", 10)
    assert document["outcome"] == "refused"
    assert "sriov_materialization" in document["hosts"]["x0"]["message"]


def test_host_fails(facility: Facility) -> None:
    facility.fail("x0", "write", "VF 0 did not take its VLAN")
    document = facility.document("materialize", 2, *MATERIALIZE)
    assert document["outcome"] == "failed"
    assert of_hosts(document, "outcome") == ["failed", "ok"]
    assert of_hosts(document, "changed") == [None, True]
    assert of_hosts(document, "message") == ["VF 0 did not take its VLAN", None]
    assert of_hosts(document, "changes") == [CHANGES, CHANGES]
    assert {device["host"] for device in document["devices"]} == {"x1"}


def test_device_map_that_cannot_be_written(facility: Facility) -> None:
    document = facility.document(
        "materialize", 10, *MATERIALIZE, "-e", "sriov_device_map=nowhere/device_map.json"
    )
    assert document["outcome"] == "refused"
    assert f"the directory {facility.directory}/nowhere does not exist" in document["message"]
    assert of_hosts(document, "outcome") == ["untouched", "untouched"]


def test_host_is_unreachable(facility: Facility) -> None:
    facility.connect("x1", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    document = facility.document("materialize", 4, *MATERIALIZE)
    assert document["outcome"] == "refused"
    assert of_hosts(document, "outcome") == ["untouched", "unreachable"]
    assert of_hosts(document, "changed") == [False, False]
    assert "127.0.0.1" in document["hosts"]["x1"]["message"]
    assert facility.calls("x0") == ["reserved", "withdrawn"]


def test_reservation_that_cannot_be_taken_back(facility: Facility) -> None:
    facility.fail("x1", "check", "VF is in use")
    facility.fail("x0", "withdrawn", "no space left")
    document = facility.document("materialize", 10, *MATERIALIZE)
    assert of_hosts(document, "outcome") == ["refused", "refused"]
    assert of_hosts(document, "message") == ["no space left", "VF is in use"]
    assert facility.calls("x0") == ["reserved", "withdrawn"]


def test_all_hosts_refuse(facility: Facility) -> None:
    for host in ("x0", "x1"):
        facility.fail(host, "check", "VF is in use")
    document = facility.document("materialize", 10, *MATERIALIZE)
    assert of_hosts(document, "outcome") == ["refused", "refused"]
    assert [facility.calls(host) for host in ("x0", "x1")] == [["reserved"], ["reserved"]]


def test_no_host(facility: Facility) -> None:
    (facility.directory / "none.yml").write_text("all: {hosts: {}}\n", encoding="utf-8")
    done = command_line.run(
        facility.directory,
        *("playbook", "-i", "none.yml", "mergetb.sriov.materialize", *MATERIALIZE),
        check=False,
        ANSIBLE_INVENTORY_ENABLED="ansible.builtin.yaml",
        ANSIBLE_CALLBACKS_ENABLED="mergetb.sriov.result",
    )
    assert done.returncode == 10, done.stdout + done.stderr
    document = json.loads(facility.result.read_text(encoding="utf-8"))
    assert (document["outcome"], document["hosts"]) == ("refused", {})
    assert document["message"] == "the inventory has no host that the play is for"


def test_the_module_itself(tmp_path: Path) -> None:
    facility = Facility(tmp_path, real_module=True)
    document = facility.document("materialize", 10, *MATERIALIZE)
    assert of_hosts(document, "outcome") == ["refused", "refused"]
    assert "no interface of this host has the permanent MAC 04:72:" in str(document["hosts"]["x0"])


def test_place_that_is_missing_refuses_before_the_first_write(facility: Facility) -> None:
    done = facility.run("materialize", *MATERIALIZE, SRIOV_RESULT="nowhere/result.json")
    assert done.returncode == 1
    assert f"the directory {facility.directory}/nowhere does not exist" in done.stderr
    assert "; see SRIOV_RESULT" in done.stderr
    assert "TASK [" not in done.stdout


def test_document_goes_where_the_run_was_started(facility: Facility) -> None:
    facility.document("materialize", 0, *MATERIALIZE, SRIOV_RESULT="result.json", PWD="/")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a device")
def test_device_is_neither_removed_nor_replaced(facility: Facility) -> None:
    full = facility.directory / "full"
    os.mknod(full, 0o020666, os.makedev(1, 7))
    done = facility.run("materialize", *MATERIALIZE, SRIOV_RESULT="full")
    assert done.returncode == 1
    assert "full is not a regular file; name another; see SRIOV_RESULT" in done.stderr
    assert full.is_char_device()


def test_document_of_an_earlier_run_goes_first(facility: Facility) -> None:
    facility.result.write_text("former", encoding="utf-8")
    during = f"{{{{ query('ansible.builtin.fileglob', '{facility.result}') | length }}}} documents"
    document = facility.document(
        "materialize", 0, *MATERIALIZE, "-e", json.dumps({"sriov_driver": during})
    )
    assert {device["driver"] for device in document["devices"]} == {"0 documents"}


def test_other_playbooks_are_left_alone(facility: Facility) -> None:
    facility.result.write_text("former", encoding="utf-8")
    (facility.directory / "play.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.fail: {}}]\n",
        encoding="utf-8",
    )
    done = command_line.run(
        facility.directory,
        *("playbook", "-i", "phobos.xir", "play.yml"),
        check=False,
        ANSIBLE_CALLBACKS_ENABLED="mergetb.sriov.result",
    )
    assert done.returncode == 2
    assert facility.result.read_text(encoding="utf-8") == "former"


@pytest.mark.parametrize("mzid", [(), ("-e", "sriov_mzid=one.hello.demo")])
def test_release_of_a_run_that_reserved_nothing(facility: Facility, mzid: tuple[str, ...]) -> None:
    """Without the materialization, or with another run's name, it did nothing and ended well."""
    document = facility.document("release", 10, *mzid, "-e", "sriov_run=nobody")
    assert document["outcome"] == "refused"
    assert not (facility.directory / "x0" / "calls").exists()


def test_nothing_is_logged(facility: Facility) -> None:
    """A facility may have set no_log for all tasks."""
    document = facility.document("materialize", 0, *MATERIALIZE, ANSIBLE_NO_LOG="1")
    assert document["outcome"] == "ok"
