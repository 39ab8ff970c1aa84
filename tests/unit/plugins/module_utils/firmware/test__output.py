# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _output
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._output import (
    Answer,
    Setting,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from hypothesis import given
from hypothesis import strategies as st

# Printed by mstconfig 4.21.0 and 4.31.0 about an emulated card.
TABLE_4_21 = """
Device #1:
----------

Device type:    ConnectX5       
Name:           MCX516A-CDA_Ax_Bx
Description:    ConnectX-5 Ex EN network interface card; 100GbE dual-port QSFP28; PCIe4.0 x16
Device:         0000:3b:00.1    

Configurations:                              Default         Current         Next Boot
*        SRIOV_EN                            False(0)        False(0)        True(1)         
*        NUM_OF_VFS                          0               0               16              
         LINK_TYPE_P1                        ETH(2)          ETH(2)          ETH(2)          
The '*' shows parameters with next value different from default/current value.
"""  # noqa: W291
TABLE_4_31 = """
Device #1:
----------

Device type:        ConnectX5           
Name:               MCX516A-CDA_Ax_Bx   
Description:        ConnectX-5 Ex EN network interface card; 100GbE dual-port QSFP28; PCIe4.0 x16
Device:             0000:3b:00.1        

Configurations:                                          Default             Current         Next Boot
*       SRIOV_EN                                    False(0)             False(0)             True(1)             
*       NUM_OF_VFS                                  0                    0                    16                  
        LINK_TYPE_P1                                ETH(2)               ETH(2)               ETH(2)              
The '*' shows parameters with next value different from default/current value.
"""  # noqa: E501, W291
JSON_4_31 = """{
\t"Device #1" :
\t{
\t\t"description" : "ConnectX-5 Ex EN network interface card",
\t\t"device" : "0000:3b:00.1",
\t\t"device_type" : "ConnectX5",
\t\t"name" : "MCX516A-CDA_Ax_Bx",
\t\t"tlv_configuration" :
\t\t{
\t\t\t"LINK_TYPE_P1" : {"current_value" : "ETH(2)", "default_value" : "ETH(2)",
\t\t\t\t"modified" : false, "next_value" : "ETH(2)", "read_only" : false},
\t\t\t"NUM_OF_VFS" : {"current_value" : 0, "default_value" : 0,
\t\t\t\t"modified" : true, "next_value" : 16, "read_only" : false},
\t\t\t"SRIOV_EN" : {"current_value" : "False(0)", "default_value" : "False(0)",
\t\t\t\t"modified" : true, "next_value" : "True(1)", "read_only" : false}
\t\t}
\t}
}"""
ANSWER = Answer(
    "ConnectX5",
    "MCX516A-CDA_Ax_Bx",
    {
        "SRIOV_EN": Setting(False, False, True),
        "NUM_OF_VFS": Setting(0, 0, 16),
        "LINK_TYPE_P1": Setting("ETH(2)", "ETH(2)", "ETH(2)"),
    },
)
HEAD = "Configurations:   Default   Current   Next Boot\n"


@pytest.mark.parametrize("text", [TABLE_4_21, TABLE_4_31])
def test_a_table(text: str) -> None:
    assert _output.read_table(text, list(ANSWER.settings)) == ANSWER


def test_a_json_document() -> None:
    assert _output.read_json(JSON_4_31, list(ANSWER.settings)) == ANSWER


def test_the_printed_booleans_are_booleans() -> None:
    setting = _output.read_table(TABLE_4_21, list(ANSWER.settings)).settings["SRIOV_EN"]
    assert setting.next is True
    assert setting.current is False


def test_long_values_leave_one_blank_between_them() -> None:
    long = "PCI_ATOMIC_DISABLED_EXT_ATOMIC_ENABLED(0)"
    answer = _output.read_table(
        HEAD + f"   PCI_ATOMIC_MODE   {long} {long} {long}\n", ["PCI_ATOMIC_MODE"]
    )
    assert answer.settings == {"PCI_ATOMIC_MODE": Setting(long, long, long)}


@pytest.mark.parametrize(
    ("mark", "read_only"), [("", False), ("*", False), ("RO", True), ("*RO", True)]
)
def test_marks(mark: str, read_only: bool) -> None:
    answer = _output.read_table(HEAD + f"{mark:8}NUM_OF_VFS  0  8  16\n", ["NUM_OF_VFS"])
    assert answer.settings == {"NUM_OF_VFS": Setting(0, 8, 16, read_only)}


@pytest.mark.parametrize(
    ("header", "values", "setting"),
    [
        ("Next Boot", "16", Setting(None, None, 16)),
        ("Default Next Boot", "0 16", Setting(0, None, 16)),
        ("Current  Next   Boot", "8 16", Setting(None, 8, 16)),
    ],
)
def test_firmware_that_does_not_tell_all(header: str, values: str, setting: Setting) -> None:
    text = (
        f"Configurations: {header}\n   NUM_OF_VFS {values}\n"
        "Device Firmware does not support reading default and current configurations\n"
        "-I- Something else.\n"
    )
    assert _output.read_table(text, ["NUM_OF_VFS"]).settings == {"NUM_OF_VFS": setting}
    keys = {"Default": "default_value", "Current": "current_value", "Next": "next_value"}
    columns = [keys[word] for word in header.split() if word in keys]
    row = dict(zip(columns, map(int, values.split()), strict=True))
    text = json.dumps({"Device #1": {"tlv_configuration": {"NUM_OF_VFS": row}}})
    assert _output.read_json(text, ["NUM_OF_VFS"]).settings == {"NUM_OF_VFS": setting}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("True(1)", True),
        ("False(0)", False),
        ("ETH(2)", "ETH(2)"),
        ("_1(1)", "_1(1)"),
        ("0", 0),
        ("127", 127),
        ("-1", -1),
        ("0x7f", 127),
        ("0x7(7)", 7),
        ("16(0x10)", 16),
        ("N/A", None),
    ],
)
def test_values(text: str, value: t.Any) -> None:
    read = _output.value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["", "True", "True(0)", "False(1)", "ETH", "ETH()", "ETH(2", "ETH(x)", "A(1)B(2)", "0x7(8)"],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(SriovError, match="no known value"):
        _output.value(text)


def test_an_array_is_named_by_its_elements() -> None:
    with pytest.raises(SriovError, match=r"NAME: it is an array .* NAME\[0\]"):
        _output.read_table(HEAD + "  NAME  Array[0..7]  Array[0..7]  Array[0..7]\n", ["NAME"])
    assert _output.is_name("NAME[0]")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-E- Failed to open the device\n",
        "Configurations:\n",
        "Configurations:  Default  Next\n",
        "Configurations:  Next Boot  New\n",
        HEAD + "   NUM_OF_VFS  0  16\n",
        HEAD + "   NUM_OF_VFS  0  8  16  17\n",
        HEAD + "!  NUM_OF_VFS  0  8  16\n",
        HEAD + "   NUM_OF_VFS  0  8  16\n   NUM_OF_VFS  0  8  17\n",
        HEAD + "   NUM_OF_VFS  0  8  many\n",
        HEAD + "RO NUM_OF_VFS0  8  16\n",
        HEAD + "   NUM-OF-VFS  0  8  16\n",
        TABLE_4_21 + TABLE_4_21,
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(SriovError, match="cannot be read for certain"):
        _output.read_table(text, [name for name in ANSWER.settings if name in text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"Device #1": {}, "Device #2": {}}',
        '{"Device #1": []}',
        '{"Device #1": {"tlv_configuration": []}}',
        '{"Device #1": {"tlv_configuration": {"A": 1}}}',
        '{"Device #1": {"tlv_configuration": {"A": {"current_value": 1}}}}',
        '{"Device #1": {"tlv_configuration": {"A": {"next_value": [1]}}}}',
        '{"Device #1": {"tlv_configuration": {"A": {"next_value": true}}}}',
        '{"Device #1": {"tlv_configuration": {"A B": {"next_value": 1}}}}',
    ],
)
def test_what_is_no_such_document_is_refused(text: str) -> None:
    with pytest.raises(SriovError, match="cannot be read for certain"):
        _output.read_json(text, ["A"])


@pytest.mark.parametrize(
    ("names", "told"),
    [(["NUM_OF_VF"], "NUM_OF_VFS"), (["NUM_OF_VFS", "SRIOV_EN"], "NUM_OF_VFS"), ([], "NUM_OF_VFS")],
)
def test_another_answer_than_asked_for_is_refused(names: list[str], told: str) -> None:
    message = f"it has {told} instead of {', '.join(names)}"
    with pytest.raises(SriovError, match=message):
        _output.read_table(HEAD + "  NUM_OF_VFS  0  8  16\n", names)
    text = '{"Device #1": {"tlv_configuration": {"NUM_OF_VFS": {"next_value": 1}}}}'
    with pytest.raises(SriovError, match=message):
        _output.read_json(text, names)


def test_a_mark_that_has_run_into_a_name_is_refused() -> None:
    with pytest.raises(SriovError, match="it has ROA instead of A"):
        _output.read_table(HEAD + " ROA 0 8 16\n", ["A"])


NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,40}(\[[0-9]{1,2}\])?", fullmatch=True).filter(
    lambda name: name != "RO"
)
LABELS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,40}", fullmatch=True)
# Each as the tool prints it, with what it means.
PRINTED = st.one_of(
    st.sampled_from([("True(1)", True), ("False(0)", False), ("N/A", None)]),
    st.integers(0, 2**32).map(lambda number: (str(number), number)),
    st.integers(0, 2**32).map(lambda number: (f"0x{number:x}({number})", number)),
    st.tuples(LABELS, st.integers(0, 99)).map(lambda pair: (f"{pair[0]}({pair[1]})",) * 2),
)
ROWS = st.dictionaries(
    NAMES, st.tuples(st.tuples(PRINTED, PRINTED, PRINTED), st.booleans(), st.booleans()), max_size=5
)
KEYS = ("Default", "Current", "Next Boot")


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, dict[str, Setting]]:
    """A table with columns of any width, and what it says.

    As in a stream of C++, a width is the least; what is longer has no blank behind it.
    """
    columns = draw(
        st.sampled_from([KEYS, ("Default", "Next Boot"), ("Current", "Next Boot"), KEYS[2:]])
    )
    widths = draw(st.tuples(*[st.integers(0, 60)] * 3))
    rows = draw(ROWS)
    lines = ["", "Device #1:", "----------", "", "Device type:  ConnectX6DX", ""]
    lines.append("Configurations:" + "".join(f"{name:>{widths[2] + 10}}" for name in columns))
    settings = {}
    for name, (values, changed, read_only) in rows.items():
        shown = dict(zip(KEYS, values, strict=True))
        mark = f"{'*' if changed else ' '}{'RO' if read_only else ''}"
        line = f"{mark:{widths[0]}}{name:{widths[1]}}"
        lines.append(line + "".join(f"{shown[key][0]:{widths[2]}}" for key in columns))
        means = [shown[key][1] if key in columns else None for key in KEYS]
        settings[name] = Setting._make([*means, read_only])
    if any(changed for _values, changed, _read_only in rows.values()):
        lines.append(
            "The '*' shows parameters with next value different from default/current value."
        )
    return "\n".join(lines) + "\n", settings


@given(tables())
def test_any_table_is_read_right_or_refused(table: tuple[str, dict[str, Setting]]) -> None:
    text, settings = table
    try:
        answer = _output.read_table(text, list(settings))
    except SriovError:
        # Only what runs together can be refused.
        assert not wide_enough(text, settings)
    else:
        assert answer == Answer("ConnectX6DX", "", settings)


def wide_enough(text: str, settings: dict[str, Setting]) -> bool:
    """Whether every row has its name, and all its values, in words of their own."""
    header = next(line for line in text.splitlines() if line.startswith("Configurations:"))
    columns = len(header.replace("Next Boot", "Next").split()) - 1
    words = [line.split() for line in text.splitlines()]
    return all(
        any(len(row) >= columns + 1 and row[-columns - 1] == name for row in words)
        for name in settings
    )


@given(ROWS)
def test_any_json_document_gives_what_the_table_gives(rows: dict[str, t.Any]) -> None:
    def item(printed: tuple[str, t.Any]) -> t.Any:
        text, value = printed
        return int(text) if text.isdecimal() else text

    keys = ("default_value", "current_value", "next_value")
    configuration = {
        name: {
            **{key: item(printed) for key, printed in zip(keys, values, strict=True)},
            "modified": changed,
            "read_only": read_only,
        }
        for name, (values, changed, read_only) in rows.items()
    }
    text = json.dumps({"Device #1": {"tlv_configuration": configuration}})
    assert _output.read_json(text, list(rows)).settings == {
        name: Setting._make([*(value for _text, value in values), read_only])
        for name, (values, _changed, read_only) in rows.items()
    }
