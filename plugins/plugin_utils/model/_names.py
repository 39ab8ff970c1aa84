# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of names and addresses that come from MergeTB's files. PRIVATE to the collection.

Each check takes the value and ``what``, the name of the value in an error.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re

try:
    import netaddr
except ImportError as error:
    _NETADDR_IMPORT_ERROR: ImportError | None = error
else:
    _NETADDR_IMPORT_ERROR = None

from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError

TEXT_LIMIT = 255
"""The longest text that passes a check, in characters."""

LINK_LIMIT = 65535
"""The longest name of a link, in characters: mergexp makes it from the names of all members."""


# The libraries also accept line breaks, underscores, signs, digits of other scripts, netmasks,
# zones and abbreviations.
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(/(0|[1-9][0-9]{0,2}))?")
_MAC = re.compile(
    "([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}"
    r"|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12}"
)

# As most files have it, and as `mac` returns it. No multicast address looks so.
_PLAIN_MAC = re.compile("[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
_ZERO = "00:00:00:00:00:00"


@dataclasses.dataclass(frozen=True)
class NameRule:
    """What names of one kind consist of: the first character, the others, the longest length."""

    first: str
    more: str
    limit: int

    def check(self, value: str, what: str) -> str:
        """Return ``value``.

        :raises InputError: it is not such a name
        """
        if not re.fullmatch(f"[{self.first}][{self.first}{self.more}]{{,{self.limit - 1}}}", value):
            raise InputError(
                f"{what} {quoted(value)} must have 1 to {self.limit} of the characters"
                f" {self.first}{self.more} and begin with one of {self.first}"
            )
        return value


# No hyphen in front: ssh would take such a name for an option.
HOST = NameRule("A-Za-z0-9_", ".-", 253)
MZID_PART = NameRule("A-Za-z0-9", "_-", 63)
NODE = NameRule("A-Za-z0-9", "_.-", 63)
# The name is also the id of a QEMU device and a libvirt alias. Linux limits the name of an
# interface to 15.
NIC = NameRule("A-Za-z", "0-9_-", 15)


def quoted(value: str) -> str:
    """Return ``value`` for a message: in quotes, escaped, no longer than a line."""
    return repr(value if len(value) <= 60 else value[:60] + "...")


def text(value: str, what: str, *, limit: int = TEXT_LIMIT) -> str:
    """Return ``value``.

    :raises InputError: it is not printable or longer than ``limit``
    """
    if len(value) > limit or not value.isprintable():
        raise InputError(
            f"{what} {quoted(value)} must be printable and have at most {limit} characters"
        )
    return value


def link(value: str, what: str) -> str:
    """Return ``value``.

    :raises InputError: it is not printable or longer than ``LINK_LIMIT``
    """
    return text(value, what, limit=LINK_LIMIT)


def mzid_parts(value: str) -> list[str]:
    """Return the parts of a materialization id: rid, eid and pid.

    :raises InputError: it is not such an id
    """
    parts = value.split(".")
    if len(parts) != 3:
        raise InputError(f"materialization id {quoted(value)} must be rid.eid.pid")
    return [MZID_PART.check(p, f"materialization id {quoted(value)}: part") for p in parts]


def address(value: str, what: str) -> str:
    """Return the IP address in ``value``, which may have a prefix length.

    :raises InputError: ``value`` is not an IP address
    """
    return interface_address(value, what).partition("/")[0]


def interface_address(value: str, what: str) -> str:
    """Return an IP address as canonical text, with its prefix length if ``value`` has one.

    :raises InputError: ``value`` is not an IP address
    """
    try:
        if not _ADDRESS.fullmatch(value):
            raise ValueError
        interface = ipaddress.ip_interface(value)
    except ValueError:
        raise InputError(f"{what} {quoted(value)} is not an IP address") from None
    return str(interface if "/" in value else interface.ip)


def mac(value: str, what: str) -> str:
    """Return the MAC address of an interface in lower case with colons.

    :raises InputError: ``value`` is not a MAC address, is zero or is multicast
    """
    require_netaddr()
    # A model has ten thousands, and the library takes most of the time of reading one.
    if _PLAIN_MAC.fullmatch(value) and value != _ZERO:
        return value
    if not _MAC.fullmatch(value):
        raise InputError(f"{what} {quoted(value)} is not a MAC address")
    eui = netaddr.EUI(value, version=48, dialect=netaddr.mac_unix_expanded)
    if eui.value == 0 or eui.words[0] & 1:
        raise InputError(f"{what} {eui} is zero or multicast: no interface has it")
    return str(eui)


def same_mac(value: str, canonical: str | None) -> bool:
    """Return whether ``value`` is a spelling of a MAC address that ``mac`` has returned."""
    try:
        return canonical is not None and mac(value, "MAC") == canonical
    except InputError:
        return False


def require_netaddr() -> None:
    """Raise ``InputError`` if the package is missing that the other functions use."""
    if _NETADDR_IMPORT_ERROR is not None:
        raise InputError(
            "the Python package netaddr is missing where ansible runs; install it there"
            f" ({_NETADDR_IMPORT_ERROR})"
        )
