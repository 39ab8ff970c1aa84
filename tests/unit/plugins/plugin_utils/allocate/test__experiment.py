# Copyright: Contributors to the mergetb.sriov collection
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every input is written by mergexp, or by the bindings where mergexp cannot write it."""

from __future__ import annotations

import typing as t

import mergexp
import pytest
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate import _experiment
from ansible_collections.mergetb.sriov.plugins.plugin_utils.allocate._experiment import Nic
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model import _document
from ansible_collections.mergetb.sriov.plugins.plugin_utils.model._errors import InputError
from ansible_collections.mergetb.sriov.tests.unit import models
from mergetbapi import xir

VF, NO_VF = (mergexp.port.vf == wanted for wanted in (True, False))
LAN, LINK = "alpha.0~beta.0~gamma.0", "alpha.1~beta.1"


def nics(network: mergexp.Network | xir.Network | bytes) -> list[Nic]:
    """Return the NICs of an experiment."""
    if isinstance(network, mergexp.Network):
        network = network.xir().SerializeToString()
    return _experiment.nics(_document.decode(bytes(network), _document.EXPERIMENT))


def problems(network: mergexp.Network | xir.Network) -> list[str]:
    """Return the problems of an experiment."""
    with pytest.raises(InputError) as caught:
        nics(network)
    headline, *found = str(caught.value).split("\n- ")
    plural = "s" if len(found) > 1 else ""
    assert headline.endswith(f" is refused, {len(found)} problem{plural}:")
    return found


def pair(*constraints: t.Any, link: t.Any = (), node: t.Any = ()) -> mergexp.Network:
    """Return nodes a and b with a link of VFs; the constraints are of a's socket, link and node."""
    network = mergexp.Network("pair")
    a, b = network.node("a", *node), network.node("b")
    network.connect_sockets([a.socket(VF, *constraints), b.socket(VF)], *link)
    return network


def binding(network: mergexp.Network) -> xir.Network:
    """Return an experiment to change: as the bindings read it."""
    return xir.Network().parse(network.xir().SerializeToString())


def test_example() -> None:
    assert nics(models.hello()) == [
        *(Nic(node=node, socket=0, link=LAN) for node in ("alpha", "beta", "gamma")),
        Nic("alpha", 1, LINK, capacity=600_000_000, addresses=("10.0.1.1/24",)),
        Nic("beta", 1, LINK, capacity=600_000_000, addresses=("10.0.1.2/24",)),
    ]


@pytest.mark.parametrize(("name", "data"), models.network_encodings(models.hello()).items())
def test_every_encoding_gives_the_same_nics(name: str, data: bytes) -> None:
    assert nics(data) == nics(models.hello())


def test_files_that_mergexp_saves(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models.hello().save_xir()
    models.hello().save_json()
    for path in ("hello.pb64", "hello.json"):
        network = _document.load(path, _document.EXPERIMENT)
        assert _experiment.nics(network) == nics(models.hello())


def test_vfs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mergexp.Socket, "default_constraints", [])
    network = mergexp.Network("default")
    network.useSRIOV()
    network.connect([network.node("a"), network.node("b")])
    assert nics(network) == [Nic("a", 0, "a.0~b.0"), Nic("b", 0, "a.0~b.0")]


def test_names_of_nics() -> None:
    assert Nic("alpha", 0, LAN).name == "eth1"
    assert Nic("alpha", 4, LAN).label == "alpha eth5"


def test_constraints() -> None:
    network = pair(
        mergexp.port.model == xir.NicModel.ConnectX5,
        mergexp.port.capacity >= mergexp.gbps(2),
        link=[mergexp.capacity == mergexp.gbps(1)],
        node=[mergexp.host == "x1"],
    )
    a, b = nics(network)
    assert a == Nic("a", 0, "a.0~b.0", host="x1", model="ConnectX5", capacity=2_000_000_000)
    assert b == Nic("b", 0, "a.0~b.0", capacity=1_000_000_000)


def test_model_whose_number_is_zero() -> None:
    assert nics(pair(mergexp.port.model == xir.NicModel.Intel200))[0].model == "Intel200"


def test_what_is_no_vf_is_left_out() -> None:
    network = models.hello()
    delta, epsilon = network.node("delta"), network.node("epsilon", mergexp.metal == 1)
    network.connect([delta, epsilon], mergexp.latency == mergexp.ms(5))
    network.connect_sockets([delta.socket(NO_VF), epsilon.socket()])
    delta.socket(VF)  # in no link
    assert nics(network) == nics(models.hello())


def test_link_without_vf_alone() -> None:
    network = mergexp.Network("none")
    network.connect([network.node("a"), network.node("b")])
    assert nics(network) == []


def test_link_of_many_nodes() -> None:
    network = mergexp.Network("many")
    network.connect_sockets([network.node(f"node{number}").socket(VF) for number in range(300)])
    found = nics(network)
    assert len(found) == 300
    assert len(found[0].link) > 2000


def test_link_with_vfs_and_others() -> None:
    network = pair()
    c = network.node("c")
    network.connect_sockets([network.nodes[0].socket(VF), c.socket()])
    assert problems(network) == [
        "link 'a.1~c.0': c socket 0 is no VF, but others of the link are; set port.vf==True on all"
        " of them or on none"
    ]


@pytest.mark.parametrize(
    ("name", "constraint"),
    [("latency", mergexp.latency == mergexp.ms(5)), ("loss", mergexp.loss == 0.1)],
)
def test_emulated_link(name: str, constraint: t.Any) -> None:
    assert problems(pair(link=[constraint])) == [
        f"link 'a.0~b.0': {name} is for an emulator, which no frame of a VF passes; leave it out"
    ]


@pytest.mark.parametrize("model", ["virtio", "e1000", "e1000e"])
def test_model_that_is_emulated(model: str) -> None:
    [problem] = problems(pair(mergexp.port.model == getattr(mergexp, model)))
    assert problem.lower() == f"a socket 0: port.model is {model}, which no vf is; leave it out"


def test_metal_node() -> None:
    assert problems(pair(node=[mergexp.metal == 1])) == [
        "a socket 0: a VF is for a VM, but the node is metal"
    ]


@pytest.mark.parametrize("operator", ["LT", "LE", "GT", "NE"])
def test_operators_that_cannot_be_met(operator: str) -> None:
    network = binding(
        pair(
            mergexp.port.capacity == 1,
            mergexp.port.model == xir.NicModel.ConnectX5,
            node=[mergexp.host == "x1"],
        )
    )
    node = network.nodes[0]
    for constraint in (node.host, node.sockets[0].port.capacity, node.sockets[0].port.model):
        constraint.op = xir.Operator[operator]
    assert sorted(problems(network)) == [
        f"a socket 0: port.capacity: only == can be satisfied, not {operator}",
        f"a socket 0: port.model: only == can be satisfied, not {operator}",
        f"node a: host: only == can be satisfied, not {operator}",
    ]


def test_vf_that_is_not_false() -> None:
    network = pair()
    network.nodes[0].sockets[0].port.SriovVF.op = mergexp.constraint.NE
    network.nodes[0].sockets[0].port.SriovVF.value = False
    assert len(nics(network)) == 2


def test_unknown_model() -> None:
    network = binding(pair(mergexp.port.model == xir.NicModel.ConnectX5))
    network.nodes[0].sockets[0].port.model.value = 9999
    [problem] = problems(network)
    assert problem.startswith("a socket 0: port.model 9999 is none of Intel200, ")


def test_two_of_one_name() -> None:
    network = binding(pair())
    network.nodes[1].id = "a"
    network.links.append(network.links[0])
    told = problems(network)
    assert "2 nodes have the id 'a'" in told
    assert "node 'a': socket 0 is there twice, or is no index" in told
    assert "2 links have the id 'a.0~b.0'" in told
    assert "a eth1 is in 2 links" in told


def test_endpoint_without_socket() -> None:
    network = binding(pair())
    network.links[0].endpoints[0].socket.index = 7
    assert problems(network) == ["link 'a.0~b.0': node 'a' has no socket 7"]


@pytest.mark.parametrize("index", [-1, 2**31 - 1])
def test_index_of_a_socket(index: int) -> None:
    network = binding(pair())
    network.nodes[0].sockets[0].index = index
    assert f"node 'a': socket {index} is there twice, or is no index" in problems(network)


def test_link_whose_name_is_not_printable() -> None:
    network = binding(pair())
    network.links[0].id = "lan\n0"
    [problem] = problems(network)
    assert problem.startswith("link 'lan\\n0' must be printable")


def test_address_that_is_none() -> None:
    network = binding(pair())
    network.nodes[0].sockets[0].addrs = ["10.0.1.1/24", "$(id)"]
    assert problems(network) == ["a socket 0: address '$(id)' is not an IP address"]


@pytest.mark.parametrize("name", ["a b", "../a", "{{ x }}", "a\n", "-a", "x" * 1_000_000])
def test_hostile_names(name: str) -> None:
    network = mergexp.Network(name)
    network.connect_sockets([network.node(name).socket(VF), network.node("b").socket(VF)])
    if not name.isprintable():
        network.id = "x"
    told = problems(network)
    assert told[0].startswith("the id of a node '")
    assert all("\n" not in problem and len(problem) < 400 for problem in told)
