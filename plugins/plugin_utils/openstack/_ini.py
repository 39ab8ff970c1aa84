# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that Kolla-Ansible merges, of which this collection has one block each. PRIVATE.

The rest of a file is the operator's. An option that the block has must not be there as well: both
would hold, or one of them in silence.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

_BEGIN = "# BEGIN mergetb.sriov.openstack\n"
_END = "# END mergetb.sriov.openstack\n"
# An editor can have changed the ends of the lines, or taken that of the last one.
_BLOCK = re.compile(rf"{_BEGIN.strip()}\r?\n.*?{_END.strip()}(?:\r?\n|$)", re.DOTALL)
_LINES = re.compile(r"\r\n|\r|\n")
_SECTION = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^\s:=#;][^:=]*?)\s*[:=]")

NOVA, ML2 = "nova.conf", "neutron/ml2_conf.ini"
"""The files of all hosts, below the directory of the custom configuration."""

Sections = t.Mapping[str, t.Sequence[tuple[str, str]]]
"""The options of a file in the order of its lines, by section."""

_SPECS = {("pci", "device_spec"), ("pci", "passthrough_whitelist")}
_SPECS |= {("default", "pci_passthrough_whitelist")}


class File(t.NamedTuple):
    """What a file gets, and the options that the rest of it must not have."""

    sections: Sections
    refused: set[tuple[str, str]]


def of_host(
    host: str, settings: t.Mapping[str, t.Any], *, whitelist: bool = False
) -> dict[str, File]:
    """Return the files of a host, by path below the directory."""
    option = "passthrough_whitelist" if whitelist else "device_spec"
    specs = [(option, json.dumps(spec)) for spec in settings["device_spec"]]
    names = ("physical_device_mappings", "exclude_devices")
    sriov_nic = [(name, ",".join(settings[name])) for name in names if settings[name]]
    return {
        f"nova/{host}/nova.conf": File({"pci": specs}, _SPECS),
        f"neutron/{host}/sriov_agent.ini": File(
            {"sriov_nic": sriov_nic}, {("sriov_nic", name) for name in names}
        ),
    }


def of_all(
    aliases: t.Iterable[t.Mapping[str, str]],
    filters: t.Sequence[str],
    mechanism_drivers: t.Sequence[str],
) -> dict[str, File]:
    """Return the files that all hosts share, by path below the directory."""
    return {
        NOVA: File(
            {
                "pci": [("alias", json.dumps(alias)) for alias in aliases],
                "filter_scheduler": [("enabled_filters", ",".join(filters))] if filters else [],
            },
            {*_SPECS, ("filter_scheduler", "enabled_filters")},
        ),
        ML2: File(
            {
                "ml2": [("mechanism_drivers", ",".join(mechanism_drivers))]
                if mechanism_drivers
                else []
            },
            {("ml2", "mechanism_drivers")} if mechanism_drivers else set(),
        ),
    }


def merged(path: str, text: str, file: File) -> str:
    """Return the content of a file with its block, at the end.

    :param text: its content before
    :raises InputError: the rest of it has an option that the block is about
    """
    rest = _BLOCK.sub("", text)
    if _BEGIN.strip() in rest or _END.strip() in rest:
        raise InputError(
            f"{path} has only one of the two lines of comment around the block of mergetb.sriov;"
            " remove that line and what is left of the block"
        )
    block = "".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options)
        for section, options in file.sections.items()
        if options
    )
    if not block:
        return rest
    for section, option in sorted(_options(rest) & file.refused):
        raise InputError(
            f"{path} has {option} in [{section}] outside of the block of mergetb.sriov; remove it"
            " there, or leave sriov_kolla_config out and write the file from what the role returns"
        )
    if rest and not rest.endswith("\n"):
        rest += "\n"
    return f"{rest}{_BEGIN}{block}{_END}"


def _options(text: str) -> set[tuple[str, str]]:
    """Return the options of a text with their sections. Case and hyphens do not matter there."""
    section = "default"
    found = set()
    for line in _LINES.split(text):
        if heading := _SECTION.match(line):
            section = heading[1].lower()
        elif option := _OPTION.match(line):
            found.add((section, option[1].lower().replace("-", "_")))
    return found
