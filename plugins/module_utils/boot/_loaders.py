# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loaders: where a host keeps the kernel arguments, and how its boot entries get them.

A boot loader has configuration files, which an operator edits, and boot entries, which a tool makes
from them. This module reads both. A run may have ended between the edit and the tool, and an entry
shows better than a shell fragment what the next boot will have.

Sources: grub-mkconfig(8), grubby(8), kernel-install(8), bootctl(1), and the Boot Loader Interface
of systemd for the EFI variable.
"""

from __future__ import annotations

import abc
import json
import re
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.boot import (
    _command_line,
    _grub,
    _iommu,
    _reboot,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._command_line import (
    WantedArguments,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError

if t.TYPE_CHECKING:
    from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host

DEFAULT_GRUB = "/etc/default/grub"
# grub-mkconfig reads the files of this directory in the order of their names.
_GRUB_DIRECTORY = f"{DEFAULT_GRUB}.d"
GRUB_OWN = f"{_GRUB_DIRECTORY}/zz-mergetb-sriov.cfg"
GRUB_CFG = "/boot/grub/grub.cfg"
KERNEL_CMDLINE = "/etc/kernel/cmdline"

_PROXMOX_ESPS = "/etc/kernel/proxmox-boot-uuids"
_LOADER_INFO = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
# A unified kernel image leaves this when it starts.
_STUB_INFO = "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_INSTALL_CONFIGS = tuple(
    f"{directory}/kernel/install.conf" for directory in ("/etc", "/run", "/usr/lib")
)
_MODULES = "/usr/lib/modules"
_OSTREE = "/run/ostree-booted"

# How much of the output of a tool an error quotes, in characters.
_TAIL = 500

_GRUB_SECTION = re.compile(
    r"^### BEGIN /etc/grub\.d/10_linux\w* ###$(.*?)^### END", re.MULTILINE | re.DOTALL
)
_GRUB_MARK = re.compile(r"^### (BEGIN|END) ", re.MULTILINE)
_GRUB_ENTRY = re.compile(r"^[ \t]*linux(?:16|efi)?[ \t]+\S+(.*)$", re.MULTILINE)
# What 10_linux itself puts before the arguments. For btrfs, it adds an argument to them.
_GRUB_LEAD = re.compile(r"root=\S+ ro(?=\s|\Z)(?!\s+rootflags=)")
# What it may put behind them: on Ubuntu, and on Debian if there are several programs for init.
_GRUB_REAR = re.compile(r"(?:\s+(?:\$vt_handoff|init=\S+))+\Z")
_GRUBBY_ENTRY = re.compile(r'^args="(.*)"$', re.MULTILINE)


class BootLoader(abc.ABC):
    """A way to keep kernel arguments on a host."""

    name: str

    def __init__(self, host: Host) -> None:
        self.host = host

    @abc.abstractmethod
    def files(self) -> dict[str, str]:
        """The configuration files by path; a file that does not exist yet has no text."""

    @abc.abstractmethod
    def edited(self, files: t.Mapping[str, str], wanted: WantedArguments) -> dict[str, str]:
        """*files* with what is *wanted*; a file without text has to be removed.

        Raises `SriovError` if every edit would do harm.
        """

    @abc.abstractmethod
    def entries(self) -> list[str] | None:
        """The command lines of the boot entries that the tool makes; `None` where unknown."""

    def unfinished(self) -> bool:
        """Whether the files were written, but the tool has certainly not ended."""
        return False

    def expected(
        self,
        entries: t.Iterable[str],
        files: t.Mapping[str, str],
        edited: t.Mapping[str, str],
        wanted: WantedArguments,
    ) -> list[str]:
        """The boot entries *entries* after *files* were *edited*."""
        return [_command_line.complete(entry, wanted) for entry in entries]

    def all_entries(self) -> list[str]:
        """`entries`, and those that lack some arguments on purpose."""
        return self.entries() or []

    def lost(self, before: t.Sequence[str], wanted: WantedArguments) -> list[str]:
        """The arguments that the entries had *before* and have lost."""
        return [
            word
            for old, new in zip(before, self.all_entries())
            for word in _missed(
                _command_line.words(_command_line.complete(old, wanted)), [old], [new]
            )
        ]

    def apply(self, files: t.Mapping[str, str], wanted: WantedArguments) -> None:
        """Write those of *files* that change, and give the boot entries what is *wanted*.

        Removes a file only after the tool made the entries without it. So a run that ends in
        between leaves something that is newer than the entries.
        """
        self._write(files)
        self.make()
        for path, text in files.items():
            if not text:
                self.host.remove(path)

    def make(self) -> None:  # noqa: B027
        """Make the boot entries from the files, if a tool does that."""

    def _running(self) -> str:
        return self.host.read("/proc/cmdline") or ""

    def _write(self, files: t.Mapping[str, str]) -> None:
        for path, text in files.items():
            self.host.replace(path, text)


class Grub(BootLoader):
    """GRUB as Debian and Ubuntu set it up: update-grub makes grub.cfg from shell fragments.

    The arguments go into a file of their own, the last one that update-grub reads.
    """

    name = "grub"

    def files(self) -> dict[str, str]:
        if not self._reads_directory():
            return {DEFAULT_GRUB: _text(self.host, DEFAULT_GRUB)}
        names = {
            name
            for name in self.host.names(_GRUB_DIRECTORY)
            if name.endswith(".cfg") and not name.startswith(".")
        }
        own = GRUB_OWN.rpartition("/")[2]
        fragments = [f"{_GRUB_DIRECTORY}/{name}" for name in sorted({*names, own})]
        return {path: _text(self.host, path) for path in [DEFAULT_GRUB, *fragments]}

    def edited(self, files: t.Mapping[str, str], wanted: WantedArguments) -> dict[str, str]:
        return _grub.edited(self.host, files, self._place(files), wanted)

    def entries(self) -> list[str] | None:
        return [entry for entry in self.all_entries() if not _is_for_recovery(entry)]

    def unfinished(self) -> bool:
        written, made = self.host.modified(GRUB_OWN), self.host.modified(GRUB_CFG)
        if written is not None and made is not None and made < written:
            return True
        marks = _GRUB_MARK.findall(_text(self.host, GRUB_CFG))
        return marks.count("BEGIN") != marks.count("END")

    def expected(
        self,
        entries: t.Iterable[str],
        files: t.Mapping[str, str],
        edited: t.Mapping[str, str],
        wanted: WantedArguments,
    ) -> list[str]:
        before, after = (_grub.variables(self.host, each).text.strip() for each in (files, edited))

        def made(entry: str) -> str:
            # An operator may have changed the files since, and not made the entries.
            lead = _GRUB_LEAD.match(entry)
            if lead:
                rear = _GRUB_REAR.search(entry)
                behind = _command_line.words(rear[0]) if rear else []
                known = _command_line.words(after)
                return " ".join([lead[0], after, *(word for word in behind if word not in known)])
            if not before:
                return f"{entry} {after}"
            head, found, tail = entry.rpartition(before)
            return f"{head}{after}{tail}" if found else _command_line.complete(entry, wanted)

        return [made(entry).strip() for entry in entries]

    def lost(self, before: t.Sequence[str], wanted: WantedArguments) -> list[str]:
        words = _command_line.words(_grub.variables(self.host, self.files()).text)
        after = self.all_entries()
        return [
            word
            for recovery in (False, True)
            for word in _missed(
                words,
                [entry for entry in before if _is_for_recovery(entry) is recovery],
                [entry for entry in after if _is_for_recovery(entry) is recovery],
            )
        ]

    def all_entries(self) -> list[str]:
        config = _text(self.host, GRUB_CFG)
        made = "".join(_GRUB_SECTION.findall(config)) or config
        return [line.strip() for line in _GRUB_ENTRY.findall(made)]

    def make(self) -> None:
        _run(self.host, "update-grub")
        if self.host.exists(_PROXMOX_ESPS):
            _run(self.host, "proxmox-boot-tool", "refresh")

    def _reads_directory(self) -> bool:
        generator = _command(self.host, "grub-mkconfig")
        return generator is None or _GRUB_DIRECTORY.rpartition("/etc")[2] in _text(
            self.host, generator
        )

    def _place(self, files: t.Mapping[str, str]) -> str:
        return GRUB_OWN if GRUB_OWN in files else DEFAULT_GRUB


class Grubby(BootLoader):
    """Boot entries (BLS) that grubby edits, as on RHEL and Fedora.

    The entries of kernels to come are made of the files. There is no directory for fragments, so
    the arguments stand at the end of /etc/default/grub.
    """

    name = "grubby"

    def files(self) -> dict[str, str]:
        return {
            path: _text(self.host, path)
            for path in (DEFAULT_GRUB, KERNEL_CMDLINE)
            if self.host.exists(path)
        }

    def edited(self, files: t.Mapping[str, str], wanted: WantedArguments) -> dict[str, str]:
        edited = dict(files)
        if DEFAULT_GRUB in files:
            fragment = {DEFAULT_GRUB: files[DEFAULT_GRUB]}
            edited.update(_grub.edited(self.host, fragment, DEFAULT_GRUB, wanted))
        if KERNEL_CMDLINE in files:
            edited[KERNEL_CMDLINE] = _command_line.complete_file(files[KERNEL_CMDLINE], wanted)
        return edited

    def entries(self) -> list[str] | None:
        return _GRUBBY_ENTRY.findall(_run(self.host, "grubby", "--info=ALL"))

    def apply(self, files: t.Mapping[str, str], wanted: WantedArguments) -> None:
        kept = {**self.files(), **files}
        remove, add = grubby_arguments(self.entries() or [], wanted)
        if remove or add:
            _run(
                self.host,
                "grubby",
                "--update-kernel=ALL",
                f"--remove-args={' '.join(remove)}",
                f"--args={' '.join(add)}",
                *self._options(),
            )
        # grubby rewrites these files too, and keeps only the first line of /etc/kernel/cmdline.
        self._write({path: text for path, text in kept.items() if _text(self.host, path) != text})

    def _options(self) -> list[str]:
        """The option that keeps grubby from /etc/default/grub, if grubby knows one.

        grubby puts a literal value into every line that begins with GRUB_CMDLINE_LINUX. If a line
        continues on the next and the run is killed then, no shell can read the file. The option
        goes last, because grubby of Fedora 36 skips what follows it.
        """
        usage = self.host.run([_command(self.host, "grubby") or "grubby", "--help"]).out
        return [option for option in ("--no-etc-grub-update",) if option in usage]


class SystemdBoot(BootLoader):
    """/etc/kernel/cmdline, from which kernel-install makes an entry for each installed kernel."""

    name = "systemd-boot"

    def files(self) -> dict[str, str]:
        return {KERNEL_CMDLINE: _text(self.host, KERNEL_CMDLINE)}

    def edited(self, files: t.Mapping[str, str], wanted: WantedArguments) -> dict[str, str]:
        if self._has_foreign_image():
            difference = _command_line.difference(self._running(), wanted)
            if not difference:
                return dict(files)
            raise SriovError(
                f"the kernel was started {difference}, from a unified kernel image, which holds "
                "its arguments, and kernel-install is not set to make such images (layout=uki in "
                f"{_INSTALL_CONFIGS[0]}). Set the arguments where the image is made, install it, "
                "and reboot"
            )
        text = files[KERNEL_CMDLINE] or self._implied()
        completed = _command_line.complete_file(text, wanted)
        return {KERNEL_CMDLINE: files[KERNEL_CMDLINE] if completed == text else completed}

    def _implied(self) -> str:
        """What kernel-install takes if the file is missing."""
        own = re.sub(r"(?:^|\s)(?:BOOT_IMAGE|initrd)=\S+", "", self._running()).strip()
        return _text(self.host, "/usr/lib/kernel/cmdline") or f"{own}\n"

    def entries(self) -> list[str] | None:
        found = [entry.get("options", "") for entry in self._own_entries()]
        return found or None

    def _own_entries(self) -> list[dict[str, t.Any]]:
        """The boot entries of the installed kernels."""
        kernels = self._kernels()
        if _command(self.host, "bootctl") is None or self.host.exists(_PROXMOX_ESPS):
            return []
        return [
            entry
            for entry in bootctl_entries(_run(self.host, "bootctl", "list", "--json=short"))
            if any(_is_entry_of(kernel, entry.get("id", "")) for kernel in kernels)
        ]

    def _has_foreign_image(self) -> bool:
        """Whether a kernel is in a unified image that kernel-install does not make."""
        if any("layout=uki" in _text(self.host, path).split() for path in _INSTALL_CONFIGS):
            return False
        return self.host.exists(_STUB_INFO) or any(
            entry["id"].endswith(".efi") for entry in self._own_entries()
        )

    def lost(self, before: t.Sequence[str], wanted: WantedArguments) -> list[str]:
        text = "".join(self.files().values())
        words = _command_line.words(_command_line.uncommented(text))
        return _missed(words, before, self.all_entries())

    def make(self) -> None:
        if self.host.exists(_PROXMOX_ESPS):
            _run(self.host, "proxmox-boot-tool", "refresh")
            return
        for kernel, image in self._kernels().items():
            _run(self.host, "kernel-install", "add", kernel, image)

    def _kernels(self) -> dict[str, str]:
        """The images of the installed kernels by version."""
        images: dict[str, str] = {}
        for version in self.host.names(_MODULES):
            for image in (f"{_MODULES}/{version}/vmlinuz", f"/boot/vmlinuz-{version}"):
                if self.host.exists(image):
                    images.setdefault(version, image)
        return images


class Elsewhere(BootLoader):
    """No boot loader that this collection can change, because of *cause*.

    The arguments come from a network boot server, for example. *remedy* tells where to set them.
    """

    name = "none"

    def __init__(self, host: Host, cause: str, remedy: str) -> None:
        super().__init__(host)
        self.cause = cause
        self.remedy = remedy

    def files(self) -> dict[str, str]:
        return {}

    def edited(self, files: t.Mapping[str, str], wanted: WantedArguments) -> dict[str, str]:
        difference = _command_line.difference(self._running(), wanted)
        if difference:
            raise SriovError(
                f"the kernel was started {difference}, and {self.cause}. {self.remedy}, and "
                "reboot it"
            )
        return {}

    def entries(self) -> list[str] | None:
        return [self._running()]


def find(host: Host) -> BootLoader:
    """The boot loader of *host*; if there are several, the one that booted it."""
    if host.exists(_OSTREE):
        return Elsewhere(
            host,
            "its boot entries are those of ostree deployments, which this collection does not edit",
            "Set the arguments with 'rpm-ostree kargs' or in the image of this host",
        )
    info = (host.read_bytes(_LOADER_INFO) or b"")[4:].decode("utf-16-le", "replace")
    if info.startswith("systemd-boot") or host.exists(_STUB_INFO):
        return SystemdBoot(host)
    if _command(host, "grubby"):
        return Grubby(host)
    if _command(host, "update-grub"):
        return Grub(host)
    if host.exists(KERNEL_CMDLINE):
        return SystemdBoot(host)
    return Elsewhere(
        host,
        "no boot loader was found to mend that: neither update-grub nor grubby is installed, and "
        f"there is no {KERNEL_CMDLINE}",
        "Set the arguments where this host boots from",
    )


class BootPlan(t.NamedTuple):
    """What has to be done for the next boot.

    *files* are the new texts of the files that change. *entries* are the command lines of the boot
    entries afterwards; `None` if the boot loader does not show them. *remake* tells whether to make
    the entries again, *changed* whether the plan certainly changes something.
    """

    files: dict[str, str]
    entries: list[str] | None
    remake: bool
    changed: bool


def plan(
    loader: BootLoader,
    files: t.Mapping[str, str],
    entries: list[str] | None,
    wanted: WantedArguments,
    running: str,
) -> BootPlan:
    """The plan for the *files* and the boot entries *entries* of *loader*.

    If nobody can read the entries, the plan makes them again until *running*, the command line of
    the kernel, shows that they are right.
    """
    edited = loader.edited(files, wanted)
    changes = {path: text for path, text in edited.items() if text != files[path]}
    for path in changes:
        loader.host.require_replaceable(path)
    if entries is None:
        remake = not _command_line.satisfies(running, wanted)
        return BootPlan(changes, None, bool(changes) or remake, bool(changes))
    outdated = (
        not entries
        or not all(_command_line.satisfies(entry, wanted) for entry in entries)
        or loader.unfinished()
    )
    if changes or outdated:
        entries = loader.expected(entries, files, edited, wanted)
    return BootPlan(changes, entries, bool(changes) or outdated, bool(changes) or outdated)


class Arguments(t.NamedTuple):
    """The kernel arguments *wanted* of a host whose IOMMU is *platform*, and the way to them.

    *files* and *entries* are as in `BootLoader`. *plan* is what has to be done. *reason* tells why
    that takes a reboot; it is empty if it takes none.
    """

    loader: BootLoader
    wanted: WantedArguments
    running: str
    platform: _iommu.Platform | None
    effective: bool
    files: dict[str, str]
    entries: list[str] | None
    plan: BootPlan
    reason: str

    @property
    def reboot_cause(self) -> _reboot.Cause | None:
        """Why the host has to reboot; `None` if it has not."""
        if not self.reason:
            return None
        return _reboot.Cause(
            cause="iommu",
            reason=f"the IOMMU is not effective, because {self.reason}",
            remedy=f"the host boots with other arguments than {self.loader.name} is set to; see "
            "which boot loader and which entry the firmware starts (efibootmgr, bootctl)",
        )

    @property
    def steps(self) -> dict[str, list[str]]:
        """What the plan does, by the file that changes, the boot entries last."""
        if not self.plan.changed:
            return {}
        text = self.entries[0] if self.entries else self.running
        edits = {
            "remove": _command_line.unwanted(text, self.wanted),
            "add": _command_line.missing(text, self.wanted),
        }
        return {
            **{path: ["write" if text else "remove"] for path, text in self.plan.files.items()},
            f"boot entries of {self.loader.name}": [
                "make again",
                *(
                    f"{verb} {' '.join(arguments)}"
                    for verb, arguments in edits.items()
                    if arguments
                ),
            ],
        }


def plan_host(
    host: Host, *, iommu: bool, present: t.Iterable[str], absent: t.Iterable[str] = ()
) -> Arguments:
    """Read *host* and plan the arguments *present* and *absent*, with *iommu* also the IOMMU's.

    Raises `SriovError` if one of them is no argument, or if none can give what *iommu* asks for.
    """
    running = host.read("/proc/cmdline") or ""
    platform = _iommu.platform(host)
    effective = _iommu.effective(host)
    required = WantedArguments()
    if iommu:
        required = _iommu.arguments(platform)
        hindrance = _iommu.hindrance(platform, effective, running)
        if hindrance:
            raise SriovError("; ".join(hindrance))
    wanted = _command_line.checked((*required.present, *present), (*required.absent, *absent))
    loader = find(host)
    files = loader.files()
    entries = loader.entries()
    reason = _command_line.difference(running, wanted)
    if iommu:
        reason = "" if effective else _command_line.difference(running, required)
    return Arguments(
        loader=loader,
        wanted=wanted,
        running=running,
        platform=platform,
        effective=effective,
        files=files,
        entries=entries,
        plan=plan(loader, files, entries, wanted, running),
        reason=f"the kernel was started {reason}" if reason else "",
    )


def apply(arguments: Arguments) -> list[str] | None:
    """Carry out the plan; return the boot entries afterwards.

    Raises `SriovError` if they are not as wanted or have lost an argument. The files are then as
    they were.
    """
    loader, changes = arguments.loader, arguments.plan.files
    if not arguments.plan.remake:
        return arguments.entries
    existing = [path for path in arguments.files if loader.host.exists(path)]
    before = loader.all_entries()
    try:
        loader.apply(changes, arguments.wanted)
    except BaseException as error:
        _put_back(arguments, existing)
        if isinstance(error, SriovError) and changes:
            raise SriovError(f"{error}. {_as_before(changes)}") from error
        raise
    entries = loader.entries()
    problem = _problem(loader, entries, before, arguments.wanted)
    if not problem:
        return entries
    if changes:
        _put_back(arguments, existing)
        loader.make()
        problem += f". {_as_before(changes)}, and the boot entries were made of that"
    raise SriovError(problem)


def _put_back(arguments: Arguments, existing: t.Container[str]) -> None:
    host = arguments.loader.host
    for path, text in arguments.files.items():
        if path not in existing and host.exists(path):
            host.remove(path)
        elif _text(host, path) != text:
            host.replace(path, text)


def _as_before(paths: t.Collection[str]) -> str:
    verb = "are as they were" if len(paths) > 1 else "is as it was"
    return f"{' and '.join(paths)} {verb} before"


def _problem(
    loader: BootLoader, entries: list[str] | None, before: t.Sequence[str], wanted: WantedArguments
) -> str:
    """What is wrong with the boot entries *entries*, which replace those *before*."""
    if entries is None:
        return ""
    causes = [
        f"one is {difference}"
        for difference in (_command_line.difference(entry, wanted) for entry in entries)
        if difference
    ]
    lost = loader.lost(before, wanted)
    if lost:
        causes.append(f"one has lost {' '.join(lost)}")
    if not entries:
        causes.append("there is none")
    if not causes:
        return ""
    return (
        f"the boot entries were made again, but {causes[0]}: {loader.name} takes its kernel "
        f"arguments from elsewhere too. Look through {', '.join(loader.files())} and the scripts "
        "that make its entries"
    )


def _missed(words: t.Iterable[str], before: t.Iterable[str], after: t.Iterable[str]) -> list[str]:
    """Those of *words* that a command line has *before*, and one lacks *after*."""
    had = {word for entry in before for word in _command_line.words(entry)}
    have = [_command_line.words(entry) for entry in after]
    return [
        word
        for word in dict.fromkeys(words)
        if word in had and not all(word in entry for entry in have)
    ]


def _is_for_recovery(entry: str) -> bool:
    return not {"single", "recovery"}.isdisjoint(_command_line.arguments(entry))


def grubby_arguments(
    entries: t.Iterable[str], wanted: WantedArguments
) -> tuple[list[str], list[str]]:
    """What grubby has to remove from the command lines *entries*, and what it has to add.

    grubby replaces all arguments of a name by the one that it adds. So the result also names those
    that stay.
    """
    remove: list[str] = []
    add: list[str] = []
    for entry in entries:
        old = _command_line.arguments(entry)
        new = _command_line.arguments(_command_line.complete(entry, wanted))
        remove += [argument for argument in old if argument not in new]
        names = {argument.partition("=")[0] for argument in new if argument not in old}
        add += [argument for argument in new if argument.partition("=")[0] in names]
    return remove, list(dict.fromkeys(add))


def bootctl_entries(output: str) -> list[dict[str, t.Any]]:
    """The boot entries in what `bootctl list --json=short` prints.

    It is one list, and before systemd 253 one object on each line.
    """
    if output.lstrip().startswith("["):
        entries: list[dict[str, t.Any]] = json.loads(output)
        return entries
    return [json.loads(line) for line in output.splitlines() if line.strip()]


def _is_entry_of(kernel: str, entry_id: str) -> bool:
    """Whether kernel-install made the entry or image *entry_id* for *kernel*."""
    return bool(re.search(rf"-{re.escape(kernel)}(\+[0-9-]+)?\.(conf|efi)$", entry_id))


def _text(host: Host, path: str) -> str:
    return (host.read_bytes(path) or b"").decode("utf-8", "surrogateescape")


def _command(host: Host, name: str) -> str | None:
    """The path of a command, even if the search path lacks the administrator's commands."""
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if host.exists(f"{directory}/{name}"):
            return f"{directory}/{name}"
    return None


def _run(host: Host, name: str, *arguments: str) -> str:
    done = host.run([_command(host, name) or name, *arguments])
    if done.rc:
        raise SriovError(
            f"'{' '.join([name, *arguments])}' failed ({done.rc}): {done.err.strip()[-_TAIL:]}"
        )
    return done.out
