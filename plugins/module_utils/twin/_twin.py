# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulated twin of a facility: one QEMU for each hypervisor, and one that plays the leafs.

Each QEMU holds a lock on a file in the twin's directory. The lock is the only record of the QEMU:
its holder is the process, and the kernel tells the process id. So no record can be stale, and a run
never ends a process that is not the twin's own.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._text import MAC

QEMU = "qemu-system-x86_64"
_OLDEST_QEMU = (8, 0)
"""The first release with igb, the SR-IOV NIC."""

UEFI = "/usr/share/ovmf/OVMF.fd"
"""Firmware of Debian's package ovmf."""

LEAFS = "leafs"
_WIRES = "wires"
_KEYS = "ssh"
_INVENTORY = "hosts.yml"
_RESERVED = (LEAFS, _WIRES, _KEYS, _INVENTORY)
_LOCK = ".lock"
_DISK = "disk.qcow2"
_PID_FILE = "qemu.pid"
_CONSOLE = "console.log"
_FLOCK = "hhqqi4x"
"""struct flock of Linux on 64 bits (fcntl(2))."""

_HOST_KEY_ALIAS = "twin"
_HOST_DISK_BYTES = 512 << 20
"""What a host may write to its disk in the end, in bytes."""
_END_SECONDS = 10
_ANSWER_SECONDS = 4
"""The longest that an SSH server takes for its first bytes, without KVM and under load."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class TwinPf(t.NamedTuple):
    """A PF; its wire has an end at the host and one at the leaf, each a UDP port of 127.0.0.1."""

    name: str
    mac: str
    leaf: str | None
    host_end: int
    leaf_end: int


class TwinHost(t.NamedTuple):
    """An emulated host; *ssh_port* of 127.0.0.1 leads to its SSH server.

    With *uefi* it starts what the image has for UEFI, otherwise GRUB.
    """

    name: str
    pfs: tuple[TwinPf, ...]
    ssh_port: int
    memory_mib: int
    uefi: bool
    qemu_args: tuple[str, ...]


class Image(t.NamedTuple):
    """What all hosts start from: a disk that nobody writes to, and GRUB as a kernel image."""

    disk: str
    grub: str


def image_in(directory: str) -> Image:
    """The image that the module `twin_image` keeps in *directory*."""
    return Image(os.path.join(directory, "disk.img"), os.path.join(directory, "grub"))


def twin_hosts(
    hosts: t.Sequence[t.Mapping[str, t.Any]],
    *,
    first_port: int,
    memory_mib: int,
    uefi: t.Sequence[str],
    qemu_args: t.Mapping[str, t.Sequence[str]],
) -> list[TwinHost]:
    """The hosts to emulate, by name, with ports from *first_port* on.

    *hosts* is a list of `name` and `pfs`; `pfs` is the inventory's `sriov_pfs`. Raises `SriovError`
    if a name or MAC cannot be used, if there are too few ports, or if there is no host at all.
    """
    if not hosts:
        raise SriovError(
            "the facility has no hypervisors, so there is no host to emulate:"
            " see the group 'hypervisors' of the inventory"
        )
    twins: dict[str, TwinHost] = {}
    taken: dict[str, str] = {}
    wire_port = first_port
    for ssh_port, host in enumerate(sorted(hosts, key=lambda host: host["name"]), first_port):
        name = host["name"]
        _check_name(name, f"host {name!r}")
        if name in _RESERVED:
            raise SriovError(f"host {name!r}: the twin needs this name for a file of its own")
        if name in twins:
            raise SriovError(f"two hosts have the name {name!r}")
        pfs = []
        for index, raw in enumerate(host["pfs"]):
            element = f"host {name!r}, PF {raw.get('name', index)!r}"
            pfs.append(_pf(name, raw, element, wire_port, taken))
            wire_port += 2
        arguments = tuple(qemu_args.get(name, ()))
        twins[name] = TwinHost(name, tuple(pfs), ssh_port, memory_mib, name in uefi, arguments)
    for option, names in (("twin_qemu_args", qemu_args), ("twin_uefi", uefi)):
        for name in sorted(set(names) - set(twins)):
            raise SriovError(f"{option}: there is no host {name!r}")
    last_port = max(first_port + len(twins), wire_port) - 1
    if first_port < 1 or last_port > 65535:
        raise SriovError(
            f"the twin needs the ports {first_port} to {last_port}: set twin_ssh_port lower"
        )
    return list(twins.values())


def _pf(
    host: str, raw: t.Mapping[str, t.Any], element: str, wire_port: int, taken: dict[str, str]
) -> TwinPf:
    """The PF *raw*; *taken* gets its MAC and the name of its wire, which no other may have."""
    _check_name(raw.get("name"), element)
    mac = str(raw.get("mac")).lower()
    if not MAC.fullmatch(mac):
        raise SriovError(f"{element}: {mac[:40]!r} is not a MAC address")
    for key in (mac, wire_name(host, raw["name"])):
        if key in taken:
            raise SriovError(f"{element}: {taken[key]} has {key}, too")
        taken[key] = element
    leaf = (raw.get("leaf") or {}).get("host")
    return TwinPf(raw["name"], mac, leaf, wire_port, wire_port + 1)


def _check_name(name: t.Any, element: str) -> None:
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise SriovError(
            f"{element[:120]}: the twin names files after hosts and PFs, so these names can only"
            " have letters, digits, '.', '_' and '-', at most 64, and none of '.-' first"
        )


def wire_name(host: str, pf: str) -> str:
    """The name of a PF's wire and, with `.pcap`, of its capture."""
    return f"{host}-{pf}"


def host_command(host: TwinHost, image: Image, *, kvm: bool) -> list[str]:
    """The command that runs a host, in the twin's directory."""
    accelerator = ["kvm", "-cpu", "host"] if kvm else ["tcg,thread=multi", "-cpu", "max"]
    command = [
        *(QEMU, "-name", host.name),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
        *("-machine", "q35,kernel-irqchip=split,sata=off", "-accel", *accelerator),
        *("-smp", "2", "-m", str(host.memory_mib)),
        *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        *(("-bios", UEFI) if host.uefi else ("-kernel", image.grub)),
        *("-smbios", _credentials(host.name)),
        *("-drive", f"if=none,id=root,file={host.name}/{_DISK},cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-chardev", f"file,id=console,path={host.name}/{_CONSOLE}"),
        *("-serial", "chardev:console"),
        *_daemon(host.name),
        "-netdev",
        f"user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:{host.ssh_port}-:22",
        *("-device", "virtio-net-pci,netdev=management,romfile="),
    ]
    for index, pf in enumerate(host.pfs):
        # Eight root ports share a device number, so that many PFs do not use up the root bus.
        slot = f"{0x10 + index // 8:x}.{index % 8}"
        command += [
            *("-netdev", _datagrams(f"wire{index}", pf.host_end, pf.leaf_end)),
            "-device",
            f"pcie-root-port,id=port{index},chassis={index},multifunction=on,addr={slot}",
            "-device",
            f"igb,netdev=wire{index},bus=port{index},mac={pf.mac},romfile=",
        ]
    return [*command, *host.qemu_args]


def leafs_command(hosts: t.Sequence[TwinHost]) -> list[str]:
    """The command that plays the leafs: it joins the PFs of each leaf, and records each wire.

    It is a QEMU without a machine, so it runs no guest. It records all wires by one clock, and goes
    on when a host reboots.
    """
    command = [
        *(QEMU, "-name", LEAFS),
        *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"),
        *_daemon(LEAFS),
    ]
    hubs: dict[t.Any, int] = {}
    wires = [(host, pf) for host in hosts for pf in host.pfs]
    for index, (host, pf) in enumerate(wires):
        # The wire of a PF without a leaf leads nowhere.
        hub = hubs.setdefault(pf.leaf or (host.name, pf.name), len(hubs))
        capture = f"{_WIRES}/{wire_name(host.name, pf.name)}.pcap"
        command += [
            *("-netdev", _datagrams(f"wire{index}", pf.leaf_end, pf.host_end)),
            *("-netdev", f"hubport,id=port{index},hubid={hub},netdev=wire{index}"),
            *("-object", f"filter-dump,id=dump{index},netdev=wire{index},file={capture}"),
        ]
    return command


def _daemon(name: str) -> tuple[str, ...]:
    return "-daemonize", "-pidfile", f"{name}/{_PID_FILE}"


def _credentials(name: str) -> str:
    """What tells the host its identity, through the firmware (systemd.system-credentials(7))."""
    return (
        f"type=11,value=io.systemd.credential:system.hostname={name}"
        f",path={_KEYS}/authorized_keys.credential,path={_KEYS}/host_key.credential"
    )


def _datagrams(netdev: str, local_port: int, remote_port: int) -> str:
    # UDP, because it drops what the other end does not take, as a wire does. A UNIX socket makes
    # the sender try again and again as long as the NIC of a host is down.
    ends = (
        f"{end}.type=inet,{end}.host=127.0.0.1,{end}.port={port}"
        for end, port in (("local", local_port), ("remote", remote_port))
    )
    return ",".join(("dgram", f"id={netdev}", *ends))


def inventory(hosts: t.Sequence[TwinHost], directory: str) -> str:
    """An inventory that leads to the twin in *directory*; give it to Ansible after the facility's.

    It sets its variables for each host, because the facility model sets those of each host, too.
    """
    keys = os.path.join(directory, _KEYS)
    ssh_options = (
        "UserKnownHostsFile=" + os.path.join(keys, "known_hosts"),
        "HostKeyAlias=" + _HOST_KEY_ALIAS,
        "IdentitiesOnly=yes",
        # Without these, whoever is connected to a host that hangs waits for ever.
        "ServerAliveInterval=30",
        "ServerAliveCountMax=4",
    )
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": os.path.join(keys, "id_ed25519"),
        "ansible_ssh_common_args": " ".join(shlex.quote("-o" + option) for option in ssh_options),
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    twins = {host.name: {**variables, "ansible_port": host.ssh_port} for host in hosts}
    return json.dumps({"twin": {"hosts": twins}}, indent=2) + "\n"


class WantedTwin(t.NamedTuple):
    """What a twin should be: the commands of its processes by name, the hosts' disk, its inventory.

    A twin without commands has ended.
    """

    commands: t.Mapping[str, t.Sequence[str]]
    disk: str
    inventory: str


NOTHING = WantedTwin({}, "", "")


def wanted_twin(
    hosts: t.Sequence[TwinHost], image: Image, directory: str, *, kvm: bool
) -> WantedTwin:
    """The twin of these hosts in *directory* (absolute)."""
    commands = {LEAFS: leafs_command(hosts)}
    commands.update((host.name, host_command(host, image, kvm=kvm)) for host in hosts)
    return WantedTwin(commands, image.disk, inventory(hosts, directory))


class FoundTwin(t.NamedTuple):
    """What a twin is now.

    *commands* are those of its processes, *disks* the backing files of its disks, both by name.
    """

    commands: t.Mapping[str, t.Sequence[str]]
    disks: t.Mapping[str, str]
    inventory: str


class TwinPlan(t.NamedTuple):
    """The steps that make a twin what it should be, in this order; names of processes."""

    end: tuple[str, ...]
    remove: tuple[str, ...]
    create: tuple[str, ...]
    start: tuple[str, ...]
    write_inventory: bool
    remove_directory: bool


def plan(wanted: WantedTwin, found: FoundTwin) -> TwinPlan:
    """The steps from *found* to *wanted*.

    A process with another command starts again, which for a host is a power cycle. A host whose
    disk comes from another image gets a new one.
    """
    hosts = [name for name in wanted.commands if name != LEAFS]
    create = tuple(name for name in hosts if found.disks.get(name) != wanted.disk)
    keep = {
        name
        for name, command in found.commands.items()
        if name not in create and list(command) == list(wanted.commands.get(name, ()))
    }
    return TwinPlan(
        end=tuple(sorted(set(found.commands) - keep)),
        remove=tuple(sorted(set(found.disks) - set(hosts))),
        create=create,
        start=tuple(name for name in wanted.commands if name not in keep),
        write_inventory=wanted.inventory != found.inventory,
        remove_directory=not wanted.commands,
    )


def kvm_works() -> bool:
    """Whether KVM can start a guest here. That the device node exists does not prove it."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
        if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", cpuinfo.read(), re.MULTILINE):
            return False
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return False
    return True


class Twin:
    """The twin in *directory*: reads and changes its state.

    Raises `SriovError` if the directory holds something else.
    """

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        if (
            os.path.isdir(self.directory)
            and os.listdir(self.directory)
            and not os.path.exists(self._path(_LOCK))
        ):
            raise SriovError(
                f"{self.directory} holds files that are not a twin's, and a twin that ends removes"
                " its directory: set twin_dir to another one or empty it"
            )

    @contextlib.contextmanager
    def held(self) -> t.Iterator[None]:
        """Create the directory if it is missing, and keep other runs away from it meanwhile."""
        os.makedirs(self.directory, exist_ok=True)
        with open(self._path(_LOCK), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> FoundTwin:
        """The twin as it is now."""
        commands = {}
        disks = {}
        for name in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else ():
            pid = self._process(name)
            if pid:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as command:
                    commands[name] = command.read().split("\0")[:-1]
            if os.path.exists(self._path(name, _DISK)):
                disks[name] = _backing_file(self._path(name, _DISK))
        try:
            with open(self._path(_INVENTORY), encoding="utf-8") as file:
                return FoundTwin(commands, disks, file.read())
        except FileNotFoundError:
            return FoundTwin(commands, disks, "")

    def check(self, steps: TwinPlan, hosts: t.Sequence[TwinHost], found: FoundTwin) -> None:
        """Raise `SriovError` if a port that *steps* need is taken."""
        # A process that runs holds its ports itself.
        start = set(steps.start) - set(found.commands)
        for host in hosts:
            if host.name in start:
                _check_port(host.ssh_port, socket.SOCK_STREAM, host.name)
            for pf in host.pfs:
                for process, port in ((host.name, pf.host_end), (LEAFS, pf.leaf_end)):
                    if process in start:
                        _check_port(port, socket.SOCK_DGRAM, wire_name(host.name, pf.name))

    def apply(self, steps: TwinPlan, wanted: WantedTwin) -> None:
        """Carry out *steps*; raises `SriovError` if that fails."""
        if steps.start:
            _check_qemu()
            check_space(self.directory, len(steps.create) * _HOST_DISK_BYTES, "twin_dir")
        self._end(steps.end)
        if steps.remove_directory:
            shutil.rmtree(self.directory)
            return
        for name in steps.remove:
            shutil.rmtree(self._path(name))
        for name in (_WIRES, *wanted.commands):
            os.makedirs(self._path(name), exist_ok=True)
        for name in steps.create:
            new = self._path(name, _DISK + ".new")
            overlay = ["-f", "qcow2", "-b", wanted.disk, "-F", "raw", new]
            _output(["qemu-img", "create", "-q", *overlay])
            os.replace(new, self._path(name, _DISK))
        if not os.path.isdir(self._path(_KEYS)):
            self._make_keys()
        self._start({name: wanted.commands[name] for name in steps.start})
        if steps.write_inventory:
            _write(self._path(_INVENTORY), wanted.inventory)

    def wait(self, hosts: t.Sequence[TwinHost], seconds: int) -> None:
        """Wait until the SSH servers of all *hosts* answer.

        Raises `SriovError` if a host has ended, or takes more than *seconds*.
        """
        deadline = time.monotonic() + seconds
        for host in hosts:
            console = self._path(host.name, _CONSOLE)
            while not _answers(host.ssh_port):
                if not self._process(host.name):
                    raise SriovError(f"{host.name} has ended while it booted, see {console}")
                if time.monotonic() > deadline:
                    raise SriovError(f"{host.name} did not boot in {seconds} s, see {console}")
                time.sleep(0.1)

    def _path(self, *names: str) -> str:
        return os.path.join(self.directory, *names)

    def _make_keys(self) -> None:
        """Make a key pair for the user and one for all hosts, and the files that introduce them."""
        new = self._path("." + _KEYS)
        shutil.rmtree(new, ignore_errors=True)
        os.mkdir(new, 0o700)
        keys = {}
        for name in ("id_ed25519", "host_ed25519"):
            private = os.path.join(new, name)
            _output(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "twin", "-f", private])
            for key in (name, name + ".pub"):
                with open(os.path.join(new, key), encoding="ascii") as file:
                    keys[key] = file.read()
        _write(os.path.join(new, "known_hosts"), f"{_HOST_KEY_ALIAS} {keys['host_ed25519.pub']}")
        for name, credential, key in (
            ("authorized_keys", "ssh.authorized_keys.root", "id_ed25519.pub"),
            ("host_key", "twin.ssh_host_key", "host_ed25519"),
        ):
            value = base64.b64encode(keys[key].encode("ascii")).decode("ascii")
            _write(
                os.path.join(new, name + ".credential"),
                f"io.systemd.credential.binary:{credential}={value}",
            )
        os.rename(new, self._path(_KEYS))

    def _process(self, name: str) -> int | None:
        """The id of the process of this name, if it runs."""
        try:
            with open(self._path(name, _PID_FILE), encoding="ascii") as file:
                lock = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                lock = fcntl.fcntl(file, fcntl.F_GETLK, lock)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, lock)
        return None if kind == fcntl.F_UNLCK else pid

    def _end(self, names: t.Sequence[str]) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            running = {name: pid for name in names if (pid := self._process(name))}
            for pid in running.values():
                os.kill(pid, sign)
            deadline = time.monotonic() + _END_SECONDS
            while any(map(self._process, running)) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _start(self, commands: t.Mapping[str, t.Sequence[str]]) -> None:
        # Each becomes a daemon. It returns once it is set up, or tells why it cannot be.
        starting = {
            # All start at once, which no AnsibleModule could do.
            name: subprocess.Popen(  # pylint: disable=ansible-bad-function
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, command in commands.items()
        }
        said = {name: process.communicate()[1] for name, process in starting.items()}
        for name, process in starting.items():
            if process.returncode:
                raise SriovError(f"QEMU does not run {name}: {' '.join(said[name].split())}")


def _backing_file(disk: str) -> str:
    """The file that a qcow2 file is an overlay of (docs/interop/qcow2.rst of QEMU)."""
    with open(disk, "rb") as file:
        offset, length = struct.unpack(">8xQI", file.read(20))
        file.seek(offset)
        return file.read(length).decode("utf-8")


def _answers(port: int) -> bool:
    """Whether an SSH server answers at a TCP port of 127.0.0.1."""
    # QEMU itself accepts the connection at once, and tries ever more rarely to reach a host that
    # does not answer. So one connection must not wait for long.
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _check_qemu() -> None:
    match = re.search(r"version (\d+)\.(\d+)", _output([QEMU, "--version"]))
    if match and (int(match[1]), int(match[2])) < _OLDEST_QEMU:
        raise SriovError(
            f"QEMU {match[1]}.{match[2]} is too old, igb (the SR-IOV NIC) needs 8.0: let the role"
            " twin install it, on Debian 12 from bookworm-backports"
        )


def _check_port(port: int, kind: socket.SocketKind, user: str) -> None:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # QEMU does the same. What lingers from an earlier connection does not prevent it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
            raise SriovError(
                f"{protocol} port {port} of 127.0.0.1, which {user} needs, cannot be used"
                f" ({error.strerror}): set twin_ssh_port to the first of the twin's ports"
            ) from None


def check_space(directory: str, needed: int, option: str) -> None:
    """Raise `SriovError` if *directory* has less free space than *needed*, in bytes.

    *directory* may not exist yet.
    """
    existing = directory
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise SriovError(
            f"{directory} needs {needed / 1e9:.1f} GB and has {free / 1e9:.1f} GB: free some space"
            f" or set {option}"
        )


def _write(path: str, content: str) -> None:
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(content)
    os.replace(path + ".new", path)


def _output(command: t.Sequence[str]) -> str:
    try:
        result = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SriovError(f"{command[0]} is not installed: let the role twin install it") from None
    if result.returncode:
        raise SriovError(f"{command[0]}: {result.stderr.strip()}")
    return result.stdout
