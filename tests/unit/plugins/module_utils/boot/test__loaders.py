# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line, _loaders
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._command_line import checked
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._loaders import (
    DEFAULT_GRUB,
    GRUB_CFG,
    GRUB_OWN,
    KERNEL_CMDLINE,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed, Host
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import (
    DEBIAN_GRUB,
    BootMachine,
    DebianMachine,
    arguments_of,
)

WANTED = checked(["intel_iommu=on", "iommu=pt"], ["iommu=off", "amd_iommu=on"])


def ensure(host: Host, wanted: _command_line.WantedArguments = WANTED) -> _loaders.BootPlan:
    arguments = _loaders.plan_host(host, iommu=False, present=wanted.present, absent=wanted.absent)
    _loaders.apply(arguments)
    return arguments.plan


def contents(host: DebianMachine) -> dict[str, t.Any]:
    """All files; an empty directory does not count."""
    return {path: content for path, content in host.files().items() if content is not None}


def test_grub_is_edited_made_and_read_back(tmp_path: Path) -> None:
    text = DEBIAN_GRUB.replace('"quiet"', '"quiet iommu=off"')
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: text})
    host.run(["update-grub"])

    plan = ensure(host)

    assert plan.changed
    assert list(plan.files) == [GRUB_OWN]
    assert plan.entries
    assert plan.entries[0].split() == "root=UUID=9d ro intel_iommu=on iommu=pt quiet".split()
    assert host.read(DEFAULT_GRUB) == text.strip()
    calls = len(host.calls)
    assert not ensure(host).changed
    assert len(host.calls) == calls


def test_update_grub_is_not_forgotten_where_the_run_before_was_killed(tmp_path: Path) -> None:
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    host.run(["update-grub"])
    ensure(host)
    arguments = _loaders.plan_host(host, iommu=False, present=["nosmt"])
    host.replace(GRUB_OWN, arguments.plan.files[GRUB_OWN])

    # The next run is not about what the killed one was.
    plan = ensure(host)

    assert plan.changed
    assert not plan.files
    assert "nosmt" in (_loaders.Grub(host).entries() or [""])[0]
    assert not ensure(host).changed


def test_nor_where_it_was_killed_while_it_took_arguments_back(tmp_path: Path) -> None:
    class Killed(DebianMachine):
        alive = False

        def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
            if argv[0].endswith("update-grub") and not self.alive:
                raise KeyboardInterrupt
            return super().run(argv)

        def replace(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
            if self.alive or not self.log:
                super().replace(path, content, mode=mode)

    host = Killed(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    host.alive = True
    ensure(host)
    host.log.clear()
    host.alive = False
    with pytest.raises(KeyboardInterrupt):
        ensure(host, checked([], ["intel_iommu=on", "iommu=pt"]))
    assert host.read(GRUB_OWN) == ""

    host.alive = True
    assert ensure(host, checked([], ["nosmt"])).changed
    assert (_loaders.Grub(host).entries() or [""])[0] == "root=UUID=9d ro   quiet"
    assert not ensure(host, checked([], ["nosmt"])).changed


@pytest.mark.parametrize("default", ["quiet console=ttyS0", "console=ttyS0 quiet", ""])
@pytest.mark.parametrize("added", [True, False])
def test_what_an_operator_has_changed_and_not_made_is_predicted(
    tmp_path: Path, default: str, added: bool
) -> None:
    texts = [DEBIAN_GRUB, DEBIAN_GRUB.replace('"quiet"', f'"{default}"')]
    made, changed = texts if added else reversed(texts)
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: made})
    host.run(["update-grub"])
    host.put(DEFAULT_GRUB, changed)

    plan = ensure(host)

    [predicted], [found] = plan.entries or [], _loaders.Grub(host).entries() or []
    assert _command_line.arguments(predicted) == _command_line.arguments(found)


@pytest.mark.parametrize("rear", ["$vt_handoff", "init=/lib/sysvinit/init"])
def test_what_grub_puts_behind_the_arguments_is_predicted(tmp_path: Path, rear: str) -> None:
    text = DEBIAN_GRUB.replace('"quiet"', '"quiet splash"')
    loader = _loaders.Grub(DebianMachine(tmp_path, {DEFAULT_GRUB: text}))
    entry = f"root=UUID=9d47 ro quiet splash {rear}"
    files = loader.files()

    assert loader.expected([entry], files, files, checked([], [])) == [entry]


def test_a_half_written_grub_cfg_is_made_again(tmp_path: Path) -> None:
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    ensure(host)
    whole = (host.read_bytes(GRUB_CFG) or b"").decode()
    host.put(GRUB_CFG, whole[: whole.rindex("### END")])
    assert ensure(host).changed
    assert (host.read_bytes(GRUB_CFG) or b"").decode() == whole


def test_a_missing_grub_cfg_is_made(tmp_path: Path) -> None:
    text = 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"\n'
    host = DebianMachine(tmp_path, {DEFAULT_GRUB: text})
    assert ensure(host).changed
    assert not ensure(host).changed
    assert not host.exists(GRUB_OWN)


@pytest.mark.parametrize("before", [None, ["nosmt"]])
def test_where_update_grub_fails_the_file_is_as_it_was(
    tmp_path: Path, before: list[str] | None
) -> None:
    class Failing(DebianMachine):
        full = False

        def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
            if self.full and argv[0].endswith("update-grub"):
                return Completed(1, "", "Generating ...\ncat: No space left on device\n")
            return super().run(argv)

    host = Failing(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    host.run(["update-grub"])
    if before:
        ensure(host, checked(before))
    files = contents(host)
    host.full = True
    for _run in range(2):
        with pytest.raises(SriovError) as failure:
            ensure(host)
        assert "'update-grub' failed (1): Generating" in str(failure.value)
        assert "No space left on device" in str(failure.value)
        assert f"{GRUB_OWN} is as it was before" in str(failure.value)
        assert contents(host) == files
    host.full = False
    assert ensure(host).changed
    assert not ensure(host).changed


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (lambda line: line.replace("console=ttyS0", ""), "one has lost console=ttyS0"),
        (lambda line: line.replace("iommu=pt", ""), "one is without iommu=pt"),
        (
            lambda line: line.replace("console=ttyS0", "") if "single" in line else line,
            "one has lost console=ttyS0",
        ),
    ],
)
def test_what_the_entries_lose_is_an_error_and_all_is_put_back(
    tmp_path: Path, lose: t.Callable[[str], str], message: str
) -> None:
    class Losing(DebianMachine):
        """A script of its /etc/grub.d loses something where our file is."""

        def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
            done = super().run(argv)
            if argv[0].endswith("update-grub") and self.exists(GRUB_OWN):
                lines = (self.read_bytes(GRUB_CFG) or b"").decode().splitlines(keepends=True)
                self.put(GRUB_CFG, "".join(lose(line) for line in lines))
            return done

    text = 'GRUB_CMDLINE_LINUX="console=ttyS0 ro"\n'
    host = Losing(tmp_path, {DEFAULT_GRUB: text})
    host.run(["update-grub"])
    files = contents(host)
    with pytest.raises(SriovError, match=f"{message}.*{GRUB_OWN} is as it was before"):
        ensure(host)
    assert contents(host) == files


def test_update_grub_without_an_entry_is_an_error(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, {"/usr/sbin/update-grub": "", DEFAULT_GRUB: DEBIAN_GRUB})
    with pytest.raises(SriovError, match="there is none"):
        ensure(host)


def test_where_the_generator_reads_no_directory_the_arguments_are_kept_in_the_file(
    tmp_path: Path,
) -> None:
    text = 'GRUB_CMDLINE_LINUX="console=ttyS0 iommu=off"'
    host = DebianMachine(
        tmp_path, {DEFAULT_GRUB: text, "/usr/sbin/grub-mkconfig": ". /etc/default/grub\n"}
    )
    assert list(ensure(host).files) == [DEFAULT_GRUB]
    assert arguments_of(host.root) == (["console=ttyS0", "intel_iommu=on", "iommu=pt"], [])
    assert not ensure(host).changed
    ensure(host, checked([], ["intel_iommu=on", "iommu=pt"]))
    assert arguments_of(host.root) == (["console=ttyS0", "iommu=off"], [])


class GrubbyHost(BootMachine):
    """A grubby that keeps entries as the real one does: --args replaces arguments by name."""

    def __init__(self, root: Path, entries: list[str], files: dict[str, str]) -> None:
        super().__init__(root, {"/usr/sbin/grubby": "", **files})
        self.kernels = entries

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        done = super().run(argv)
        if "grubby" not in argv[0] or "--help" in argv:
            return done
        options = dict(x[2:].split("=", 1) for x in argv[1:] if "=" in x)
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
        if "--no-etc-grub-update" in argv:
            return Completed(0, "", "")
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
    assert (host.read(DEFAULT_GRUB) or "").startswith(RHEL)
    assert arguments_of(host.root) == (
        ["console=tty0", "rhgb", "intel_iommu=on", "iommu=pt"],
        ["x"],
    )
    assert host.read(KERNEL_CMDLINE) == "root=UUID=9d ro iommu=pt intel_iommu=on"
    assert not ensure(host).changed
    assert sum("--update-kernel=ALL" in call for call in host.calls) == 1


def test_what_grubby_rewrites_is_put_back(tmp_path: Path) -> None:
    text = 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"\nGRUB_CMDLINE_LINUX_DEFAULT="x"\n'
    host = GrubbyHost(tmp_path, ["ro"], {DEFAULT_GRUB: text})
    assert not ensure(host).files
    assert host.kernels == ["ro intel_iommu=on iommu=pt"]
    assert host.read(DEFAULT_GRUB) == text.strip()


def test_grubby_that_can_leave_the_file_alone_is_told_to(tmp_path: Path) -> None:
    host = GrubbyHost(tmp_path, ["ro"], {DEFAULT_GRUB: RHEL})
    host.answers["grubby --help"] = Completed(0, "  --no-etc-grub-update  don't\n", "")
    ensure(host)
    assert [event.action for event in host.log if event.subject == DEFAULT_GRUB] == ["replace"]
    assert any(call[-1] == "--no-etc-grub-update" for call in host.calls)
    assert host.kernels == ["ro intel_iommu=on iommu=pt"]


def test_grubby_that_fails_leaves_the_files_as_they_were(tmp_path: Path) -> None:
    class Failing(GrubbyHost):
        def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
            done = super().run(argv, seconds=seconds)
            return Completed(1, "", "sed: no space\n") if "--update-kernel=ALL" in argv else done

    files = {DEFAULT_GRUB: RHEL, KERNEL_CMDLINE: "# mine\nro\n"}
    host = Failing(tmp_path, ["ro"], files)
    with pytest.raises(SriovError, match=r"failed \(1\): sed: no space.*as they were before"):
        ensure(host)
    assert {path: (host.read_bytes(path) or b"").decode() for path in files} == files


def test_grubby_is_told_again_what_it_would_replace() -> None:
    wanted = checked(["console=ttyS0,115200"], ["quiet"])
    assert _loaders.grubby_arguments(["console=tty0 quiet", "ro"], wanted) == (
        ["quiet"],
        ["console=tty0", "console=ttyS0,115200"],
    )
    assert _loaders.grubby_arguments(["console=ttyS0,115200"], wanted) == ([], [])


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
        self.uncommented = False

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        done = super().run(argv)
        if argv[0].endswith("kernel-install"):
            lines = (self.read(KERNEL_CMDLINE) or "").splitlines()
            words = [line for line in lines if not (self.uncommented and line.startswith("#"))]
            self.entry = " ".join([*words, "systemd.machine_id=3d12"])
            return done
        text = self.form.format(ENTRY, OTHER).replace("OPTIONS", self.entry)
        return Completed(0, text, "")


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
    assert _loaders.SystemdBoot(host).entries() == (["ro"] if counts else None)


def test_without_the_file_the_running_arguments_are_the_base(tmp_path: Path) -> None:
    info = loader_info("systemd-boot 252.38")
    running = "BOOT_IMAGE=/linux root=UUID=9d ro initrd=\\a\\b quiet\n"
    host = SystemdHost(tmp_path, {LOADER_INFO: info, "/proc/cmdline": running})
    assert ensure(host).changed
    assert host.read(KERNEL_CMDLINE) == "root=UUID=9d ro quiet intel_iommu=on iommu=pt"


def test_comments_in_kernel_cmdline_are_no_arguments(tmp_path: Path) -> None:
    text = "# intel_iommu=on iommu=pt was tried\nroot=UUID=9d ro intel_iommu=off\n# the end\n"
    host = SystemdHost(tmp_path, {KERNEL_CMDLINE: text})
    host.uncommented = True
    assert ensure(host).changed
    assert host.read(KERNEL_CMDLINE) == (
        "# intel_iommu=on iommu=pt was tried\nroot=UUID=9d ro intel_iommu=on iommu=pt\n# the end"
    )
    assert not ensure(host).changed


def test_where_comments_are_arguments_nothing_unwanted_passes(tmp_path: Path) -> None:
    """So it is before systemd 257."""
    text = "root=UUID=9d ro\n# not intel_iommu=off\n"
    host = SystemdHost(tmp_path, {KERNEL_CMDLINE: text})
    host.run(["kernel-install"])
    with pytest.raises(SriovError, match=f"one is with intel_iommu=off.*{KERNEL_CMDLINE} is as it"):
        ensure(host)
    assert host.read(KERNEL_CMDLINE) == text.strip()
    assert "iommu=pt" not in host.entry


def test_kernel_install_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    text = "root=UUID=9d ro\n"
    host = SystemdHost(tmp_path, {KERNEL_CMDLINE: text})
    kernel = ["add", "6.1.0-13-amd64", "/boot/vmlinuz-6.1.0-13-amd64"]
    host.answers[" ".join(["kernel-install", *kernel])] = Completed(1, "", "No space left\n")
    with pytest.raises(SriovError, match=r"failed \(1\): No space left.*is as it was before"):
        ensure(host)
    assert host.read(KERNEL_CMDLINE) == text.strip()


STUB_INFO = LOADER_INFO.replace("LoaderInfo", "StubInfo")
IMAGE = {"id": "debian-6.1.0-13-amd64.efi", "options": "root=UUID=9d ro"}


@pytest.mark.parametrize("how", ["booted from it", "booted by systemd-boot"])
def test_a_unified_image_that_is_made_elsewhere_is_refused_untouched(
    tmp_path: Path, how: str
) -> None:
    files = {"/usr/sbin/update-grub": "", KERNEL_CMDLINE: "ro\n", "/proc/cmdline": "ro\n"}
    variable = STUB_INFO if how == "booted from it" else LOADER_INFO
    host = SystemdHost(tmp_path, {**files, variable: loader_info("systemd-boot 257")})
    host.form = json.dumps([IMAGE]).replace("{", "{{").replace("}", "}}")
    before = host.files()
    with pytest.raises(SriovError, match="without intel_iommu=on iommu=pt, from a unified kernel"):
        ensure(host)
    assert host.files() == before
    host.put("/proc/cmdline", "ro intel_iommu=on iommu=pt\n")
    assert not _loaders.plan_host(host, iommu=False, present=WANTED.present).plan.files


def test_a_unified_image_of_kernel_install_is_made_again(tmp_path: Path) -> None:
    host = SystemdHost(
        tmp_path,
        {
            KERNEL_CMDLINE: "root=UUID=9d ro\n",
            "/etc/kernel/install.conf": "layout=uki\nuki_generator=ukify\n",
            STUB_INFO: loader_info("systemd-stub 257"),
        },
        '[{{"id":"debian-6.1.0-13-amd64.efi","options":"OPTIONS"}}]',
    )
    assert ensure(host).changed
    assert not ensure(host).changed


def test_ostree_is_refused_untouched(tmp_path: Path) -> None:
    files = {"/run/ostree-booted": "", "/usr/sbin/grubby": "", DEFAULT_GRUB: DEBIAN_GRUB}
    host = BootMachine(tmp_path, {**files, "/proc/cmdline": "ro ostree=/ostree/boot.1\n"})
    before = host.files()
    with pytest.raises(SriovError, match=r"ostree deployments.*rpm-ostree kargs"):
        ensure(host)
    assert host.files() == before
    assert host.calls == []


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
    assert _loaders.find(host).name == "systemd-boot"
    host.put(LOADER_INFO, loader_info("GRUB 2.12"))
    assert _loaders.find(host).name == "grubby"
    host.remove("/usr/sbin/grubby")
    assert _loaders.find(host).name == "grub"


def test_without_a_boot_loader_the_running_arguments_must_do(tmp_path: Path) -> None:
    host = BootMachine(tmp_path, {"/proc/cmdline": "ro intel_iommu=on iommu=pt\n"})
    plan = ensure(host)
    assert not plan.changed
    assert plan.entries == ["ro intel_iommu=on iommu=pt"]
    host.put("/proc/cmdline", "ro intel_iommu=on iommu=off\n")
    with pytest.raises(SriovError, match="without iommu=pt and with iommu=off, and no boot loader"):
        ensure(host)
