# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import (
    _boot_loader,
    _grub,
    _kernel_cmdline,
)
from ansible_collections.mergetb.sriov.plugins.module_utils._boot_loader import (
    DEFAULT_GRUB,
    KERNEL_CMDLINE,
)
from ansible_collections.mergetb.sriov.plugins.module_utils._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils._host import Completed, Host
from ansible_collections.mergetb.sriov.plugins.module_utils._kernel_cmdline import checked
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import (
    DEBIAN_GRUB,
    BootMachine,
    DebianMachine,
)

WANTED = checked(["intel_iommu=on", "iommu=pt"], ["iommu=off", "amd_iommu=on"])


def ensure(host: Host, wanted: _kernel_cmdline.Wanted = WANTED) -> _boot_loader.Plan:
    loader = _boot_loader.find(host)
    files = loader.files()
    running = host.read("/proc/cmdline") or ""
    plan = _boot_loader.plan(files, loader.edited(files, wanted), loader.entries(), wanted, running)
    if plan.remake:
        loader.apply(plan.files, wanted)
        _boot_loader.verified_entries(loader, wanted)
    return plan


def test_grub_is_edited_made_and_read_back(tmp_path: Path) -> None:
    host = DebianMachine(
        tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB.replace('"quiet"', '"quiet iommu=off"')}
    )
    mode = 0o640
    (tmp_path / "etc/default/grub").chmod(mode)
    host.run(["update-grub"])

    plan = ensure(host)

    assert plan.changed
    assert plan.entries == ["root=UUID=9d ro  quiet iommu=pt intel_iommu=on"]
    assert (host.read(DEFAULT_GRUB) or "").count("\n") == DEBIAN_GRUB.count("\n") - 1
    assert (tmp_path / "etc/default/grub").stat().st_mode & 0o777 == mode
    calls = len(host.calls)
    assert not ensure(host).changed
    assert len(host.calls) == calls


def test_an_interrupted_run_is_cured(tmp_path: Path) -> None:
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    host.run(["update-grub"])
    host.put(DEFAULT_GRUB, _grub.edited({DEFAULT_GRUB: DEBIAN_GRUB}, WANTED)[DEFAULT_GRUB])
    plan = ensure(host)
    assert plan.changed
    assert not plan.files
    assert not ensure(host).changed


def test_a_missing_grub_cfg_is_made(tmp_path: Path) -> None:
    text = 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"\n'
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: text})
    assert ensure(host).changed
    assert not ensure(host).changed


def test_what_the_editor_can_not_follow_is_found_by_reading_back(tmp_path: Path) -> None:
    trap = "GRUB_CMDLINE_LINUX=$(echo iommu=off)\n"
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB, f"{DEFAULT_GRUB}.d/z.cfg": trap})
    with pytest.raises(
        SriovError, match=r"without intel_iommu=on iommu=pt and with iommu=off.*z\.cfg"
    ):
        ensure(host)


def test_update_grub_without_an_entry_is_an_error(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, {"/usr/sbin/update-grub": "", DEFAULT_GRUB: DEBIAN_GRUB})
    with pytest.raises(SriovError, match="there is none"):
        ensure(host)


def test_a_failing_tool_is_an_error(tmp_path: Path) -> None:
    class Failing(BootMachine):
        def run(self, argv, *, seconds=300):
            return Completed(1, "", "no space left on device\n")

    host = Failing(tmp_path, {"/usr/sbin/update-grub": "", DEFAULT_GRUB: DEBIAN_GRUB})
    with pytest.raises(SriovError, match=r"'update-grub' failed \(1\): no space left"):
        ensure(host)


class GrubbyHost(BootMachine):
    """A grubby that keeps entries as the real one does: --args replaces arguments by name."""

    def __init__(self, root: Path, entries: list[str], files: dict[str, str]) -> None:
        super().__init__(root, {"/usr/sbin/grubby": "", **files})
        self.kernels = entries

    def run(self, argv, *, seconds=300):
        super().run(argv)
        options = dict(x[2:].split("=", 1) for x in argv[1:])
        if "info" in options:
            return Completed(
                0,
                "".join(
                    f'index={i}\nkernel="/boot/vmlinuz-{i}"\nargs="{x}"\nroot="UUID=9d"\n'
                    for i, x in enumerate(self.kernels)
                ),
                "",
            )
        assert options["update-kernel"] == "ALL"
        add = options["args"].split()
        names = {x.split("=")[0] for x in add}
        self.kernels = [
            " ".join(
                [
                    x
                    for x in entry.split()
                    if x not in options["remove-args"].split() and x.split("=")[0] not in names
                ]
                + add
            )
            for entry in self.kernels
        ]
        # It also rewrites the default file, every line that begins so.
        self.put(DEFAULT_GRUB, 'GRUB_CMDLINE_LINUX="rewritten"\n')
        return Completed(0, "", "")


RHEL = 'GRUB_CMDLINE_LINUX="console=tty0 rhgb"\nGRUB_CMDLINE_LINUX_DEFAULT="x"\n'


def test_grubby_changes_all_kernels_and_those_to_come(tmp_path: Path) -> None:
    entries = [
        "ro console=tty0 console=ttyS0 intel_iommu=off $tuned_params",
        "ro intel_iommu=off",
    ]
    host = GrubbyHost(
        tmp_path, entries, {DEFAULT_GRUB: RHEL, KERNEL_CMDLINE: "root=UUID=9d ro iommu=off\n"}
    )
    plan = ensure(host)
    assert plan.changed
    assert host.kernels == [
        "ro console=tty0 console=ttyS0 $tuned_params intel_iommu=on iommu=pt",
        "ro intel_iommu=on iommu=pt",
    ]
    assert host.read(DEFAULT_GRUB) == RHEL.replace("rhgb", "rhgb intel_iommu=on iommu=pt").strip()
    assert host.read(KERNEL_CMDLINE) == "root=UUID=9d ro iommu=pt intel_iommu=on"
    assert not ensure(host).changed
    assert sum("--update-kernel=ALL" in call for call in host.calls) == 1


def test_what_grubby_rewrites_is_put_back(tmp_path: Path) -> None:
    text = 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"\nGRUB_CMDLINE_LINUX_DEFAULT="x"\n'
    host = GrubbyHost(tmp_path, ["ro"], {DEFAULT_GRUB: text})
    assert not ensure(host).files
    assert host.kernels == ["ro intel_iommu=on iommu=pt"]
    assert host.read(DEFAULT_GRUB) == text.strip()


def test_grubby_is_told_again_what_it_would_replace() -> None:
    wanted = checked(["console=ttyS0,115200"], ["quiet"])
    assert _boot_loader.grubby_arguments(["console=tty0 quiet", "ro"], wanted) == (
        ["quiet"],
        ["console=tty0", "console=ttyS0,115200"],
    )
    assert _boot_loader.grubby_arguments(["console=ttyS0,115200"], wanted) == ([], [])


def loader_info(name: str) -> str:
    """The text of the EFI variable: its attributes and UTF-16."""
    return "\x06\0\0\0" + f"{name}\0".encode("utf-16-le").decode()


LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
# What bootctl of systemd 252 prints, and what later ones make of the same.
ENTRY = (
    '{"id":"3d12-6.1.0-13-amd64.conf","path":"/efi/loader/entries/3d12-6.1.0-13-amd64.conf",'
    '"root":"/efi","title":"Debian GNU/Linux 12 (bookworm)","sortKey":"debian",'
    '"version":"6.1.0-13-amd64","machineId":"3d12","options":"OPTIONS",'
    '"linux":"/3d12/6.1.0-13-amd64/linux"}'
)
OTHER = '{"id":"auto-reboot-to-firmware-setup","title":"Reboot Into Firmware Interface"}'


class SystemdHost(BootMachine):
    def __init__(self, root: Path, files: dict[str, str], form: str = "{}\n{}\n") -> None:
        kernel = "/boot/vmlinuz-6.1.0-13-amd64"
        tools = {"/usr/bin/bootctl": "", "/usr/bin/kernel-install": ""}
        super().__init__(root, {**tools, kernel: "", **files})
        self.put("/usr/lib/modules/6.1.0-13-amd64/modules.dep", "")
        self.put("/usr/lib/modules/5.10.0-1-amd64/modules.dep", "")
        self.form = form
        self.entry = "root=UUID=9d ro intel_iommu=off"

    def run(self, argv, *, seconds=300):
        super().run(argv)
        if argv[0].endswith("kernel-install"):
            self.entry = (self.read(KERNEL_CMDLINE) or "") + " systemd.machine_id=3d12"
        entry = ENTRY.replace("OPTIONS", self.entry)
        return Completed(0, self.form.format(entry, OTHER), "")


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},{}]"])
def test_kernel_install_makes_the_entries_again(tmp_path: Path, form: str) -> None:
    files = {KERNEL_CMDLINE: "root=UUID=9d ro intel_iommu=off\n"}
    host = SystemdHost(tmp_path, files, form)
    assert ensure(host).changed
    assert host.read(KERNEL_CMDLINE) == "root=UUID=9d ro intel_iommu=on iommu=pt"
    assert [call for call in host.calls if call[0] == "kernel-install"] == [
        ["kernel-install", "add", "6.1.0-13-amd64", "/boot/vmlinuz-6.1.0-13-amd64"]
    ]
    assert not ensure(host).changed


@pytest.mark.parametrize(
    ("entry_id", "counts"),
    [
        ("3d12-6.1.0-13-amd64.conf", True),
        ("3d12-6.1.0-13-amd64+2-1.conf", True),
        ("debian-6.1.0-13-amd64.efi", True),
        ("3d12-6.1.0-13-amd64-rescue.conf", False),
        ("3d12-16.1.0-13-amd64.conf", False),
        ("3d12-5.10.0-1-amd64.conf", False),
    ],
)
def test_only_entries_of_installed_kernels_count(
    tmp_path: Path, entry_id: str, counts: bool
) -> None:
    host = SystemdHost(tmp_path, {KERNEL_CMDLINE: "ro\n"})
    host.form = (
        ENTRY.replace("3d12-6.1.0-13-amd64.conf", entry_id, 1)
        .replace("OPTIONS", "ro")
        .replace("{", "{{")
        .replace("}", "}}")
    )
    assert _boot_loader.SystemdBoot(host).entries() == (["ro"] if counts else None)


def test_without_the_file_the_running_arguments_are_the_base(tmp_path: Path) -> None:
    info = loader_info("systemd-boot 252.38")
    running = "BOOT_IMAGE=/linux root=UUID=9d ro initrd=\\a\\b quiet\n"
    host = SystemdHost(tmp_path, {LOADER_INFO: info, "/proc/cmdline": running})
    assert ensure(host).changed
    assert host.read(KERNEL_CMDLINE) == "root=UUID=9d ro quiet intel_iommu=on iommu=pt"


def test_proxmox_shows_no_entries(tmp_path: Path) -> None:
    host = SystemdHost(
        tmp_path,
        {
            KERNEL_CMDLINE: "root=ZFS=rpool quiet\n",
            "/etc/kernel/proxmox-boot-uuids": "A1-B2\n",
            "/usr/sbin/proxmox-boot-tool": "",
        },
    )
    plan = ensure(host)
    assert plan.changed
    assert plan.entries is None
    assert host.calls == [["proxmox-boot-tool", "refresh"]]
    # Whether the tool ran to its end shows only after a reboot, so until then it is run again.
    plan = ensure(host)
    assert not plan.changed
    assert host.calls == [["proxmox-boot-tool", "refresh"]] * 2
    host.put("/proc/cmdline", "root=ZFS=rpool quiet intel_iommu=on iommu=pt")
    assert not ensure(host).remake


def test_the_loader_that_booted_goes_first(tmp_path: Path) -> None:
    tools = {f"/usr/sbin/{name}": "" for name in ("grubby", "update-grub")}
    host = BootMachine(tmp_path, {**tools, LOADER_INFO: loader_info("systemd-boot 255")})
    assert _boot_loader.find(host).name == "systemd-boot"
    host.put(LOADER_INFO, loader_info("GRUB 2.12"))
    assert _boot_loader.find(host).name == "grubby"
    host.remove("/usr/sbin/grubby")
    assert _boot_loader.find(host).name == "grub"


def test_without_a_boot_loader_the_running_arguments_must_do(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, {"/proc/cmdline": "ro intel_iommu=on iommu=pt\n"})
    plan = ensure(host)
    assert not plan.changed
    assert plan.entries == ["ro intel_iommu=on iommu=pt"]
    host.put("/proc/cmdline", "ro intel_iommu=on iommu=off\n")
    with pytest.raises(SriovError, match="without iommu=pt and with iommu=off, and no boot loader"):
        ensure(host)
