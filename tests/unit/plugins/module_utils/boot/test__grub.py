# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel arguments in GRUB's shell fragments, against the real shell."""

from __future__ import annotations

import os
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import (
    _command_line,
    _grub,
    _loaders,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._command_line import checked
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._loaders import (
    DEFAULT_GRUB,
    GRUB_CFG,
    GRUB_OWN,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Completed, Host
from ansible_collections.mergetb.sriov.plugins.module_utils.observe import _ledger
from ansible_collections.mergetb.sriov.plugins.modules import kernel_cmdline
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import (
    CLOUD_IMAGE,
    DEBIAN_GRUB,
    DebianMachine,
    arguments_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

PRESENT = ["intel_iommu=on", "iommu=pt"]
ABSENT = ["iommu=off", "amd_iommu=on"]
WANTED = checked(PRESENT, ABSENT)


def change(
    machine: Host,
    present: t.Sequence[str] = (),
    absent: t.Sequence[str] = (),
    *,
    check_mode: bool = False,
) -> dict[str, t.Any]:
    params = {"iommu": False, "present": list(present), "absent": list(absent)}
    return kernel_cmdline.run(machine, params, check_mode=check_mode)


def corrected(words: t.Sequence[str]) -> list[str]:
    """*words* without what must not be, and without what is wanted, which may come anywhere."""
    edited = _command_line.replaced(
        " ".join(words), _command_line.replacements(" ".join(words), WANTED)
    ).split()
    return [word for word in edited if word not in PRESENT]


CONSTRUCTS = {
    "a line continued in a list": (
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet \\\n  cryptdevice=/dev/sda2:root \\\n"\n'
    ),
    "a line continued after a contradicting argument": (
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet console=ttyS0 intel_iommu=off \\\n"\n'
    ),
    "a line continued before one": (
        'GRUB_CMDLINE_LINUX_DEFAULT="\\\nintel_iommu=off \\\n\tconsole=ttyS0"\n'
    ),
    "a contradicting argument on the last of two lines": (
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet console=ttyS0 \\\n  amd_iommu=on"\n'
    ),
    "a continuation at the end": 'GRUB_CMDLINE_LINUX="quiet console=ttyS0 \\\n"\n',
    "a word continued on the next line": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet cons\\\nole=ttyS0"\n',
    "a continuation outside quotes": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\\\n" console=ttyS0"\n',
    "a condition on one line": (
        'GRUB_CMDLINE_LINUX="ro"\n'
        'if true; then GRUB_CMDLINE_LINUX="cryptdevice=/dev/sda2:root console=ttyS0"; fi\n'
    ),
    "a condition": (
        'if [ -d /proc ]; then\n    GRUB_CMDLINE_LINUX="console=ttyS0 igb.x=1"\nelse\n'
        '    GRUB_CMDLINE_LINUX="console=tty0"\nfi\n'
    ),
    "quotes joined": "GRUB_CMDLINE_LINUX='console=ttyS0 '\"cryptdevice=/dev/sda2:\"root\n",
    "backticks": "GRUB_CMDLINE_LINUX=`echo console=ttyS0 quiet`\n",
    "a command": 'GRUB_CMDLINE_LINUX="$(echo console=ttyS0) quiet"\n',
    "a contradicting argument from a command": (
        'GRUB_CMDLINE_LINUX="$(echo iommu=off console=ttyS0) quiet"\n'
    ),
    "a default value": 'GRUB_CMDLINE_LINUX="${MINE:-console=ttyS0 iommu=off} quiet"\n',
    "an alternative": 'A=1\nGRUB_CMDLINE_LINUX="quiet${A:+ console=ttyS0}"\n',
    "export behind it": 'GRUB_CMDLINE_LINUX="console=ttyS0 iommu=off"; export GRUB_CMDLINE_LINUX\n',
    "several on a line": 'A=1 GRUB_CMDLINE_LINUX="console=ttyS0" B="$A"\n',
    "appended": (
        'GRUB_CMDLINE_LINUX="ro"\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0"\n'
    ),
    "a comment behind it": 'GRUB_CMDLINE_LINUX="console=ttyS0" # intel_iommu=on\n',
    "a here-document": (
        "GRUB_CMDLINE_LINUX=$(cat <<X\nconsole=ttyS0\nX\n)\n: <<Y\nGRUB_CMDLINE_LINUX=none\nY\n"
    ),
    "a function": 'f() { GRUB_CMDLINE_LINUX="console=ttyS0 $1"; }\nf iommu=off\n',
    "no final newline": 'GRUB_CMDLINE_LINUX="console=ttyS0"',
    "an open comment at the end": 'GRUB_CMDLINE_LINUX="console=ttyS0"\n# mine',
    "CRLF": 'GRUB_CMDLINE_LINUX="console=ttyS0"\r\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\r\n',
    "escapes": 'GRUB_CMDLINE_LINUX="console=ttyS0 a=\\"b\\" \\$x \\\\"\n',
    "an argument with blanks": "GRUB_CMDLINE_LINUX='console=ttyS0 dyndbg=\"file a.c +p\"'\n",
    "not UTF-8": 'GRUB_CMDLINE_LINUX="console=ttyS0 a=\udce9 iommu=off"\n',
    "return": 'GRUB_CMDLINE_LINUX="console=ttyS0"\nreturn\nGRUB_CMDLINE_LINUX=none\n',
    "a loop": (
        "for x in console=ttyS0 iommu=off quiet; do\n"
        '  GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $x"\ndone\n'
    ),
    "case": 'case x in x) GRUB_CMDLINE_LINUX="console=ttyS0";; esac\n',
    "eval": "eval 'GRUB_CMDLINE_LINUX=console=ttyS0'\n",
    "an argument twice": 'GRUB_CMDLINE_LINUX="iommu=off iommu=off console=ttyS0 iommu=off"\n',
}


@pytest.mark.parametrize("text", CONSTRUCTS.values(), ids=CONSTRUCTS)
@pytest.mark.parametrize("place", [DEFAULT_GRUB, CLOUD_IMAGE])
def test_no_argument_is_lost_whatever_the_shell_makes_of_the_file(
    tmp_path: Path, text: str, place: str
) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB, place: text})
    machine.run(["update-grub"])
    linux, default = arguments_of(machine.root)
    operators = machine.read_bytes(place)

    change(machine, PRESENT, ABSENT)

    new_linux, new_default = arguments_of(machine.root)
    assert corrected(new_linux) == corrected(linux)
    assert corrected(new_default) == corrected(default)
    assert _command_line.satisfies(" ".join(new_linux + new_default), WANTED)
    assert machine.read_bytes(place) == operators
    assert not change(machine, PRESENT, ABSENT)["changed"]


def test_the_file_says_what_it_is_for(tmp_path: Path) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="iommu=off ro"\n'})
    change(machine, PRESENT, ABSENT)
    text = (machine.read_bytes(GRUB_OWN) or b"").decode()
    assert "# present: intel_iommu=on iommu=pt\n# absent: amd_iommu=on\n" in text.replace(
        "# absent: iommu=off amd_iommu=on", "# absent: amd_iommu=on"
    )
    assert 'GRUB_CMDLINE_LINUX=$(mergetb_sriov_replace "${GRUB_CMDLINE_LINUX-}" iommu=off' in text


def test_what_is_asked_for_adds_up(tmp_path: Path) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="hugepages=8 ro"\n'})
    change(machine, ["nosmt"])
    change(machine, ["hugepages=16"], ["hugepages"])
    assert arguments_of(machine.root) == (["ro", "nosmt", "hugepages=16"], [])
    change(machine, ["hugepages=32"], ["hugepages"])
    assert arguments_of(machine.root) == (["ro", "nosmt", "hugepages=32"], [])
    change(machine, ["iommu=pt"])
    change(machine, ["iommu=nopt"])
    assert arguments_of(machine.root)[0][2:] == ["hugepages=32", "iommu=nopt"]
    change(machine, ["intel_iommu=on,sm_on"])
    change(machine, [], ["intel_iommu=sm_on", "nosmt"])
    assert arguments_of(machine.root)[0][1:] == ["hugepages=32", "iommu=nopt", "intel_iommu=on"]


@pytest.mark.parametrize(
    "text",
    [
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet intel_iommu=off iommu=nopt"\n',
        'GRUB_CMDLINE_LINUX="iommu=off intel_iommu=off amd_iommu=on quiet"\n',
        DEBIAN_GRUB,
    ],
)
def test_what_is_taken_back_leaves_what_was_there_before(tmp_path: Path, text: str) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: text})
    machine.run(["update-grub"])
    before, entries = arguments_of(machine.root), machine.read(GRUB_CFG)
    change(machine, PRESENT, [*ABSENT, "iommu=off", "amd_iommu=on"])

    predicted = change(machine, [], PRESENT, check_mode=True)
    done = change(machine, [], PRESENT)

    assert predicted == done
    assert done["steps"][GRUB_OWN] == ["remove"]
    assert not machine.exists(GRUB_OWN)
    assert arguments_of(machine.root) == before
    assert machine.read(GRUB_CFG) == entries
    assert not change(machine, [], PRESENT)["changed"]


def test_what_the_operator_sets_himself_is_not_given_twice(tmp_path: Path) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB})
    change(machine, PRESENT)
    machine.put(DEFAULT_GRUB, 'GRUB_CMDLINE_LINUX="ro intel_iommu=on"\n')
    assert arguments_of(machine.root)[0] == ["ro", "intel_iommu=on", "iommu=pt"]


def test_a_file_that_takes_over_the_running_arguments_does_not_grow(tmp_path: Path) -> None:
    running = tmp_path / "cmdline"
    running.write_text("ro console=ttyS0\n")
    text = f'GRUB_CMDLINE_LINUX="$(cat {running})"\n'
    machine = DebianMachine(tmp_path / "host", {DEFAULT_GRUB: text})
    for _boot in range(3):
        change(machine, PRESENT)
        linux, _default = arguments_of(machine.root)
        assert linux == ["ro", "console=ttyS0", *PRESENT]
        running.write_text(" ".join(linux))
        assert not change(machine, PRESENT)["changed"]


REFUSED = {
    "a later file": (
        {f"{DEFAULT_GRUB}.d/zzz.cfg": "GRUB_CMDLINE_LINUX=ro\n"},
        r"zz-mergetb-sriov\.cfg: GRUB_CMDLINE_LINUX would be 'ro' .*/zzz\.cfg is read after it",
    ),
    "read-only": (
        {DEFAULT_GRUB: "readonly GRUB_CMDLINE_LINUX=ro\n"},
        r"zz-mergetb-sriov\.cfg: the shell .*GRUB_CMDLINE_LINUX: is read only.*Nothing was changed",
    ),
    "exit": ({DEFAULT_GRUB: "exit 0\n"}, r"reads /etc/default/grub ends in it \(exit code 0\)"),
    "a command that fails": (
        {CLOUD_IMAGE: "false\n"},
        r"reads /etc/default/grub\.d/50-cloudimg-settings\.cfg ends in it \(exit code 1\)",
    ),
    "an unterminated quote": (
        {DEFAULT_GRUB: '\nGRUB_CMDLINE_LINUX="ro\n'},
        r"/etc/default/grub ends .*/etc/default/grub: .*Unterminated quoted string",
    ),
    "a file that is not there": (
        {DEFAULT_GRUB: ". /nowhere\n"},
        r"/etc/default/grub ends .*/nowhere",
    ),
    "no glob": ({DEFAULT_GRUB: "set -f\n"}, r"GRUB_CMDLINE_LINUX would be '' and not"),
    "the end of the kernel's arguments": (
        {DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="ro -- x"\n'},
        r"would be started without intel_iommu=on iommu=pt, with 'ro -- x intel_iommu=on",
    ),
    "an open quote in an argument": (
        {DEFAULT_GRUB: "GRUB_CMDLINE_LINUX='ro a=\"b'\n"},
        r"GRUB_CMDLINE_LINUX would be|the kernel would be started without intel_iommu=on",
    ),
    "a line break": (
        {DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="ro\nquiet"\n'},
        r"holds a line break.*write a backslash",
    ),
    "words in quotes that only look alike": (
        {DEFAULT_GRUB: "GRUB_CMDLINE_LINUX='iommu=off a=\"b iommu=off c\"'\n"},
        r"GRUB_CMDLINE_LINUX would be .*take iommu=off away by hand in /etc/default/grub",
    ),
    "what somebody wrote between our lines": (
        {GRUB_OWN: "# BEGIN mergetb.sriov\n# present: a$b\n# END mergetb.sriov\n"},
        r"zz-mergetb-sriov\.cfg was changed between .*'a\$b' is not a kernel argument.*Remove",
    ),
}


@pytest.mark.parametrize(("files", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("check_mode", [True, False])
def test_what_cannot_be_had_without_harm_is_refused_untouched(
    tmp_path: Path, files: dict[str, str], message: str, check_mode: bool
) -> None:
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB, **files})
    with _ledger.locked(machine):
        pass  # The file of the lock stays where it was made.
    before = machine.files()
    with pytest.raises(SriovError, match=message):
        change(machine, PRESENT, ABSENT, check_mode=check_mode)
    assert machine.files() == before
    assert machine.log == []


def test_the_shell_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grub, "_SECONDS", 0.2)
    machine = DebianMachine(tmp_path, {DEFAULT_GRUB: "exec sleep 60\n"})
    message = f"^the shell that reads {DEFAULT_GRUB} did not end within 0.2 s: .*mend it, and try"
    with pytest.raises(SriovError, match=message):
        change(machine, PRESENT)


def test_the_shell_has_an_environment_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRUB_CMDLINE_LINUX", "iommu=off")
    monkeypatch.setenv("MINE", "iommu=off")
    text = 'GRUB_CMDLINE_LINUX_DEFAULT="$MINE quiet"\n'
    files = {DEFAULT_GRUB: text}
    assert _grub.variables(Host(str(tmp_path)), files) == _grub.Variables("", " quiet")


GRUB_PROBE = """\
#!/bin/sh
case "$*" in
    *--target=device*) echo /dev/vda1 ;;
    *--target=fs_uuid*) echo 9d479d47-0000-0000-0000-000000000000 ;;
    *--target=fs*) echo ext2 ;;
esac
"""


class GrubMachine(DebianMachine):
    """Its update-grub is the real one, which sees this machine's /etc/default and /boot.

    Only the disk is made up.
    """

    def __init__(self, directory: Path, files: t.Mapping[str, str]) -> None:
        kernels = {f"/boot/{name}-6.1.0-13-amd64": "x" for name in ("vmlinuz", "initrd.img")}
        super().__init__(directory, {"/probe": GRUB_PROBE, **kernels, **files})
        os.chmod(self.path("/probe"), 0o755)
        os.makedirs(self.path("/boot/grub"))

    def run(self, argv: t.Sequence[str], *, seconds: float = 300) -> Completed:
        if not argv[0].endswith("update-grub"):
            return super().run(argv, seconds=seconds)
        mounts = {
            "/etc/default": "/etc/default",
            "/boot": "/boot",
            "/probe": "/usr/sbin/grub-probe",
        }
        script = " && ".join(f"mount --bind '{self.path(a)}' {b}" for a, b in mounts.items())
        return Host.run(self, ["unshare", "--mount", "sh", "-c", f"{script} && exec update-grub"])


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/usr/sbin/update-grub"),
    reason="needs root, and Debian's grub2-common",
)
@pytest.mark.parametrize(
    "construct",
    [
        "a contradicting argument on the last of two lines",
        "a condition",
        "quotes joined",
        "backticks",
        "an argument with blanks",
        "a loop",
    ],
)
def test_the_real_grub_mkconfig_gives_every_entry_all_arguments(
    tmp_path: Path, construct: str
) -> None:
    machine = GrubMachine(tmp_path, {DEFAULT_GRUB: DEBIAN_GRUB, CLOUD_IMAGE: CONSTRUCTS[construct]})
    assert machine.run(["update-grub"]).rc == 0
    before = _loaders.Grub(machine).all_entries()
    assert len(before) == 3

    predicted = change(machine, PRESENT, ABSENT, check_mode=True)
    done = change(machine, PRESENT, ABSENT)

    assert predicted["configured"] == done["configured"]
    after = _loaders.Grub(machine).all_entries()
    assert [corrected(entry.split()) for entry in after] == [
        corrected(entry.split()) for entry in before
    ]
    assert all(_command_line.satisfies(entry, WANTED) for entry in after)
    assert not change(machine, PRESENT, ABSENT)["changed"]

    change(machine, [], PRESENT)
    assert [corrected(entry.split()) for entry in _loaders.Grub(machine).all_entries()] == [
        corrected(entry.split()) for entry in before
    ]


# What a shell makes of these is one word each, in double quotes and in single ones.
WORDS = st.lists(
    st.sampled_from(
        [
            *("quiet", "console=ttyS0,115200n8", "cryptdevice=UUID=9d:root", "rd.lvm=0", "x=*"),
            *("intel_iommu=off", "iommu=off,x", "iommu=off", "amd_iommu=on", "iommu=pt"),
            *("intel_iommu=on,sm_on", "intel-iommu=off", "intel_iommu=on", "iommu=nopt"),
        ]
    ),
    max_size=4,
)
NAMES = st.sampled_from([_grub.LINUX, _grub.DEFAULT])
GAPS = st.sampled_from([" ", "  ", "\t", " \\\n", "\\\n  ", " \\\n\t"])


def quoted(words: list[str], gap: str, form: str) -> str:
    """One of the ways in which an operator may write the value *words*."""
    plain = " ".join(words)
    return {
        "double": f'"{gap.join(words)}"',
        "double, open end": f'"{gap.join([*words, ""])}"',
        "single": f"'{plain}'",
        "joined": "' '".join(f"'{word}'" for word in words) or "''",
        "mixed": "".join(f"'{word} '\"\"" for word in words) or '""',
        "continued outside": "\\\n".join(f'"{word} "' for word in words) or '""',
        "bare": "\\ ".join(words).replace("*", "\\*"),
        "backticks": f"`printf %s '{plain}'`",
        "command": f"\"$(printf '%s ' '{plain}')\"",
        "nested": f'"$(echo "$(echo \'{plain}\')")"',
        "here-document": f'"$(cat <<END\n{plain}\nEND\n)"',
        "default value": f'"${{UNSET:-{plain}}}"',
        "alternative": f'"a=1${{HOME+ {plain}}}"',
        "appended": f'"${{GRUB_CMDLINE_LINUX}} {plain}"',
        "prepended": f'"{plain} $GRUB_CMDLINE_LINUX_DEFAULT"',
        "escaped": f'"{plain} a=\\"b\\" \\$c \\\\d"',
        "argument with blanks": f"'{plain} dyndbg=\"file a.c +p\"'",
        "function": f'"$(words {plain.replace("*", "")})"',
    }[form]


FORMS = st.sampled_from(
    [
        *("double", "double, open end", "single", "mixed", "continued outside", "bare"),
        *("backticks", "command", "nested", "here-document", "default value", "alternative"),
        *("appended", "prepended", "escaped", "argument with blanks", "function"),
    ]
)
STATEMENTS = st.sampled_from(
    [
        "{0}={1}",
        "export {0}={1}",
        "{0}={1} # GRUB_CMDLINE_LINUX=none",
        "A=1; {0}={1}; B=$A",
        "A=1 {0}={1}",
        "if [ -e / ]; then\n\t{0}={1}\nelse\n\t{0}=none\nfi",
        "if [ -e /nowhere ]; then {0}=none; fi; {0}={1}",
        "case $HOME in\n  *) {0}={1} ;;\nesac",
        "for x in 1 2; do\n  {0}={1}\ndone",
        "set_it() {{ {0}={1}; }}\nset_it",
        "[ -e / ] && {0}={1}",
        "[ -e / ] && [ ! -e / ] || {0}={1}",
        ": ${{{0}:=none}}\n{0}={1}",
        "unset {0}\n{0}={1}",
        "{0}={1}\nreturn\n{0}=none",
        "{{\n{0}={1}\n}}",
        "{0}={1} \\\n  C=1",
    ]
)
OTHERS = st.sampled_from(
    [
        "GRUB_TIMEOUT=0",
        "# GRUB_CMDLINE_LINUX=iommu=off",
        "",
        ": <<'END'\nGRUB_CMDLINE_LINUX=none\nEND",
        "echo Reading",
        "set -- a b",
        "x=none",
        "\\\n",
    ]
)
LINES = st.one_of(
    OTHERS,
    st.builds(
        lambda statement, name, words, gap, form: statement.format(name, quoted(words, gap, form)),
        *(STATEMENTS, NAMES, WORDS, GAPS, FORMS),
    ),
)
TEXTS = st.builds(
    lambda lines, end: 'words() { echo "$*"; }\n' + "\n".join(lines) + end,
    *(st.lists(LINES, max_size=4), st.sampled_from(["", "\n"])),
)


def written(root: str, files: t.Mapping[str, str]) -> None:
    for path, text in files.items():
        Path(f"{root}{path}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{root}{path}").write_text(text)


@settings(max_examples=int(os.environ.get("GRUB_EXAMPLES", "200")), deadline=None)
@given(
    files=st.lists(TEXTS, min_size=1, max_size=3),
    place=st.sampled_from([GRUB_OWN, DEFAULT_GRUB]),
)
def test_thousands_of_files_none_is_broken_and_none_loses_an_argument(
    files: list[str], place: str
) -> None:
    names = [DEFAULT_GRUB, CLOUD_IMAGE, f"{DEFAULT_GRUB}.d/60-mine.cfg"]
    if place == DEFAULT_GRUB:
        # The block is not read behind `return`, which is refused.
        files = [files[0].replace("\nreturn\n", "\n: \\\n")]
    fragments = {
        **dict(zip(names, files, strict=False)),
        **({GRUB_OWN: ""} if place == GRUB_OWN else {}),
    }
    with tempfile.TemporaryDirectory() as root:
        host = Host(root)
        written(root, fragments)
        linux, default = arguments_of(root)

        edited = _grub.edited(host, fragments, place, WANTED)
        written(root, edited)
        new_linux, new_default = arguments_of(root)
        checks = subprocess.run(["/bin/sh", "-n", f"{root}{place}"], check=False)

        assert checks.returncode == 0
        assert corrected(new_linux) == corrected(linux)
        assert corrected(new_default) == corrected(default)
        assert _command_line.satisfies(" ".join(new_linux + new_default), WANTED)
        assert [path for path in edited if edited[path] != fragments[path]] in ([], [place])
        assert _grub.edited(host, edited, place, WANTED) == edited

        undone = _grub.edited(host, edited, place, checked([], PRESENT))
        written(root, undone)
        for before, after in zip((linux, default), arguments_of(root), strict=True):
            unwanted = _command_line.replacements(" ".join(before), checked([], PRESENT))
            assert after == _command_line.replaced(" ".join(before), unwanted).split()
