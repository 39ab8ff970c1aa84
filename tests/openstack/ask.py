# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks Nova and Neutron what they read in their files. It runs where these two are installed.

Usage: ask.py SYSFS FILE... <<< '[{"address": ..., "vendor_id": ..., "product_id": ..., ...}, ...]'

SYSFS is the root of the tree that the host of the files has. The answer is JSON.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import typing as t

import nova.conf
from neutron.conf.plugins.ml2 import config as ml2
from neutron.plugins.ml2.drivers.mech_sriov.agent import sriov_nic_agent
from nova import exception
from nova.pci import request, utils, whitelist
from oslo_config import cfg

Asked = t.Callable[[], t.Any]


def is_physical_function(root: str, domain: str, bus: str, slot: str, function: str) -> bool:
    """Take the place of Nova's function of this name, which reads the files of this machine."""
    return _totalvfs(f"{root}/sys/bus/pci/devices/{domain}:{bus}:{slot}.{function}") > 0


def get_function_by_ifname(root: str, name: str) -> tuple[str | None, bool]:
    """Take the place of Nova's other function of this kind."""
    device = f"{root}/sys/class/net/{name}/device"
    if not os.path.isdir(device):
        return None, False
    return os.path.basename(os.path.realpath(device)), _totalvfs(device) > 0


def _totalvfs(device: str) -> int:
    try:
        with open(f"{device}/sriov_totalvfs", encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return 0


def offered(devices: list[dict[str, t.Any]]) -> dict[str, dict[str, str]]:
    """Return the tags of each device that Nova offers to guests, by its address."""
    specs = whitelist.Whitelist(nova.conf.CONF.pci.device_spec).specs
    # The first that matches counts, as in Whitelist.get_devspec.
    return {
        device["address"]: spec.get_tags()
        for device in devices
        for spec in reversed(specs)
        if spec.match(device)
    }


def neutron() -> dict[str, t.Any]:
    """Return what Neutron's agent knows of its devices."""
    parser = sriov_nic_agent.SriovNicAgentConfigParser()
    parser.parse()
    excluded = parser.exclude_devices
    return {
        "mappings": parser.device_mappings,
        "excluded": {device: sorted(vfs) for device, vfs in excluded.items()},
    }


def or_error(ask: Asked) -> t.Any:
    """Return an answer, or the error that comes instead of it."""
    try:
        return ask()
    except (exception.NovaException, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    root, *files = sys.argv[1:]
    utils.is_physical_function = functools.partial(is_physical_function, root)
    utils.get_function_by_ifname = functools.partial(get_function_by_ifname, root)
    devices = json.load(sys.stdin)
    named = [f"--config-file={file}" for file in files]
    nova.conf.CONF(named, project="nova", default_config_files=[])
    if nova.conf.CONF is not cfg.CONF:
        cfg.CONF(named, project="neutron", default_config_files=[])
    ml2.register_ml2_plugin_opts()
    answer = {
        "offered": or_error(lambda: offered(devices)),
        "aliases": or_error(request.get_alias_from_config),
        "enabled_filters": nova.conf.CONF.filter_scheduler.enabled_filters,
        "neutron": or_error(neutron),
        "mechanism_drivers": cfg.CONF.ml2.mechanism_drivers,
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
