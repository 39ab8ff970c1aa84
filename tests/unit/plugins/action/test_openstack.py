# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.tests.unit import acting
from ansible_collections.mergetb.sriov.tests.unit import openstack_hosts as hosts

Variables = dict[str, dict[str, t.Any]]


@pytest.fixture
def variables(tmp_path: Path) -> Variables:
    """The variables of three hosts that have told what they have."""
    (tmp_path / "hosts").mkdir()
    return {
        host: {
            "found": found,
            "sriov_physical_networks": hosts.NETWORKS[host],
            "sriov_pfs": hosts.OFFERED.get(host, []),
        }
        for host, found in hosts.answers(tmp_path / "hosts").items()
    }


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    return directory


def run(variables: Variables, *, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    return acting.run(
        "openstack", {"results": "found", **options}, variables, check=check, diff=True
    )


def tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text(encoding="utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_settings_without_files(variables: Variables, config: Path) -> None:
    result = run(variables, mechanism_drivers=["ovn"])
    assert not result["changed"]
    assert "files" not in result
    assert list(result["hosts"]) == list(hosts.HOSTS)
    assert result["enabled_filters"][-1] == "PciPassthroughFilter"
    assert result["mechanism_drivers"] == ["ovn", "sriovnicswitch"]
    assert tree(config) == {}


def test_mappings_of_kolla_and_of_kayobes_document(variables: Variables) -> None:
    del variables["compute0"]["sriov_physical_networks"]
    variables["compute0"]["neutron_sriov_physnet_mappings"] = {"physnet2": "p4p2"}
    del variables["compute1"]["sriov_physical_networks"]
    variables["compute1"]["sriov_physnet_mappings"] = {"p5p1": "physnet2", "p5p2": "physnet2"}
    result = run(variables)
    assert [
        result["hosts"][host]["physical_device_mappings"] for host in ("compute0", "compute1")
    ] == [["physnet2:p4p2"], ["physnet2:p5p1", "physnet2:p5p2"]]


def test_check_mode_tells_what_the_run_does(variables: Variables, config: Path) -> None:
    check = run(variables, check=True, directory=str(config))
    assert list(config.iterdir()) == []
    done = run(variables, directory=str(config))
    again = run(variables, directory=str(config))
    files = tree(config)
    assert sorted(files) == [
        *(f"neutron/{host}/sriov_agent.ini" for host in hosts.HOSTS),
        *("nova.conf", *(f"nova/{host}/nova.conf" for host in hosts.HOSTS)),
    ]
    assert check["changed"]
    assert check == done
    assert {diff["after_header"]: diff["after"] for diff in done["diff"]} == {
        str(config / name): text for name, text in files.items()
    }
    assert (again["changed"], again["diff"]) == (False, [])


def test_undo_leaves_what_is_not_ours(variables: Variables, config: Path) -> None:
    own = "[DEFAULT]\ndebug = true\n"
    (config / "nova" / "compute0").mkdir(parents=True)
    (config / "nova" / "compute0" / "nova.conf").write_text(own, encoding="utf-8")
    run(variables, directory=str(config))
    for host in variables.values():
        host["sriov_physical_networks"] = {}
    run(variables, directory=str(config))
    left = tree(config)
    assert left.pop("nova/compute0/nova.conf") == own
    assert "PciPassthroughFilter" in left.pop("nova.conf")
    assert set(left.values()) == {""}


def test_all_problems_at_once_and_nothing_written(variables: Variables, config: Path) -> None:
    variables["compute0"]["sriov_physical_networks"] = {"physnet2": "p9p9"}
    variables["compute1"]["sriov_physical_networks"] = {"a,b": "p5p1"}
    del variables["compute2"]["sriov_physical_networks"]
    alias = {
        "name": "connectx",
        "device_type": "type-VF",
        "vendor_id": "15b3",
        "product_id": "1017",
    }
    result = run(variables, directory=str(config), aliases=[alias, {"name": "b"}])
    assert result["failed"]
    for part in (
        "host compute0: the mapping of physical networks is refused",
        "interface p9p9 matches no PF",
        "host compute1: sriov_physical_networks: physical network 'a,b' must have",
        "host compute2: it has no mapping of physical networks",
        "alias b must have name",
        "alias connectx: host compute1: 1017 is the product id of the PF",
    ):
        assert part in result["msg"]
    assert list(config.iterdir()) == []


def test_file_that_has_the_option_already(variables: Variables, config: Path) -> None:
    (config / "nova.conf").write_text('[pci]\ndevice_spec = {"devname": "p4p1"}\n')
    result = run(variables, directory=str(config))
    assert "nova.conf has device_spec in [pci] outside of the block" in result["msg"]
    assert list(tree(config)) == ["nova.conf"]


@pytest.mark.parametrize("host", ["..", "a/b", "-x"])
def test_name_of_a_host_is_no_path(variables: Variables, config: Path, host: str) -> None:
    variables = {host: variables["compute0"]}
    assert "its name" in run(variables, directory=str(config))["msg"]


def test_directory_that_is_not_there(variables: Variables, tmp_path: Path) -> None:
    for check in (True, False):
        result = run(variables, check=check, directory=str(tmp_path / "none"))
        assert "is no directory; make it, or name another" in result["msg"]


def test_a_file_keeps_its_mode_and_its_bytes(variables: dict[str, t.Any], config: Path) -> None:
    path = config / "nova" / "compute0" / "nova.conf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"# K\xf6ln\n[database]\nconnection = mysql://nova:secret@db\n")
    path.chmod(0o600)
    assert not run(variables, directory=str(config)).get("failed")
    assert path.read_bytes().startswith(b"# K\xf6ln\n")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_a_block_that_an_editor_touched_is_taken_back(
    variables: dict[str, t.Any], config: Path, end: bytes
) -> None:
    run(variables, directory=str(config))
    path = config / "nova" / "compute0" / "nova.conf"
    text = path.read_bytes()
    path.write_bytes(text.replace(b"\n", end) if end else text.rstrip(b"\n"))
    for host in variables.values():
        host["sriov_physical_networks"] = {}
    run(variables, directory=str(config))
    assert "device_spec" not in path.read_text()


def test_two_hosts_do_not_share_a_file(variables: dict[str, t.Any], config: Path) -> None:
    (config / "nova" / "compute0").mkdir(parents=True)
    (config / "nova" / "compute1").symlink_to("compute0")
    assert "are one file" in run(variables, directory=str(config))["msg"]
