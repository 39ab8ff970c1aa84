# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.mergetb.sriov.plugins.module_utils.machine import _module
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._errors import SriovError
from ansible_collections.mergetb.sriov.plugins.module_utils.machine._host import Host
from ansible_collections.mergetb.sriov.tests.unit.module_runner import Runner

Answer = t.Callable[..., dict[str, t.Any]]


class Module:
    """A module whose `run` is given."""

    Host = Host

    def __init__(self, run: Answer) -> None:
        self._run = run

    def main(self) -> None:
        _module.run_module(self._run, {"name": {"type": "str"}})


@pytest.fixture
def answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[[Answer], dict[str, t.Any]]:
    def answered(run: Answer) -> dict[str, t.Any]:
        module: t.Any = Module(run)
        return Runner(module, Host(), monkeypatch, capsys)(check_mode=True, name="a")

    return answered


def raising(error: Exception) -> Answer:
    def run(params: dict[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
        raise error

    return run


def test_the_answer_is_the_result(answer: t.Callable[[Answer], dict[str, t.Any]]) -> None:
    done = answer(
        lambda params, check_mode: {"changed": check_mode, **params, "warnings": ["beware"]}
    )
    assert (done["changed"], done["name"], done["warnings"]) == (True, "a", ["beware"])


def test_text_that_is_not_utf_8_is_shown(answer: t.Callable[[Answer], dict[str, t.Any]]) -> None:
    done = answer(lambda params, check_mode: {"changed": False, "files": {"a\udcff": ["\udcff"]}})
    assert done["files"] == {"a\ufffd": ["\ufffd"]}
    assert answer(raising(SriovError("no \udcff")))["msg"] == "no \ufffd"


@pytest.mark.parametrize(
    ("uid", "remedy"), [(0, "not even root may"), (1000, "this takes root; connect as root")]
)
def test_what_is_forbidden_names_a_remedy(
    answer: t.Callable[[Answer], dict[str, t.Any]],
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    remedy: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert remedy in answer(raising(PermissionError(1, "not permitted")))["msg"]


def test_other_errors_of_the_system_fail(answer: t.Callable[[Answer], dict[str, t.Any]]) -> None:
    done = answer(raising(OSError(28, "No space left on device", "/etc/x")))
    assert done["failed"]
    assert "/etc/x" in done["msg"]
