# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils import _grub, _kernel_cmdline
from ansible_collections.mergetb.sriov.plugins.module_utils._boot_loader import DEFAULT_GRUB
from ansible_collections.mergetb.sriov.plugins.module_utils._kernel_cmdline import checked
from ansible_collections.mergetb.sriov.tests.unit.boot_machine import (
    CLOUD_IMAGE,
    DEBIAN_GRUB,
    evaluate,
)
from hypothesis import given, settings
from hypothesis import strategies as st

WANTED = checked(["intel_iommu=on", "iommu=pt"], ["iommu=off", "amd_iommu=on"])


@pytest.mark.parametrize(
    ("line", "edited"),
    [
        ('GRUB_CMDLINE_LINUX=""', 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"'),
        ("GRUB_CMDLINE_LINUX=''", "GRUB_CMDLINE_LINUX='intel_iommu=on iommu=pt'"),
        ("GRUB_CMDLINE_LINUX=", 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"'),
        ("GRUB_CMDLINE_LINUX=ro", 'GRUB_CMDLINE_LINUX="ro intel_iommu=on iommu=pt"'),
        (
            "GRUB_CMDLINE_LINUX='ro a=\"b c\"'  # mine",
            "GRUB_CMDLINE_LINUX='ro a=\"b c\" intel_iommu=on iommu=pt'  # mine",
        ),
        (
            r'export GRUB_CMDLINE_LINUX="ro a=\"b  c\" \$x"; A=1',
            r'export GRUB_CMDLINE_LINUX="ro a=\"b  c\" \$x intel_iommu=on iommu=pt"; A=1',
        ),
        (
            'GRUB_CMDLINE_LINUX="ro \\\n  iommu=off \\\n  quiet"',
            'GRUB_CMDLINE_LINUX="ro \\\n  iommu=pt \\\n  quiet intel_iommu=on"',
        ),
        (
            'GRUB_CMDLINE_LINUX="ro intel_iommu=off quiet iommu=pt"',
            'GRUB_CMDLINE_LINUX="ro intel_iommu=on quiet iommu=pt"',
        ),
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=off quiet"',
            'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=on quiet"\nGRUB_CMDLINE_LINUX="iommu=pt"',
        ),
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=on,sm_on iommu=pt"\nGRUB_CMDLINE_LINUX=""',
            'GRUB_CMDLINE_LINUX_DEFAULT="intel_iommu=on,sm_on iommu=pt"\nGRUB_CMDLINE_LINUX=""',
        ),
        (
            'GRUB_CMDLINE_LINUX="iommu=off"\nGRUB_CMDLINE_LINUX="ro"',
            'GRUB_CMDLINE_LINUX="iommu=pt"\nGRUB_CMDLINE_LINUX="ro intel_iommu=on iommu=pt"',
        ),
        (
            'GRUB_CMDLINE_LINUX="ro"\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1"',
            'GRUB_CMDLINE_LINUX="ro intel_iommu=on iommu=pt"\n'
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1"',
        ),
        (
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1"',
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX a=1 intel_iommu=on iommu=pt"',
        ),
        (
            'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX} a"\n'
            'GRUB_CMDLINE_LINUX_RECOVERY="iommu=off"',
            'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX} a"\n'
            'GRUB_CMDLINE_LINUX_RECOVERY="iommu=off"\n'
            'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"',
        ),
        ("", 'GRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"'),
        ("A=1", 'A=1\nGRUB_CMDLINE_LINUX="intel_iommu=on iommu=pt"'),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_edits_a_fragment(line: str, edited: str, end: str) -> None:
    text = line + end if line else ""
    result = _grub.edited({DEFAULT_GRUB: text}, WANTED)[DEFAULT_GRUB]
    assert result.rstrip("\n") == edited
    assert _kernel_cmdline.satisfies(evaluate({DEFAULT_GRUB: result}), WANTED)
    assert _grub.edited({DEFAULT_GRUB: result}, WANTED) == {DEFAULT_GRUB: result}


def test_a_cloud_image_overrides_the_default_arguments() -> None:
    """Ubuntu's cloud images set GRUB_CMDLINE_LINUX_DEFAULT again in a later fragment."""
    files = {
        DEFAULT_GRUB: DEBIAN_GRUB.replace('"quiet"', '"quiet intel_iommu=on iommu=pt"'),
        CLOUD_IMAGE: 'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0 iommu=off"\n',
    }
    edited = _grub.edited(files, WANTED)
    assert edited[CLOUD_IMAGE] == (
        'GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0 iommu=pt"\n'
    )
    assert edited[DEFAULT_GRUB] == files[DEFAULT_GRUB].replace(
        '\nGRUB_CMDLINE_LINUX=""', '\nGRUB_CMDLINE_LINUX="intel_iommu=on"'
    )


def test_a_later_fragment_may_hold_the_assignment_that_counts() -> None:
    files = {
        DEFAULT_GRUB: 'GRUB_CMDLINE_LINUX="a"\n',
        f"{DEFAULT_GRUB}.d/a.cfg": 'GRUB_CMDLINE_LINUX="b"\n',
        f"{DEFAULT_GRUB}.d/b.cfg": 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX c"\n',
    }
    edited = _grub.edited(files, WANTED)
    assert edited == {
        **files,
        f"{DEFAULT_GRUB}.d/a.cfg": 'GRUB_CMDLINE_LINUX="b intel_iommu=on iommu=pt"\n',
    }


WORDS = st.lists(
    st.sampled_from(
        ["quiet", "intel_iommu=off", "intel_iommu=on,sm_on", "iommu=off,x", "amd_iommu=on"]
        + ["$GRUB_CMDLINE_LINUX", "${GRUB_CMDLINE_LINUX_DEFAULT}", r"a=\"b c\""]
    ),
    max_size=4,
)
FRAGMENT_LINES = st.one_of(
    st.builds(
        lambda name, words: f'GRUB_CMDLINE_LINUX{name}="{" ".join(words)}"',
        st.sampled_from(["", "_DEFAULT"]),
        WORDS,
    ),
    st.sampled_from(
        [
            "GRUB_TIMEOUT=0",
            "# GRUB_CMDLINE_LINUX=iommu=off",
            "GRUB_CMDLINE_LINUX=iommu=off",
            "GRUB_CMDLINE_LINUX_DEFAULT='iommu=off  a'",
            "",
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(FRAGMENT_LINES, max_size=3), min_size=1, max_size=3))
def test_a_shell_finds_what_is_wanted_after_one_edit(fragments: list[list[str]]) -> None:
    files = {f"/{index}": "\n".join(lines) for index, lines in enumerate(fragments)}
    edited = _grub.edited(files, WANTED)
    assert _kernel_cmdline.satisfies(evaluate(edited), WANTED)
    assert _grub.edited(edited, WANTED) == edited
