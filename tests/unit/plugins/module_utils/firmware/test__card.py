# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware import _card
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._card import (
    Card,
    CardDevice,
    CardState,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._output import Setting
from ansible_collections.mergetb.sriov.plugins.module_utils.firmware._tool import (
    UNKNOWN,
    UNSUPPORTED,
)
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from hypothesis import given
from hypothesis import strategies as st

PF0 = "0000:3b:00.0"
PF1 = "0000:3b:00.1"
OTHER = "0000:3b:01.0"
SETTINGS = {
    "SRIOV_EN": Setting(False, False, True),
    "NUM_OF_VFS": Setting(0, 8, 16),
    "LINK_TYPE_P1": Setting("ETH(2)", "ETH(2)", "IB(1)"),
    "PF_NUM_OF_VF_VALID": Setting(False, False, False),
}


def state(absent: t.Mapping[str, str] | None = None, **settings: Setting) -> CardState:
    return CardState("ConnectX5", "MCX", {**SETTINGS, **settings}, dict(absent or {}))


def cards(devices: t.Iterable[tuple[str, dict[str, t.Any]]], **options: t.Any) -> list[Card]:
    return _card.cards([CardDevice(*device) for device in devices], **options)


def steps(wanted: dict[str, t.Any], state: CardState) -> tuple[tuple[str, ...], ...]:
    return _card.plan(Card((PF0,), wanted), state).steps


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (True, 1),
        (False, 0),
        (16, 16),
        ("16", 16),
        ("0x10", 16),
        ("True", 1),
        ("false", 0),
        ("eth", "ETH"),
        (" ETH ", "ETH"),
        ("ETH(2)", 2),
        ("True(1)", 1),
        ("0x7(7)", 7),
    ],
)
def test_wanted(value: object, wanted: object) -> None:
    result = _card.wanted("NAME", value)
    assert result == wanted
    assert type(result) is type(wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", 1),
        ("-d", 1),
        ("NUM OF", 1),
        ("A=1 B", 1),
        ("RO", 1),
        ("NAME", ""),
        ("NAME", None),
        ("NAME", [1]),
        ("NAME", 1.5),
        ("NAME", "a b"),
        ("NAME", "a;b"),
        ("NAME", "ß"),
        ("NAME", "\u0661"),
        ("NAME", "9" * 5000),
        ("NAME", "0x" + "f" * 5000),
    ],
)
def test_what_cannot_be_wanted(name: str, value: object) -> None:
    with pytest.raises(SriovError):
        _card.wanted(name, value)


@pytest.mark.parametrize(
    ("wanted", "value", "matches"),
    [
        (1, True, True),
        (0, True, False),
        (16, 16, True),
        (1, 16, False),
        (2, "ETH(2)", True),
        ("ETH", "ETH(2)", True),
        ("ETH", "Eth(2)", True),
        ("ET", "ETH(2)", False),
        ("IB", "ETH(2)", False),
        (1, "ETH(2)", False),
        ("ETH", 2, False),
        (0, None, False),
    ],
)
def test_matches(wanted: t.Any, value: t.Any, matches: bool) -> None:
    assert _card.matches(wanted, value) is matches


@given(st.one_of(st.booleans(), st.integers(0, 1000), st.sampled_from(["ETH(2)", "_A-1(3)"])))
def test_what_is_shown_can_be_wanted_and_matches(value: t.Any) -> None:
    assert _card.matches(_card.wanted("NAME", value), value)


def test_functions_of_one_asic_are_one_card() -> None:
    devices: list[tuple[str, dict[str, t.Any]]] = [
        (PF0, {"A": 1}),
        (OTHER, {"A": 2}),
        (PF1, {"A": True, "B": "x"}),
    ]
    assert cards(devices) == [
        Card((PF0, PF1), {"A": 1, "B": "X"}),
        Card((OTHER,), {"A": 2}),
    ]


def test_contradicting_wishes_name_both() -> None:
    devices = [(PF0, {"NUM_OF_VFS": 4, "A": 1}), (PF1, {"NUM_OF_VFS": 8, "A": 2})]
    with pytest.raises(SriovError) as caught:
        cards(devices)
    assert f"NUM_OF_VFS is wanted as 4 for {PF0}, 8 for {PF1}" in str(caught.value)
    assert "largest_numvfs" in str(caught.value)
    with pytest.raises(SriovError) as caught:
        cards(devices, largest_numvfs=True)
    assert f"A is wanted as 1 for {PF0}, 2 for {PF1}" in str(caught.value)
    assert "NUM_OF_VFS" not in str(caught.value)


def test_wishes_of_one_function_that_contradict_each_other() -> None:
    with pytest.raises(SriovError, match=f"{PF0}: NUM_OF_VFS is wanted as both 4 and 8"):
        cards([(PF0, {"NUM_OF_VFS": 4}), (PF0, {"NUM_OF_VFS": 8})], largest_numvfs=True)
    assert len(cards([(PF0, {"A": 4}), (PF0, {"A": "4"})])) == 1


def test_the_largest_number_of_vfs_holds() -> None:
    devices: list[tuple[str, dict[str, t.Any]]] = [
        (PF0, {"NUM_OF_VFS": 4}),
        (PF1, {"NUM_OF_VFS": "0x8"}),
    ]
    assert cards(devices, largest_numvfs=True)[0].wanted == {"NUM_OF_VFS": 8}


def test_all_that_cannot_be_wanted_is_told() -> None:
    with pytest.raises(SriovError, match=f"{PF0}: A cannot be.*{PF1}: 'a b' is no name"):
        cards([(PF0, {"A": None}), (PF1, {"a b": 1})])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        # What differs from the next start is written, whatever the card runs with.
        ({"SRIOV_EN": 1, "NUM_OF_VFS": 16}, ()),
        ({"SRIOV_EN": 1, "NUM_OF_VFS": 32}, (("NUM_OF_VFS",),)),
        ({"LINK_TYPE_P1": "ETH", "NUM_OF_VFS": 32}, (("LINK_TYPE_P1", "NUM_OF_VFS"),)),
        ({"PF_NUM_OF_VF_VALID": 1, "NUM_OF_VFS": 32}, (("PF_NUM_OF_VF_VALID", "NUM_OF_VFS"),)),
        # More than is wanted suffices.
        ({"SRIOV_EN": 1, "NUM_OF_VFS": 8}, ()),
        ({"SRIOV_EN": 0}, (("SRIOV_EN",),)),
        ({}, ()),
    ],
)
def test_one_step_with_what_differs(
    wanted: dict[str, t.Any], expected: tuple[tuple[str, ...], ...]
) -> None:
    assert steps(wanted, state()) == expected


def test_a_value_that_is_not_told_is_written() -> None:
    assert steps({"A": 0}, state(A=Setting(0, 0, None))) == (("A",),)


def test_hidden_parameters_come_after_the_switches() -> None:
    hidden = state({"PF_NUM_OF_VF": UNSUPPORTED})
    wanted = {"NUM_OF_VFS": 24, "PF_NUM_OF_VF": 12, "PF_NUM_OF_VF_VALID": 1, "SRIOV_EN": 1}
    assert steps(wanted, hidden) == (("PF_NUM_OF_VF_VALID",), ("NUM_OF_VFS", "PF_NUM_OF_VF"))


def test_a_switch_of_one_port() -> None:
    hidden = state(
        {"PHY_RATE_MASK_P1": UNSUPPORTED}, PHY_RATE_MASK_OVERRIDE_P1=Setting(*[False] * 3)
    )
    wanted = {"PHY_RATE_MASK_P1": 1, "PHY_RATE_MASK_OVERRIDE_P1": 1}
    assert steps(wanted, hidden) == (("PHY_RATE_MASK_OVERRIDE_P1",), ("PHY_RATE_MASK_P1",))


@pytest.mark.parametrize(
    ("wanted", "state", "message"),
    [
        ({"X": 1, "NUM_OF_VFS": 8}, state({"X": UNSUPPORTED}), "X: the card's firmware does not"),
        ({"X": 1, "NUM_OF_VFS": 8}, state({"X": UNKNOWN}), "X: the tool knows no such parameter"),
        ({"X": 1, "PF_NUM_OF_VF_VALID": 1}, state({"X": UNKNOWN}), "X: the tool knows no such"),
        # The switch is on already, so it does not hide anything.
        ({"X": 1, "PF_NUM_OF_VF_VALID": 0}, state({"X": UNSUPPORTED}), "X: the card's firmware"),
        ({"A": 1}, state(A=Setting(0, 0, 0, True)), "A: the card's firmware lets nobody change it"),
        ({"SRIOV_EN": 1, "NUM_OF_VFS": 0}, state(), "SRIOV_EN is true and NUM_OF_VFS 0"),
        ({"NUM_OF_VFS": 0}, state(), "SRIOV_EN is true and NUM_OF_VFS 0"),
        ({"SRIOV_EN": 1}, state(NUM_OF_VFS=Setting(0, 0, 0)), "SRIOV_EN is true and NUM_OF_VFS 0"),
    ],
)
def test_what_cannot_be(wanted: dict[str, t.Any], state: CardState, message: str) -> None:
    with pytest.raises(SriovError) as caught:
        steps(wanted, state)
    assert f"{PF0}: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "state", "done"),
    [
        ({"A": 1}, state(A=Setting(0, 0, 1, True)), ()),
        # More VFs than are wanted suffice.
        ({"SRIOV_EN": 0, "NUM_OF_VFS": 0}, state(), (("SRIOV_EN",),)),
        (
            {"SRIOV_EN": 1, "NUM_OF_VFS": 0, "PF_NUM_OF_VF_VALID": 1},
            state(),
            (("PF_NUM_OF_VF_VALID",),),
        ),
        ({"A": 1}, state(A=Setting(1, 1, 1), NUM_OF_VFS=Setting(0, 0, 0)), ()),
    ],
)
def test_what_can_be(
    wanted: dict[str, t.Any], state: CardState, done: tuple[tuple[str, ...], ...]
) -> None:
    assert steps(wanted, state) == done


def test_planned_settings_are_as_the_tool_would_show_them() -> None:
    wanted: dict[str, t.Any] = {
        "SRIOV_EN": 0,
        "NUM_OF_VFS": 4,
        "LINK_TYPE_P1": "ETH",
        "PF_NUM_OF_VF": 3,
    }
    card = Card((PF0,), {**wanted, "PF_NUM_OF_VF_VALID": 1}, lower=True)
    change = _card.plan(card, state({"PF_NUM_OF_VF": UNSUPPORTED}))
    planned = _card.described(card, _card.planned_settings(change))
    assert {name: columns["next"] for name, columns in planned.items()} == {
        "SRIOV_EN": False,
        "NUM_OF_VFS": 4,
        "LINK_TYPE_P1": "ETH(2)",
        "PF_NUM_OF_VF": 3,
        "PF_NUM_OF_VF_VALID": True,
    }
    assert planned["NUM_OF_VFS"] == {"default": 0, "current": 8, "next": 4}
    assert change.state.settings["NUM_OF_VFS"].next == 16


def test_what_a_card_offers() -> None:
    offered = {
        "NUM_OF_VFS": Setting(0, 0, 16),
        "PF_NUM_OF_VF": Setting(0, 0, 4),
        "PF_NUM_OF_VF_VALID": Setting(False, False, False),
    }
    assert _card.offered(offered) == 16
    assert _card.offered({**offered, "SRIOV_EN": Setting(True, True, False)}) == 0
    assert _card.offered({**offered, "PF_NUM_OF_VF_VALID": Setting(0, 0, True)}) == 4
    assert _card.offered({"SRIOV_EN": Setting(True, True, True)}) is None


def test_a_number_is_lowered_only_where_that_is_allowed() -> None:
    wish: dict[str, t.Any] = {"NUM_OF_VFS": 8, "SRIOV_EN": 1}
    assert _card.plan(Card((PF0,), wish), state()).steps == ()
    assert _card.plan(Card((PF0,), wish, lower=True), state()).steps == (("NUM_OF_VFS",),)


NAMES = [
    CardDevice(PF0, {"A": 1}, ("ens1f0", "04:70:00:00:00:10")),
    CardDevice(PF1, {"A": 2}, ("ens1f1",)),
]


def test_settings_of_single_cards_go_before_all_others() -> None:
    other = CardDevice(OTHER, {"A": 1, "B": 1}, ("ens2f0",))
    assert _card.cards(
        [*NAMES, other],
        settings={"B": 2, "C": 3},
        card_settings={"04:70:00:00:00:10 ": {"A": 5}, "ENS1F1": {"B": "x"}, PF0: {"D": 6}},
        lower_numvfs=["0000:3b:01.3"],
    ) == [
        Card((PF0, PF1), {"A": 5, "B": "X", "C": 3, "D": 6}),
        Card((OTHER,), {"A": 1, "B": 2, "C": 3}, lower=True),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"card_settings": {"ens9": {}}}, "card_settings names ens9, which is no port .*ens1f0"),
        (
            {"lower_numvfs": ["ens9"]},
            "lower_numvfs names ens9, which is no port of a card in this call",
        ),
        ({"card_settings": {"ens1f0": 5}}, "card_settings: ens1f0 is 5, not values by name"),
        ({"card_settings": {"ens1f0": {"A": []}}}, r"ens1f0: A cannot be \[\]"),
        (
            {"card_settings": {"ens1f0": {"A": 1}, "ens1f1": {"A": 2}}},
            "ens1f1: A is wanted as both 1 and 2",
        ),
    ],
)
def test_cards_that_are_named_wrongly(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(SriovError, match=message):
        _card.cards(NAMES, **options)
