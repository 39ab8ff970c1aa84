# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.boot import _command_line
from ansible_collections.mergetb.sriov.plugins.module_utils.boot._command_line import checked
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from hypothesis import given, settings
from hypothesis import strategies as st

INTEL = checked(["intel_iommu=on"], ["iommu=off", "intel_iommu=off", "amd_iommu=on"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("root=UUID=1 ro quiet\n", ["root=UUID=1", "ro", "quiet"]),
        ('dyndbg="file a.c +p" quiet', ['dyndbg="file a.c +p"', "quiet"]),
        ("quiet -- intel_iommu=on", ["quiet"]),
        ("quiet --- splash", ["quiet", "---", "splash"]),
        ("", []),
    ],
)
def test_arguments(text: str, found: list[str]) -> None:
    assert _command_line.arguments(text) == found


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("ro quiet", "ro quiet intel_iommu=on"),
        ("", "intel_iommu=on"),
        ("\n", "intel_iommu=on\n"),
        ("ro quiet\n", "ro quiet intel_iommu=on\n"),
        ("ro intel_iommu=off quiet", "ro intel_iommu=on quiet"),
        ("intel_iommu=off quiet", "intel_iommu=on quiet"),
        ("intel-iommu=off quiet", "intel_iommu=on quiet"),
        ("intel-iommu=on", "intel-iommu=on"),
        ("intel_iommu=on,sm_on", "intel_iommu=on,sm_on"),
        ("intel_iommu=sm_on", "intel_iommu=sm_on intel_iommu=on"),
        ("intel_iommu=off,sm_on", "intel_iommu=on intel_iommu=sm_on"),
        ("intel_iommu=on intel_iommu=off", "intel_iommu=on"),
        ("intel_iommu=off quiet intel_iommu=off", "intel_iommu=on quiet"),
        ("iommu=off  quiet", "quiet intel_iommu=on"),
        ("  iommu=off quiet", "  quiet intel_iommu=on"),
        ("amd_iommu=on iommu=pt", "iommu=pt intel_iommu=on"),
        ("ro  quiet\tiommu=off\nsplash", "ro  quiet\nsplash intel_iommu=on"),
        ("xintel_iommu=on", "xintel_iommu=on intel_iommu=on"),
        ("quiet -- intel_iommu=off", "quiet intel_iommu=on -- intel_iommu=off"),
        ("-- single", "intel_iommu=on -- single"),
        ('a="intel_iommu=off x" y', 'a="intel_iommu=off x" y intel_iommu=on'),
    ],
)
def test_complete(text: str, edited: str) -> None:
    assert _command_line.complete(text, INTEL) == edited
    assert _command_line.satisfies(text, INTEL) is (text == edited)


def test_an_argument_may_be_given_several_times() -> None:
    wanted = checked(["console=ttyS0,115200"])
    assert _command_line.complete("console=tty0", wanted) == "console=tty0 console=ttyS0,115200"


def test_a_name_in_absent_spares_what_is_wanted() -> None:
    wanted = checked(["hugepages=16"], ["hugepages", "nosmt"])
    text = "hugepages=8 nosmt=force hugepages=16 hugepagesz=1G"
    assert _command_line.complete(text, wanted) == "hugepages=16 hugepagesz=1G"


def test_a_list_in_absent_is_one_value() -> None:
    wanted = checked([], ["console=ttyS0,115200"])
    text = "console=ttyS1,115200 console=ttyS0,115200"
    assert _command_line.complete(text, wanted) == "console=ttyS1,115200"


@pytest.mark.parametrize(
    "argument",
    ["", "--", "a b", "a=$(id)", "a=`id`", 'a="b"', "a='b'", "a\nb", "=on", "a=", "a=b\\", "é=1"],
)
def test_refuses_what_is_no_argument(argument: str) -> None:
    with pytest.raises(SriovError, match="is not a kernel argument"):
        checked([argument])
    with pytest.raises(SriovError, match="is not a kernel argument"):
        checked([], [argument])


@pytest.mark.parametrize(
    ("present", "absent"),
    [
        (["iommu=pt"], ["iommu=pt"]),
        (["intel_iommu=on", "intel_iommu=off"], []),
        (["iommu=pt", "iommu=nopt"], []),
        (["intel_iommu=on,sm_on"], ["intel_iommu=sm_on"]),
        (["amd_iommu=on"], ["amd_iommu=on"]),
    ],
)
def test_refuses_a_contradiction(present: list[str], absent: list[str]) -> None:
    with pytest.raises(SriovError, match="also absent or with the opposite value"):
        checked(present, absent)


def test_difference_in_words() -> None:
    assert _command_line.difference("ro intel_iommu=off", INTEL) == (
        "without intel_iommu=on and with intel_iommu=off"
    )
    assert _command_line.difference("intel_iommu=on", INTEL) == ""


NAMES = st.sampled_from(["intel_iommu", "intel-iommu", "iommu", "amd_iommu", "quiet", "a.b"])
VALUES = st.lists(
    st.sampled_from(["on", "off", "pt", "nopt", "sm_on", "1"]), min_size=1, max_size=3
)
ARGUMENTS = st.one_of(
    NAMES,
    st.builds(lambda name, values: f"{name}={','.join(values)}", NAMES, VALUES),
    st.sampled_from(['x="iommu=off y"', "--", "---", "root=UUID=1"]),
)
LINES = st.builds(
    lambda pairs: "".join(gap + argument for gap, argument in pairs),
    st.lists(st.tuples(st.sampled_from([" ", "  ", "\t", "\n"]), ARGUMENTS), max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(
    LINES,
    st.lists(ARGUMENTS.filter(lambda x: '"' not in x and x != "--"), max_size=3),
    st.lists(ARGUMENTS.filter(lambda x: '"' not in x and x != "--"), max_size=3),
)
def test_one_edit_is_enough_and_spares_the_rest(
    text: str, present: list[str], absent: list[str]
) -> None:
    try:
        wanted = checked(present, absent)
    except SriovError:
        return
    edited = _command_line.complete(text, wanted)
    assert _command_line.satisfies(edited, wanted)
    assert _command_line.complete(edited, wanted) == edited
    # What is neither wanted nor unwanted keeps its order.
    touched = {*wanted.present, *_command_line.unwanted(text, wanted)}
    before = [x for x in _command_line.arguments(text) if x not in touched]
    after = iter(_command_line.arguments(edited))
    assert all(argument in after for argument in before)


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("ro quiet\n", "ro quiet intel_iommu=on\n"),
        ("# intel_iommu=on\nro quiet\n", "# intel_iommu=on\nro quiet intel_iommu=on\n"),
        ("ro quiet\n# the end\n", "ro quiet intel_iommu=on\n# the end\n"),
        ("ro quiet\n  # the end", "ro quiet intel_iommu=on\n  # the end"),
        ("# iommu=off\nro iommu=off\n", "# iommu=off\nro intel_iommu=on\n"),
        ("ro intel_iommu=off\n# x\nquiet\n", "ro\n# x\nquiet intel_iommu=on\n"),
        ("# x\nro intel_iommu=on\n# intel_iommu=off\n", None),
        ("# nothing", "# nothing\nintel_iommu=on\n"),
        ("ro a#b #c", "ro a#b #c intel_iommu=on"),
        (
            '# x\nro a="b  c" iommu=off -- iommu=off',
            '# x\nro a="b  c" intel_iommu=on -- iommu=off\n',
        ),
    ],
)
def test_comments_of_a_file_are_no_arguments(text: str, edited: str | None) -> None:
    assert _command_line.complete_file(text, INTEL) == (edited or text)
    assert _command_line.complete_file(edited or text, INTEL) == (edited or text)


def test_a_quote_that_is_not_closed_holds_all_that_follows() -> None:
    assert _command_line.arguments('ro a="b intel_iommu=on') == ["ro", 'a="b intel_iommu=on']
