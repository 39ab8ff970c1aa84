# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.plugins.plugin_utils.play import _holdings

ENTRY = {
    "node": "alpha",
    "nic": "eth1",
    "pf_name": "ens1f0",
    "vf": 0,
    "address": "0000:01:10.0",
    "state": "ready",
    "runs": [],
}
RESERVED = ENTRY | {"nic": "eth2", "vf": 10, "state": "reserved", "runs": ["day", "night"]}
LEDGERS = {
    "x0": {"one.hello.demo": [ENTRY, RESERVED], "two.hello.demo": [ENTRY]},
    "x1": {},
    "x2": {"one.hello.demo": [RESERVED]},
}


def test_a_line_a_vf() -> None:
    assert _holdings.lines(LEDGERS) == [
        "host  materialization  node.nic    PF      VF  PCI address   state     reserved by",
        "x0    one.hello.demo   alpha.eth1  ens1f0  0   0000:01:10.0  ready",
        "x0    one.hello.demo   alpha.eth2  ens1f0  10  0000:01:10.0  reserved  day night",
        "x0    two.hello.demo   alpha.eth1  ens1f0  0   0000:01:10.0  ready",
        "x2    one.hello.demo   alpha.eth2  ens1f0  10  0000:01:10.0  reserved  day night",
    ]


def test_one_materialization() -> None:
    assert [line.split()[0] for line in _holdings.lines(LEDGERS, "two.hello.demo")[1:]] == ["x0"]


def test_nothing_is_held() -> None:
    assert _holdings.lines({"x0": {}, "x1": {}}) == ["nothing is held"]


@pytest.mark.parametrize(
    ("mzid", "run"), [("", ""), ("one.hello.demo", ""), ("one.hello.demo", "night")]
)
def test_what_a_host_knows_can_be_freed(mzid: str, run: str) -> None:
    _holdings.require(LEDGERS.values(), mzid, run)


@pytest.mark.parametrize(
    ("mzid", "run", "told"),
    [
        (
            "six",
            "",
            "anything for six; materializations that hold VFs: one.hello.demo, two.hello.demo$",
        ),
        ("six", "night", "anything for six; materializations that hold VFs"),
        ("one.hello.demo", "six", "of run six for one.hello.demo; its runs are: day, night$"),
        ("two.hello.demo", "night", "of run night for two.hello.demo; its runs are: none$"),
        ("", "night", "^run night: name its materialization with sriov_mzid, too$"),
    ],
)
def test_what_no_host_knows_is_refused(mzid: str, run: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        _holdings.require(LEDGERS.values(), mzid, run)


def test_no_host_holds_anything() -> None:
    with pytest.raises(InputError, match="; materializations that hold VFs: none$"):
        _holdings.require([{}], "one.hello.demo", "")
