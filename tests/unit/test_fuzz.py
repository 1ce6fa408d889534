"""Everything that reads what a host, the storage or a tenant has written takes whatever that is: it
understands it, or raises the one error that it promises.

A new parser is a row of PARSERS. `benchmarks/fuzz.py` tries the same table for as long as one likes.
"""

import importlib.util
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relocate_proxy.host import admission
from relocate_proxy.host0 import answers
from relocate_proxy.kernel import flows
from relocate_proxy.protocol import shapes, wire
from relocate_proxy.storage import layer, shared
from relocate_proxy.survey import confinement, containers, preflight
from relocate_proxy.survey.patience import Patience
from relocate_proxy.survey.surroundings import Surroundings
from test_admission import SPECIFICATION
from test_survey_proxy import WEB
from test_wire import REPORTS, REQUESTS, VOTE

from relocate_cli import hearing, playbook, relocation, schedule
from relocate_cli.errors import RelocateError
from relocate_cli.experiment import sights
from relocate_cli.journal import Survey
from relocate_cli.plan import Relocation
from relocate_cli.playbook import PlaybookResult, TaskEvent
from relocate_cli.settings import Clock

ROOT = Path(__file__).parents[2]
DIGEST = "0123456789abcdef" * 4
MOVE = Relocation("move-1", "web", "h1", "h2", "203.0.113.64", started=1.0)
FLOW = {
    "protocol": "tcp",
    "state": "ESTABLISHED",
    "timeout": 300,
    "source": "203.0.113.2",
    "source_port": 4000,
}
FLOW |= {"destination": "203.0.113.64", "destination_port": 80, "reply_source": "172.17.1.2"}
FLOW |= {"reply_destination": "203.0.113.2", "reply_source_port": 8080, "reply_destination_port": 4000}
CONNTRACK = (
    b"tcp 6 300 ESTABLISHED src=203.0.113.2 dst=203.0.113.64 sport=4000 dport=80"
    b" src=172.17.1.2 dst=203.0.113.2 sport=8080 dport=4000 [ASSURED] mark=0 use=1\n"
)
LOOKS = b"12.5 target1/0a=172.17.1.2\n13.5\n14.5 target1/0a=172.17.1.2 target2/ff=172.17.1.4\n"
DOCUMENT = {
    "taken_at": 1.0,
    "features": {"C": {"kernel": "6.12", "packages": ["a=1"]}, "N": {"mtu": 1500}},
    "capacity": {"cpus": 2, "memory_bytes": 1 << 30, "published_ports": ["tcp/80"], "networks": ["bridge"]},
    "criu": {"version": "4.2.1", "check": "ok", "kernel": "6.12", "cgroup": 2, "cpu_flags": ["avx2"]},
    "containers": [
        {"name": "web", "id": "1", "image": "app", "labels": {"relocate.enable": "true"}, "started_at": 1.0,
         "ip": "172.17.0.2", "ports": ["tcp/80"], "memory_bytes": 1,
         "obstacles": [{"reason": "it has a terminal", "hint": "start it without -t"}]}
    ],
}  # fmt: skip
EVENT = {"event": "ok", "host": "h1", "task": "Arm", "register": "relocation__armed", "stdout": "{}"}
EVENT |= {"stderr": "", "msg": ""}


def _of_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Of what a tool, or a host, has printed."""
    return lambda data: read(_text(data))


def _filter() -> Callable[[str], str]:
    """The playbooks' own; a module of Ansible's, not of ours."""
    place = ROOT / "playbooks/filter_plugins/relocate.py"
    spec = importlib.util.spec_from_file_location("relocate_filters", place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], str] = module.containers_of
    return found


def _text(data: bytes) -> str:
    """As a tool's output is read."""
    return data.decode(errors="replace")


def _object(data: bytes) -> dict[str, Any]:
    """For what gets objects only; anything else is the caller's to refuse."""
    found = shapes.document(data)
    if not isinstance(found, dict):
        raise shapes.ShapeError("not an object")
    return found


def _specification(data: bytes) -> Any:
    return admission.admitted(_object(data), "web", confinement.NOTHING, lambda _: "", {"bridge"})


def _described(data: bytes) -> Any:
    """A container as the engine tells of it; what the survey makes of that, the controller has to take."""
    found = containers.described(_object(data), Surroundings(), Patience(0.05))
    entry = json.loads(json.dumps(found))
    if answers.is_container(entry["name"]):
        assert hearing.misunderstood(DOCUMENT | {"containers": [entry]}) == ""
    return entry


def _fleet(data: bytes) -> Any:
    document = TaskEvent("Survey", "h1", "ok", _text(data)).document()
    pool = hearing.build([Survey("h1", 1.0, document, {}), Survey("h2", 1.0, DOCUMENT, {})], {})
    assert pool.host("h2").error == ""
    return pool


def _concluded(data: bytes) -> Any:
    event = TaskEvent("Arm", "h1", "ok", _text(data), register=relocation.ARMING[0])
    ended = relocation.conclude(MOVE, PlaybookResult("relocate", 2, (event,), {}, {}))
    assert ended.reason.isprintable()
    event = TaskEvent("Settle", "h1", "ok", _text(data), register=relocation.SETTLED)
    return relocation.unsettled(PlaybookResult("relocate", 2, (event,), {}, {}))


def _event(data: bytes) -> Any:
    watch = playbook._Watch(Path("/nowhere"), None, 1)
    watch.line(data)
    return watch.tasks


def _clock(data: bytes) -> Any:
    return schedule.policy(Clock(), {schedule.RATE_LABEL: _text(data)})


def _preflight(data: bytes) -> Any:
    return preflight.specified(_object(data), confinement.NOTHING, lambda _: "")


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Parser:
    """``errors``: what alone may leave ``read``; for ``sample`` nothing does."""

    name: str
    read: Callable[[bytes], Any]
    sample: bytes
    errors: tuple[type[Exception], ...] = ()


SHAPE, ANSWER = (shapes.ShapeError,), (answers.AnswerError,)
SPECIFIED = (shapes.ShapeError, confinement.SpecificationError)
REMEMBERED = {"id": "move-1", "side": "source", "container": "web", "vip": "203.0.113.64"}
RESULTS = {"results": [{"id": "move-1", "ok": False, "reason": "no"}]}
LISTING = {"removed": ["a"], "directories": ["b"], "others": ["b/c"], "kept": []}
PARSERS = [
    # What host0 and an agent say to each other.
    *(Parser(f"request {n}", wire.decode, _json(each)) for n, each in enumerate(REQUESTS)),
    *(
        Parser(f"report {n} {each['word']}", wire.decode_report, _json(each))
        for n, each in enumerate(REPORTS)
    ),
    # What lies on the shared storage.
    Parser("specification", _specification, _json(SPECIFICATION), SPECIFIED),
    Parser("vote", partial(shapes.parse, shared._Sealed), _json({"vote": VOTE, "seal": DIGEST}), SHAPE),
    Parser("flows", partial(shapes.parse, shared.Flows), _json({"flows": [FLOW]}), SHAPE),
    Parser("layer listing", layer._listing, _json(LISTING), (OSError,)),
    # What hosts print: to host0, to the playbooks, to the controller.
    Parser("remembered", _of_text(answers.remembered), _json({"open": [REMEMBERED]}), ANSWER),
    Parser("labelled", _of_text(answers.labelled), _json(DOCUMENT), ANSWER),
    Parser("armed", _of_text(answers.armed), _json(RESULTS), ANSWER),
    Parser("filter", _of_text(_filter()), _json(DOCUMENT)),
    Parser("event", _event, _json(EVENT)),
    Parser("survey", _fleet, _json(DOCUMENT), (RelocateError,)),
    Parser("results", _concluded, _json(RESULTS)),
    # What the engine and the kernel tell of tenants, and what tenants write on labels.
    Parser("inspect", _described, _json({**WEB, "State": {**WEB["State"], "Pid": 0}}), SHAPE),
    Parser("preflight", _preflight, _json(WEB), SPECIFIED),
    Parser("conntrack", _of_text(flows.parse_flows), CONNTRACK),
    Parser("clock label", _clock, b"3.5", (RelocateError,)),
    Parser("attacker's log", _of_text(partial(sights.read, "eve")), LOOKS, (RelocateError,)),
]

SCRAPS: list[Any] = [
    *(None, True, False, 0, -1, 7, 0.5, 2**70, 10**400, 1e308, "", "\0", "../x", "a\nb", "\x1b[2J", "\ud800"),
    *("x" * 300, [], {}, [[]], [None], {"a": 1}, ["a", 1], "true", "203.0.113.64", "é\u202e"),
]


def mutated(dice: random.Random, sample: bytes) -> bytes:
    """The sample with a few things wrong: in its values if it is JSON, in its bytes, or in both."""
    try:
        document = json.loads(sample)
    except ValueError:
        document = None
    for _ in range(dice.randrange(4) if document is not None else 0):
        document = _bent(dice, document)
    text = bytearray(sample if document is None else _json(document))
    for _ in range(dice.choice([0, 0, 0, 1, 2, 8])):
        start = dice.randrange(len(text) + 1)
        text[start : start + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
    if dice.random() < 0.01:
        text = bytearray(b"[" * 100_000)
    return bytes(text)


def _bent(dice: random.Random, value: Any) -> Any:
    """Somewhere in it a value is another, is missing, is there twice, or has moved."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key, kind = dice.choice(list(value)), dice.random()
        if kind < 0.7:
            return {**value, key: _bent(dice, value[key])}
        if kind < 0.8:
            return {name: inner for name, inner in value.items() if name != key}
        if kind < 0.9:
            return {**value, key.swapcase(): dice.choice(SCRAPS)}
        return {**value, key: value[dice.choice(list(value))]}
    if isinstance(value, list) and value and dice.random() < 0.8:
        place = dice.randrange(len(value))
        return [*value[:place], _bent(dice, value[place]), *value[place + dice.randrange(2) :]]
    return dice.choice(SCRAPS)


def attempt(parser: Parser, data: bytes) -> None:
    """Raises what should not have left the parser."""
    try:
        parser.read(data)
    except parser.errors as error:
        assert str(error)


def test_every_parser_has_a_name_of_its_own() -> None:
    assert len({parser.name for parser in PARSERS}) == len(PARSERS)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_sample_is_understood(parser: Parser) -> None:
    assert parser.read(parser.sample) is not None


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
@settings(max_examples=100)
@given(seed=st.integers(0, 2**32))
def test_a_bent_sample_raises_what_is_promised_and_nothing_else(parser: Parser, seed: int) -> None:
    attempt(parser, mutated(random.Random(seed), parser.sample))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100)
@given(JSON.map(_json) | st.binary(max_size=60))
def test_anything_at_all_raises_what_is_promised_and_nothing_else(data: bytes) -> None:
    for parser in PARSERS:
        attempt(parser, data)
