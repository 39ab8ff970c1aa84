# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible_collections.mergetb.sriov.tests.tools.make_phobos import DIRECTORY as PHOBOS
from ansible_collections.mergetb.sriov.tests.unit import command_line, models

CONFIGURATION = "plugin: mergetb.sriov.xir\nmodel: phobos.xir\n"


def plugin() -> t.Any:
    """Return the plugin as Ansible loads it."""
    return inventory_loader.get("mergetb.sriov.xir")


def parse(path: Path) -> InventoryData:
    """Return the inventory of a file."""
    inventory = InventoryData()
    plugin().parse(inventory, DataLoader(), str(path))
    inventory.reconcile_inventory()
    return inventory


def groups(inventory: InventoryData) -> dict[str, list[str]]:
    """Return the hosts of each group."""
    return {name: sorted(h.name for h in group.hosts) for name, group in inventory.groups.items()}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with the example facility's model."""
    (tmp_path / "phobos.xir").write_bytes(bytes(models.PHOBOS))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "taken"),
    [
        ("phobos.xir", "", True),
        ("phobos.XIR", "", True),
        ("tbxir.pbuf", "", True),
        ("tbxir.pb", "", True),
        ("phobos.pb64", "", True),
        ("phobos.xir.yml", "", True),
        ("phobos.xir.yaml", "", True),
        ("phobos.json", '{"id": "phobos", "resources": [', True),
        ("phobos.json", '{"all": {"hosts": {}}}', False),
        ("phobos.yml", CONFIGURATION, False),
        ("hosts.ini", "x0\n", False),
        ("hosts", "x0\n", False),
        ("xir", "", False),
    ],
)
def test_verify_file(tmp_path: Path, name: str, content: str, taken: bool) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert plugin().verify_file(str(tmp_path / name)) is taken


def test_verify_file_that_is_missing(tmp_path: Path) -> None:
    assert not plugin().verify_file(str(tmp_path / "phobos.xir"))


def test_hosts_and_groups() -> None:
    inventory = parse(PHOBOS / "phobos.xir")
    assert sorted(inventory.hosts) == ["x0", "x1"]
    assert groups(inventory) == {
        "all": [],
        "ungrouped": [],
        "hypervisors": ["x0", "x1"],
        "role_tbnode": ["x0", "x1"],
        "role_hypervisor": ["x0", "x1"],
        "leaf_xleaf0": ["x0", "x1"],
        "leaf_xleaf1": ["x0", "x1"],
    }
    variables = inventory.hosts["x0"].vars
    assert variables["ansible_host"] == "172.29.0.16"
    assert variables["sriov_max_vfs"] == 14
    leaf = {"host": "xleaf1", "port": "swp1", "domain": "xleaf1"}
    assert variables["sriov_pfs"][1]["leaf"] == leaf


def test_names_of_groups_are_sanitized(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facility = models.phobos()
    models.resource(facility, "xleaf0").id = "x-leaf.0 {{ 1 + 1 }}"
    (directory / "phobos.xir").write_bytes(bytes(facility))
    assert "leaf_x_leaf_0____1___1___" in groups(parse(directory / "phobos.xir"))
    assert capsys.readouterr().err == ""


def test_warnings_name_the_model(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facility = models.phobos()
    facility.cables = []
    (directory / "phobos.xir").write_bytes(bytes(facility))
    parse(directory / "phobos.xir")
    told = "".join(capsys.readouterr().err.split())
    assert "[WARNING]:" in told
    assert f"{directory}/phobos.xir:themodellacks" in told


@pytest.mark.parametrize("data", [b"", b"CgNsY", models.EXPERIMENT.to_json().encode()])
def test_nothing_of_a_damaged_model_is_taken(directory: Path, data: bytes) -> None:
    path = directory / "phobos.xir"
    path.write_bytes(data)
    inventory = InventoryData()
    with pytest.raises(AnsibleParserError, match=f"^{path}: "):
        plugin().parse(inventory, DataLoader(), str(path))
    assert not inventory.hosts


def test_error_in_a_model_names_file_and_element(directory: Path) -> None:
    facility = models.phobos()
    models.resource(facility, "x1").id = "x0"
    path = directory / "phobos.xir"
    path.write_bytes(bytes(facility))
    with pytest.raises(AnsibleParserError, match=f"^{path}: 2 resources have the id 'x0'"):
        parse(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plugin: mergetb.sriov.xir\n", "the option model is missing"),
        ("plugin: mergetb.sriov.xir\nmodel: no.xir\n", "no.xir: cannot be read: No such file"),
        ("plugin: community.general.nmap\n", "Incorrect plugin name"),
        ("", "is empty"),
        (CONFIGURATION + "link_roles: [xp]\n", "link_roles: 'xp' is none of "),
    ],
)
def test_errors_in_a_configuration(directory: Path, text: str, told: str) -> None:
    path = directory / "phobos.xir.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnsibleParserError, match=told):
        parse(path)


def test_configuration(directory: Path) -> None:
    path = directory / "phobos.xir.yml"
    path.write_text(
        CONFIGURATION
        + """
hypervisors_only: false
link_roles: [MgmtLink]
strict: true
compose:
  first_role: xir_roles[0]
groups:
  racked: xir_id in ['x0', 'm0']
keyed_groups:
  - key: xir_facility
    prefix: facility
""",
        encoding="utf-8",
    )
    inventory = parse(path)
    assert len(inventory.hosts) == len(models.PHOBOS.resources)
    assert inventory.hosts["ops"].vars["first_role"] == "OpsServer"
    assert inventory.hosts["x0"].vars["sriov_pfs"] == []
    assert groups(inventory)["racked"] == ["m0", "x0"]
    assert len(groups(inventory)["facility_phobos"]) == len(models.PHOBOS.resources)


def test_strict(directory: Path) -> None:
    path = directory / "phobos.xir.yml"
    lenient = CONFIGURATION + "compose:\n  a: no_such_variable\n"
    path.write_text(lenient, encoding="utf-8")
    assert "a" not in parse(path).hosts["x0"].vars
    path.write_text(f"{lenient}strict: true\n", encoding="utf-8")
    with pytest.raises(Exception, match="Could not set a for host x0"):
        parse(path)


def test_model_is_relative_to_the_configuration(directory: Path) -> None:
    (directory / "sub").mkdir()
    (directory / "sub/lab.xir.yaml").write_text(
        "plugin: mergetb.sriov.xir\nmodel: ../phobos.xir\n", encoding="utf-8"
    )
    (directory / "elsewhere").mkdir()
    listed = command_line.inventory(directory / "elsewhere", "../sub/lab.xir.yaml")
    assert listed["hypervisors"]["hosts"] == ["x0", "x1"]


def test_command_line(directory: Path) -> None:
    listed = command_line.inventory(directory, "phobos.xir")
    assert listed["all"]["children"] == [
        "ungrouped",
        "role_tbnode",
        "role_hypervisor",
        "leaf_xleaf0",
        "leaf_xleaf1",
        "hypervisors",
    ]
    assert listed["_meta"]["hostvars"]["x0"]["sriov_pfs"][0]["mac"] == "04:72:00:00:10:00"
    limited = command_line.inventory(directory, "phobos.xir", "--limit", "x1")
    assert list(limited["_meta"]["hostvars"]) == ["x1"]
    assert limited["leaf_xleaf0"]["hosts"] == ["x1"]


def test_no_text_of_a_model_is_a_template(directory: Path) -> None:
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(directory / "pwned") + "') }}"
    facility = models.phobos()
    models.resource(facility, "x0").facility = template[:255]
    models.pf(facility, "x0").name = "{{ 1 + 1 }}"
    (directory / "phobos.xir").write_bytes(bytes(facility))
    (directory / "phobos.xir.yml").write_text(
        CONFIGURATION + "compose:\n  copied: sriov_pfs[0].name\nkeyed_groups:\n  - key: copied\n",
        encoding="utf-8",
    )
    shown = command_line.run(
        directory,
        "adhoc",
        *("-i", "phobos.xir.yml", "x0", "-m", "ansible.builtin.debug"),
        *("-a", "msg='{{ [xir_facility, sriov_pfs[0].name, copied] | to_json }}'"),
    )
    message = json.loads(shown.stdout.partition("=>")[2])["msg"]
    shown_values = json.loads(message) if isinstance(message, str) else message
    assert shown_values == [template[:255], "{{ 1 + 1 }}", "{{ 1 + 1 }}"]
    assert not (directory / "pwned").exists()


def test_cache(directory: Path) -> None:
    cache: dict[str, t.Any] = {
        "ANSIBLE_INVENTORY_CACHE": "1",
        "ANSIBLE_INVENTORY_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_INVENTORY_CACHE_CONNECTION": str(directory / "cache"),
    }
    (directory / "play.yml").write_text(
        """
- hosts: x0
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        var: sriov_pfs[0].name
""",
        encoding="utf-8",
    )

    def name(*arguments: str) -> str:
        shown = command_line.run(directory, "playbook", *arguments, "play.yml", **cache)
        return re.findall('"sriov_pfs\\[0\\].name": "(.*)"', shown.stdout)[0]

    facility = models.phobos()
    models.pf(facility, "x0").name = "{{ 1 + 1 }}"
    (directory / "phobos.xir").write_bytes(bytes(facility))
    assert name("-i", "phobos.xir") == "{{ 1 + 1 }}"
    (directory / "phobos.xir").write_bytes(bytes(models.PHOBOS))
    assert name("-i", "phobos.xir") == "{{ 1 + 1 }}"
    assert name("-i", "phobos.xir", "--flush-cache") == "ens1f0"
    assert name("-i", "phobos.xir") == "ens1f0"
    # Other options of the same model are not answered from its cache.
    (directory / "phobos.xir.yml").write_text(
        CONFIGURATION + "link_roles: [InfraLink]\n", encoding="utf-8"
    )
    listed = command_line.inventory(directory, "phobos.xir.yml", **cache)
    assert listed["_meta"]["hostvars"]["x0"]["sriov_pfs"] == []


def failed(directory: Path, source: str, **environment: str) -> str:
    """Return what is told of an inventory source that cannot be parsed, its white space folded."""
    result = command_line.run(
        directory,
        "inventory",
        *("-i", source, "--list"),
        check=False,
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1",
        **environment,
    )
    assert result.returncode
    assert "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def test_damaged_model_on_the_command_line(directory: Path) -> None:
    (directory / "phobos.xir").write_text("CgNsYWI", encoding="utf-8")
    assert "/phobos.xir: the base64 text is damaged or truncated" in failed(directory, "phobos.xir")


def test_damaged_model_is_told_though_ini_takes_it_for_hosts(directory: Path) -> None:
    (directory / "phobos.xir").write_text("CgNsYWI", encoding="utf-8")
    result = command_line.run(
        directory,
        "inventory",
        *("-i", "phobos.xir", "--list"),
        ANSIBLE_INVENTORY_ENABLED="mergetb.sriov.xir,ansible.builtin.ini",
    )
    assert "CgNsYWI" in result.stdout
    assert "base64 text is damaged or truncated" in " ".join(result.stderr.split())


def test_json_inventories_of_ansible_are_left_alone(directory: Path) -> None:
    (directory / "hosts.json").write_text(
        '{"all": {"hosts": {"x9": {"id": "x9", "resources": []}}}}', encoding="utf-8"
    )
    (directory / "phobos.json").write_text(models.PHOBOS.to_json(), encoding="utf-8")
    enabled = {"ANSIBLE_INVENTORY_ENABLED": "mergetb.sriov.xir,ansible.builtin.yaml"}
    listed = command_line.inventory(directory, "hosts.json", "-i", "phobos.json", **enabled)
    assert sorted(listed["_meta"]["hostvars"]) == ["x0", "x1", "x9"]


@pytest.mark.parametrize("package", ["google/protobuf", "netaddr"])
def test_python_package_is_missing(directory: Path, package: str) -> None:
    (directory / "shadow" / package).mkdir(parents=True)
    (directory / "shadow" / package / "__init__.py").write_text('raise ImportError("absent")\n')
    told = failed(directory, "phobos.xir", PYTHONPATH=str(directory / "shadow"))
    name = package.rpartition("/")[2]
    assert f"the Python package {name}" in told
    assert "is missing where ansible runs; install it there (absent)" in told
