# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.twin import _image

RECIPE = Path(__file__).resolve().parents[5] / "roles" / "twin" / "files" / "image"
MIRROR = "http://mirror.example.net/debian"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECIPE, tmp_path / "recipe"))


def test_the_recipe_has_all_parts() -> None:
    recipe = _image.read_recipe(str(RECIPE))

    assert "openssh-server" in recipe.packages
    assert "linux-headers-amd64" in recipe.module_packages
    assert recipe.files["usr/lib/mergetb-sriov/guest/init"][0] == 0o755
    mode, content = recipe.files["etc/default/grub"]
    assert mode == 0o644
    assert b"intel_iommu=off" in content


@pytest.mark.parametrize(
    "path", ["packages", "customize", "modules/packages", "modules/build", "root/etc/fstab"]
)
def test_another_recipe_is_another_image(recipe: Path, path: str) -> None:
    before = _image.read_recipe(str(recipe)).digest

    with (recipe / path).open("a") as file:
        file.write("more\n")

    assert _image.read_recipe(str(recipe)).digest != before


def test_a_mode_makes_another_image_and_a_copy_does_not(recipe: Path) -> None:
    original = _image.read_recipe(str(RECIPE)).digest
    assert _image.read_recipe(str(recipe)).digest == original

    (recipe / "root" / "etc" / "fstab").chmod(0o755)

    assert _image.read_recipe(str(recipe)).digest != original


def test_all_files_of_the_image_are_roots() -> None:
    archive = _image.archive({"etc/a": (0o644, b"x"), "usr/b": (0o755, b"yz")})

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [(m.name, m.mode, m.uid, m.gid, m.size) for m in tar.getmembers()]
    assert members == [("etc/a", 0o644, 0, 0, 1), ("usr/b", 0o755, 0, 0, 2)]


# The commands of a build, each reduced to what the next one needs.
COMMANDS = {
    "apt-config": """echo 'Acquire::http::Proxy "http://proxy.example.net";'; echo 'APT::X "1";'""",
    "mmdebstrap": """
echo "$@" >> "$LOG"
case "$*" in
*--format=null*) mkdir -p "out/usr/lib/modules/$HEADERS/updates" ;;
*) mkdir -p root/usr/lib/modules/6.12 root/usr/lib/mergetb-sriov
   echo grub > root/usr/lib/mergetb-sriov/grub
   if [ -n "$ESP" ]; then truncate --size=2M root/usr/lib/mergetb-sriov/esp; fi ;;
esac""",
    "chroot": """echo "$@" >> "$LOG" """,
    "mke2fs": "",
    "sfdisk": """cat >> "$LOG"; if [ -n "$FAIL" ]; then echo 'E: no table' >&2; exit 1; fi""",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("HEADERS", "6.12")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "cache"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def test_an_image_is_built_once_and_replaces_those_of_other_recipes(
    cache: Path, tmp_path: Path, recipe: Path
) -> None:
    first = _image.read_recipe(str(recipe))
    images = _image.ImageCache(str(cache))

    images.build(first, MIRROR)
    images.build(first, MIRROR)

    assert names(cache) == [first.digest]
    assert sorted(path.name for path in (cache / first.digest).iterdir()) == ["disk.img", "grub"]
    log = (tmp_path / "log").read_text()
    assert log.count("--variant=minbase") == log.count("--variant=apt") == 1
    assert log.count(f"deb {MIRROR} trixie main") == 2
    assert "root depmod 6.12\n" in log
    assert log.endswith("label: gpt\nstart=1MiB, size=3070MiB\n")
    assert log.count('--aptopt=Acquire::http::Proxy "http://proxy.example.net";') == 2
    assert "APT::X" not in log

    (recipe / "packages").write_text("other")
    second = _image.read_recipe(str(recipe))
    images.build(second, MIRROR)
    assert names(cache) == [second.digest]


def test_a_build_that_fails_leaves_no_image_and_the_next_starts_anew(
    cache: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _image.read_recipe(str(recipe))
    images = _image.ImageCache(str(cache))

    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(SriovError, match="building the twin's image: sfdisk: E: no table"):
        images.build(wanted, MIRROR)
    assert not os.path.exists(images.path(wanted))

    monkeypatch.delenv("FAIL")
    images.build(wanted, MIRROR)
    assert names(cache) == [wanted.digest]


def test_a_recipe_may_build_no_modules(cache: Path, tmp_path: Path, recipe: Path) -> None:
    shutil.rmtree(recipe / "modules")
    wanted = _image.read_recipe(str(recipe))

    _image.ImageCache(str(cache)).build(wanted, MIRROR)

    assert names(cache) == [wanted.digest]
    log = (tmp_path / "log").read_text()
    assert "--variant=apt" not in log
    assert "depmod" not in log


def test_a_file_system_for_uefi_becomes_a_partition(
    cache: Path, tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESP", "1")
    wanted = _image.read_recipe(str(recipe))

    _image.ImageCache(str(cache)).build(wanted, MIRROR)

    disk = cache / wanted.digest / "disk.img"
    assert disk.stat().st_size == (3072 + 2) << 20
    log = (tmp_path / "log").read_text()
    assert log.endswith("start=1MiB, size=3070MiB\nstart=3071MiB, size=2MiB, type=uefi\n")


def test_modules_of_another_kernel_are_refused(
    cache: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADERS", "6.13")

    with pytest.raises(SriovError, match="kernel and its headers are of different versions"):
        _image.ImageCache(str(cache)).build(_image.read_recipe(str(recipe)), MIRROR)


def test_a_build_without_a_mirror_or_root_is_refused(
    cache: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _image.ImageCache(str(cache))
    wanted = _image.read_recipe(str(recipe))

    with pytest.raises(SriovError, match="apt knows no Debian mirror"):
        images.build(wanted, None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SriovError, match="only root"):
        images.build(wanted, MIRROR)
    assert not cache.exists()
