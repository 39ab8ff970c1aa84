# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mergetb.sriov.plugins.module_utils.claim import _request

VF = {
    "node": "alpha",
    "nic": "eth1",
    "pf": {"name": "ens1f0", "mac": "04:70:00:00:00:0A"},
    "vf_index": 2,
    "mac": "02:00:00:00:0A:00",
    "vlan": 100,
}


def params(**options: t.Any) -> dict[str, t.Any]:
    asked = {"mzid": "one.hello.demo", "vfs": [VF], **options}
    result = ArgumentSpecValidator(_request.ARGUMENT_SPEC).validate(asked)
    assert not result.error_messages
    return result.validated_parameters


def test_a_claim_has_macs_as_the_kernel_writes_them() -> None:
    [claim] = _request.claims(params())
    assert claim == _request.Claim(
        "alpha", "eth1", "ens1f0", "04:70:00:00:00:0a", 2, "02:00:00:00:0a:00", 100, None
    )


@pytest.mark.parametrize("state", _request.ARGUMENT_SPEC["state"]["choices"])
def test_what_is_taken_back_claims_nothing(state: str) -> None:
    """A reservation does, so that it is one of all that is going to be given."""
    options = {"run": "b"} if state in ("reserved", "withdrawn") else {}
    claims = _request.claims(params(state=state, **options))
    assert bool(claims) == (state in ("reserved", "present"))


def test_a_policy_isolates_and_refuses_unless_told_otherwise() -> None:
    assert _request.policy(params()) == _request.Policy("vfio-pci", {}, set(), trunk=False)


def test_what_a_vf_may_go_without() -> None:
    policy = _request.policy(
        params(
            attributes={"max_tx_rate": 100},
            unsupported={"max_tx_rate": "warn"},
            without_vst="trunk",
        )
    )
    assert policy.attributes == {"max_tx_rate": 100}
    assert policy.dispensable == {"max_tx_rate"}
    assert policy.trunk
