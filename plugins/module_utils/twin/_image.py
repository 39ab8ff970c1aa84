# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disk image that the twin's hosts start from, built once from a recipe and then cached.

A recipe is a directory:

    packages            Debian packages of the image
    root/               files of its root file system
    customize           script that runs in that root at last
    modules/packages    Debian packages of another root, in which kernel modules are built
    modules/build       script that runs there and leaves in /out what goes into the image

The directory modules/ may be missing. The script `customize` leaves two files in the directory
/usr/lib/mergetb-sriov: `grub`, which is GRUB as a Linux kernel image, and, if hosts are to start by
UEFI, `esp`, a file system that becomes the EFI system partition.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import typing as t

from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.twin._twin import check_space, image_in

SUITE = "trixie"
_LABEL = "twin-root"
_MIB = 1 << 20
_DISK_MIB = 3072
_BUILD_BYTES = 3000 * _MIB
"""Enough for both roots and the image made from them, which exist at the same time."""

_DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
)
_APT_NETWORK = re.compile(r"Acquire::(https?|Retries|Check-Date|Check-Valid-Until)\b.*")
"""The settings of apt on this machine that decide whether it can use the mirror."""


class Recipe(t.NamedTuple):
    """What an image is made from."""

    packages: tuple[str, ...]
    files: t.Mapping[str, tuple[int, bytes]]
    """Mode and content by path in the image."""
    customize: bytes
    module_packages: tuple[str, ...]
    build_modules: bytes
    """Empty if no kernel modules are built."""

    @property
    def digest(self) -> str:
        """The name of the image: two recipes have the same one if and only if they are equal."""
        return hashlib.sha256(repr((SUITE, _DISK_MIB, self)).encode("utf-8")).hexdigest()[:16]


def read_recipe(directory: str) -> Recipe:
    """The recipe in *directory*."""

    def content(*names: str) -> bytes:
        with open(os.path.join(directory, *names), "rb") as file:
            return file.read()

    modules = os.path.isdir(os.path.join(directory, "modules"))

    files = {}
    root = os.path.join(directory, "root")
    for folder, _folders, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            files[os.path.relpath(path, root)] = mode, content(path)
    return Recipe(
        packages=_words(content("packages")),
        files=dict(sorted(files.items())),
        customize=content("customize"),
        module_packages=_words(content("modules", "packages")) if modules else (),
        build_modules=content("modules", "build") if modules else b"",
    )


def _words(text: bytes) -> tuple[str, ...]:
    return tuple(text.decode("ascii").split())


def archive(files: t.Mapping[str, tuple[int, bytes]]) -> bytes:
    """A tar archive of *files*, all of which belong to root in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, (mode, content) in files.items():
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def root_command(recipe: Recipe, options: t.Sequence[str], mirror: str) -> list[str]:
    """The command that makes the image's root as `root` in the current directory."""
    return [
        *("mmdebstrap", "--variant=minbase", *options),
        "--include=" + ",".join(recipe.packages),
        # Before the other packages, because these files tell some of them how to set themselves up.
        "--essential-hook=tar-in files.tar /",
        "--customize-hook=upload customize /tmp/customize",
        '--customize-hook=chroot "$1" sh /tmp/customize',
        '--customize-hook=rm "$1/tmp/customize"',
        *("--format=directory", SUITE, "root", mirror),
    ]


def modules_command(recipe: Recipe, options: t.Sequence[str], mirror: str) -> list[str]:
    """The command that builds kernel modules and leaves them in `out` in the current directory."""
    return [
        *("mmdebstrap", "--variant=apt", *options),
        "--include=" + ",".join(recipe.module_packages),
        "--customize-hook=upload build-modules /tmp/build-modules",
        '--customize-hook=chroot "$1" sh /tmp/build-modules',
        "--customize-hook=copy-out /out .",
        *("--format=null", SUITE, "-", mirror),
    ]


class ImageCache:
    """The images in *directory*."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)

    def path(self, recipe: Recipe) -> str:
        """The directory for the image of a recipe; it exists once the image is complete."""
        return os.path.join(self.directory, recipe.digest)

    def build(self, recipe: Recipe, mirror: str | None) -> None:
        """Build the image of a recipe and remove all other images.

        *mirror* is the URI of a Debian mirror. Raises `SriovError` if a step fails; then nothing is
        left that counts as an image.
        """
        if os.geteuid() != 0:
            raise SriovError("only root can build the twin's image: run this as root")
        if not mirror:
            raise SriovError(
                "apt knows no Debian mirror to build the twin's image from: see /etc/apt and run"
                " apt-get update"
            )
        check_space(self.directory, _BUILD_BYTES, "twin_cache_dir")
        os.makedirs(self.directory, exist_ok=True)
        with self._held() as lock:
            if os.path.isdir(self.path(recipe)):
                return
            for name in os.listdir(self.directory):
                if os.path.isdir(os.path.join(self.directory, name)):
                    shutil.rmtree(os.path.join(self.directory, name))
            work = os.path.join(self.directory, "build")
            os.mkdir(work)
            _Build(work, lock).run(recipe, f"deb {mirror} {SUITE} main")
            os.rename(os.path.join(work, "image"), self.path(recipe))
            shutil.rmtree(work)

    @contextlib.contextmanager
    def _held(self) -> t.Iterator[int]:
        """Wait until no other build runs, and keep others from starting."""
        with open(os.path.join(self.directory, ".lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock.fileno()


class _Build:
    """A build in *directory*.

    Its commands share *lock*, so the lock holds until the last of them has ended.
    """

    def __init__(self, directory: str, lock: int) -> None:
        self._directory = directory
        self._lock = lock

    def run(self, recipe: Recipe, mirror: str) -> None:
        """Make the image as `image` in the directory."""
        for name, content in (
            ("files.tar", archive(recipe.files)),
            ("customize", recipe.customize),
            ("build-modules", recipe.build_modules),
        ):
            with open(self._path(name), "wb") as file:
                file.write(content)
        options = ["--mode=root", *("--dpkgopt=" + option for option in _DPKG_OPTIONS)]
        for line in self._command(["apt-config", "dump"]).splitlines():
            if _APT_NETWORK.fullmatch(line):
                options.append("--aptopt=" + line)
        commands = [root_command(recipe, options, mirror)]
        if recipe.build_modules:
            commands.append(modules_command(recipe, options, mirror))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(self._command, commands))
        if recipe.build_modules:
            self._add_modules()
        self._make_image()

    def _add_modules(self) -> None:
        modules = self._path("root", "usr", "lib", "modules")
        release = os.listdir(modules)
        shutil.copytree(self._path("out"), self._path("root"), dirs_exist_ok=True)
        if os.listdir(modules) != release:
            raise SriovError(
                "the mirror's kernel and its headers are of different versions, as happens while it"
                " is updated: try again later"
            )
        self._command(["chroot", "root", "depmod", *release])

    def _make_image(self) -> None:
        os.mkdir(self._path("image"))
        image = image_in(self._path("image"))
        data = self._path("root", "usr", "lib", "mergetb-sriov")
        shutil.copy(os.path.join(data, "grub"), image.grub)
        esp = b""
        with contextlib.suppress(FileNotFoundError), open(os.path.join(data, "esp"), "rb") as file:
            esp = file.read()
            os.unlink(file.name)
        # The first and the last MiB are for GPT.
        size = _DISK_MIB - 2
        table = f"label: gpt\nstart=1MiB, size={size}MiB\n"
        with open(image.disk, "wb") as file:
            if esp:
                table += f"start={1 + size}MiB, size={len(esp) // _MIB}MiB, type=uefi\n"
                file.seek((1 + size) * _MIB)
                file.write(esp)
            file.truncate(_DISK_MIB * _MIB + len(esp))
        target = ["-E", f"offset={_MIB}", image.disk, f"{size}m"]
        self._command(["mke2fs", "-q", "-F", "-t", "ext4", "-L", _LABEL, "-d", "root", *target])
        self._command(["sfdisk", "--quiet", image.disk], table)

    def _path(self, *names: str) -> str:
        return os.path.join(self._directory, *names)

    def _command(self, command: t.Sequence[str], stdin: str = "") -> str:
        # The command gets the lock, which no AnsibleModule could hand it.
        result = subprocess.run(  # pylint: disable=ansible-bad-function
            command,
            cwd=self._directory,
            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
            input=stdin,
            capture_output=True,
            text=True,
            pass_fds=[self._lock],
            check=False,
        )
        if result.returncode:
            errors = [line for line in result.stderr.splitlines() if line.startswith("E: ")]
            raise SriovError(
                f"building the twin's image: {command[0]}: "
                + (errors[0] if errors else result.stderr.strip())
            )
        return result.stdout
