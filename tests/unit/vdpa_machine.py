# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fabricated host whose kernel has vDPA, with the attributes that the real one has."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import BlockedError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._netlink import attributes
from ansible_collections.mergetb.sriov.tests.unit.fabricated import Event, Machine

if t.TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._generic import (
        GenericRequest,
    )

BUS = "/sys/bus/vdpa"
SIMULATOR = "vdpasim_net"
# What vdpa_sim_net of Linux 6.12 offers, and has in its config_attr_mask.
FEATURES = 0x308830028
TAKEN = 1 << 10 | 1 << 13 | 1 << 20

# Numbers of include/uapi/linux/vdpa.h.
MGMTDEV_GET, DEV_NEW, DEV_DEL, DEV_GET, DEV_CONFIG_GET = 2, 3, 4, 5, 6


class VdpaMachine(Machine):
    """Has the management device `vdpasim_net`, and one for each function of `add_management`.

    *keep* answers which value a new device has of an attribute (name of the device, its number,
    value), *opened* names devices that a process has open, and *refuse* answers why one is not made
    (its name), or 0.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__(directory)
        self.management: dict[str, int] = {SIMULATOR: TAKEN}
        self.vdpa: dict[str, dict[int, bytes]] = {}
        self.opened: set[str] = set()
        self.keep: t.Callable[[str, int, bytes], bytes] = lambda name, number, value: value
        self.refuse: t.Callable[[str], int] = lambda name: 0
        self.loaded = True
        self.put(f"{BUS}/drivers_autoprobe", "1\n")
        self.put(f"{BUS}/drivers_probe", "")
        self.put(f"{BUS}/drivers/vhost_vdpa/unbind", "")

    def add_management(self, address: str, driver: str = "vp-vdpa", taken: int = 1 << 20) -> None:
        self.add_function(address, driver=driver)
        self.management[f"pci/{address}"] = taken

    def vdpa_driver(self, name: str) -> str | None:
        return self.link(f"{BUS}/devices/{name}/driver")

    def generic_dump(self, family: str, command: int) -> list[dict[int, bytes]] | None:
        if not self.loaded:
            return None
        if command == MGMTDEV_GET:
            return [
                {
                    **_handle(name),
                    3: struct.pack("=Q", 1 << 1),
                    15: struct.pack("=I", 3),
                    16: struct.pack("=Q", FEATURES),
                }
                for name in self.management
            ]
        told = (1, 2, 4, 5, 6, 7, 8) if command == DEV_GET else (4, 5, 10, 12, 13, 14, 20)
        return [
            {number: value for number, value in parts.items() if number in told}
            for parts in self.vdpa.values()
        ]

    def generic_in_turn(
        self, requests: t.Sequence[GenericRequest], *, seconds: float = 120
    ) -> tuple[int, Exception | None]:
        for done, request in enumerate(requests):
            parts = dict(attributes(request.body))
            name = parts[4].rstrip(b"\0").decode()
            action = "make" if request.command == DEV_NEW else "delete"
            self.log.append(Event(action, name))
            error = self._make(name, parts) if action == "make" else self._delete(name)
            if error:
                return done, error
        return len(requests), None

    def _make(self, name: str, parts: dict[int, bytes]) -> Exception | None:
        if self.refuse(name) or name in self.vdpa:
            number = self.refuse(name) or errno.EEXIST
            return OSError(number, os.strerror(number))
        device = parts[2].rstrip(b"\0").decode()
        handle = f"{parts[1].rstrip(bytes(1)).decode()}/{device}" if 1 in parts else device
        refused = sum(1 << key for key in parts if key >= 10) & ~self.management[handle]
        if refused:
            reason = f"vdpa: Some provided attributes are not supported: {refused:#x}"
            return OSError(errno.EOPNOTSUPP, f"Operation not supported ({reason})")
        self.vdpa[name] = {
            10: bytes(6),
            13: struct.pack("=H", 1500),
            20: struct.pack("=Q", FEATURES),
            **{key: self.keep(name, key, value) for key, value in parts.items()},
            5: struct.pack("=I", 1),
            6: struct.pack("=I", 0),
            7: struct.pack("=I", 3),
            8: struct.pack("=H", 256),
        }
        self.put(f"{BUS}/devices/{name}/driver_override", "(null)")
        if self.read(f"{BUS}/drivers_autoprobe") == "1":
            self._give(name, self.names(f"{BUS}/drivers")[0])
        return None

    def _delete(self, name: str) -> Exception | None:
        if name in self.opened:
            return BlockedError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), name)
        del self.vdpa[name]
        shutil.rmtree(self.path(f"{BUS}/devices/{name}"))
        return None

    def write(self, path: str, value: str, *, seconds: float = 60) -> None:
        if not path.startswith(BUS):
            super().write(path, value, seconds=seconds)
            return
        self.log.append(Event("write", path, value))
        self._fail("write", path)
        if path.endswith("/unbind"):
            os.unlink(self.path(f"{BUS}/devices/{value}/driver"))
            for name in self.names(f"{BUS}/devices/{value}"):
                if name.startswith("vhost-vdpa-"):
                    os.unlink(self.path(f"{BUS}/devices/{value}/{name}"))
        elif path.endswith("/drivers_probe"):
            driver = self.read(f"{BUS}/devices/{value}/driver_override")
            if driver in self.names(f"{BUS}/drivers") and value not in self.unprobed:
                self._give(value, str(driver))
        else:
            self.put(path, value)

    def _give(self, name: str, driver: str) -> None:
        self._link(f"{BUS}/devices/{name}/driver", f"{BUS}/drivers/{driver}")
        if driver == "vhost_vdpa":
            self.put(f"{BUS}/devices/{name}/vhost-vdpa-{list(self.vdpa).index(name)}", "")


def _handle(name: str) -> dict[int, bytes]:
    bus, _slash, device = name.rpartition("/")
    parts = {2: device.encode() + b"\0"}
    return {1: bus.encode() + b"\0", **parts} if bus else parts
