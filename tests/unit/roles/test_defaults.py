# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles have the same defaults for the variables that they share, which a user sets once."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.mergetb.sriov.plugins.module_utils.prepare import _stages
from ansible_collections.mergetb.sriov.plugins.modules import restore_service

ROLES = Path(__file__).parents[3] / "roles"


STAGES = [stage.role for stage in _stages.STAGES]
# The playbook has these, because a role comes too late for them.
OF_THE_PLAYBOOK = {"sriov_serial", "sriov_max_fail_percentage"}


def defaults(role: str) -> dict[str, t.Any]:
    file = ROLES / role / "defaults" / "main.yml"
    return yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}


def options(role: str) -> dict[str, dict[str, t.Any]]:
    specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text("utf-8"))
    return specs["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_the_documented_defaults_are_those_that_hold(role: str) -> None:
    """For `prepare`, they are those of the roles that it includes."""
    own = defaults(role)
    assert own.keys() <= options(role).keys()
    roles = [role, *(STAGES if role == "prepare" else ())]
    held = {name: value for each in reversed(roles) for name, value in defaults(each).items()}
    documented = {
        name: option["default"] for name, option in options(role).items() if "default" in option
    }
    # The recipe is in the role itself, wherever that is.
    for name in documented.keys() - OF_THE_PLAYBOOK | (own.keys() - {"twin_recipe"}):
        assert documented[name] == held[name], name


def test_prepare_documents_what_its_roles_take() -> None:
    prepare = options("prepare")
    for role in STAGES:
        for name, option in options(role).items():
            # The roles tell each other, and no user tells them.
            if name != "sriov_reboot_causes":
                assert (prepare[name]["type"], prepare[name].get("default")) == (
                    option["type"],
                    option.get("default"),
                )


@pytest.mark.parametrize(
    "role",
    ["preflight", "iommu", "mlx_firmware", "vfs", "vfio", "materialize"],
)
def test_the_plan_is_that_of_the_run(role: str) -> None:
    planned = defaults("plan")
    # Where the results of a run go, and how long a restart may take, is not planned.
    for name, value in defaults(role).items():
        if name != "sriov_device_map":
            assert planned[name] == value, name


def test_no_role_restarts_a_host_unasked() -> None:
    assert defaults("prepare") == {"sriov_reboot": False}
    assert defaults("reboot")["sriov_reboot"] is False
    assert defaults("reboot")["sriov_reboot_held"] is False


def test_the_documented_units_are_those_of_the_module() -> None:
    units = restore_service.ARGUMENT_SPEC["before"]["default"]
    assert yaml.safe_load(restore_service.DOCUMENTATION)["options"]["before"]["default"] == units


@pytest.mark.parametrize(
    "unit",
    [
        # Debian's and Ubuntu's names, and those of RDO.
        "nova-compute.service",
        "openstack-nova-compute.service",
        "neutron-sriov-agent.service",
        "neutron-sriov-nic-agent.service",
        # Kolla-Ansible's, with Podman.
        "kolla-nova_compute-container.service",
        "kolla-neutron_sriov_agent-container.service",
        # What container engines start again by themselves.
        "docker.service",
        "containerd.service",
        "crio.service",
        "podman-restart.service",
        "kubelet.service",
    ],
)
def test_vfs_are_back_before_what_starts_guests(unit: str) -> None:
    assert unit in restore_service.ARGUMENT_SPEC["before"]["default"]
