"""The table of kinds, and what the comparison says of two documents."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relocate_proxy.inventory import comparison, options, sockets, tasks
from relocate_proxy.inventory.document import (
    DocumentError,
    Fact,
    Inventory,
    Mode,
    Socket,
    Vector,
    decode,
)
from relocate_proxy.inventory.kinds import KINDS, ROWS, Verdict

LABELS = (*sockets.OF_ALL, *options.BY_LABEL)
OF_A_SOCKET = {
    "local address",
    "peer address",
    "bytes received",
    "datagrams received",
    "bytes unsent",
    "socket",
}
FACTS = [kind for kind in KINDS if kind not in LABELS and kind not in OF_A_SOCKET]


def of_socket(values: tuple[int, ...], **more: object) -> Inventory:
    socket = Socket("socket 7/3", 0, "own:80", "203.0.113.9:5000", 4, 2)._replace(**more)
    return Inventory(Mode.FULL, (), (LABELS,), (Vector(0, values),), (socket,))


CONNECTED = tuple([1] * len(LABELS))


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_that_changes_is_seen_as_its_row_says(kind: str) -> None:
    was, now = (Inventory(Mode.FULL, (Fact(kind, "process 7", value),)) for value in ("a", "b"))
    (found,) = comparison.compare(was, now)
    assert (found.kind, found.was, found.now) == (KINDS[kind], "a", "b")
    assert kind in str(found) and "process 7" in str(found)
    assert comparison.compare(was, was) == []


@pytest.mark.parametrize("label", LABELS)
def test_an_option_that_changes_is_seen_as_its_row_says(label: str) -> None:
    at = LABELS.index(label)
    changed = (*CONNECTED[:at], 5, *CONNECTED[at + 1 :])
    (found,) = comparison.compare(of_socket(CONNECTED), of_socket(changed))
    assert (found.kind, found.of, found.was, found.now) == (KINDS[label], "socket 7/3", 1, 5)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("name", "172.17.1.2:80", "local address"),
        ("peer", "own:5000", "peer address"),
        ("received", 3, "bytes received"),
        ("unsent", 0, "bytes unsent"),
    ],
)
def test_what_each_socket_has_for_itself(field: str, value: object, kind: str) -> None:
    labels = sockets.OF_ALL
    was, now = (
        dataclasses.replace(each, labels=(labels,), vectors=(Vector(0, (1,) * len(labels)),))
        for each in (of_socket(CONNECTED), of_socket(CONNECTED, **{field: value}))
    )
    (found,) = comparison.compare(was, now)
    assert found.kind == KINDS[kind] and found.kind.verdict is Verdict.FATAL


def test_a_datagram_may_be_lost() -> None:
    (found,) = comparison.compare(*(of_socket(CONNECTED, received=n) for n in (4, 0)))
    assert found.kind.verdict is Verdict.HARMLESS and found.kind.why


def test_what_is_gone_as_a_whole_is_said_once() -> None:
    of_7 = [Fact("process", "process 7", "nginx"), Fact("umask", "process 7", "0022")]
    of_7 += [Fact("thread", "thread 7/9", "nginx"), Fact("CPU affinity", "thread 7/9", "all")]
    of_8 = [Fact("process", "process 8", "sh"), Fact("thread", "thread 8/8", "sh")]
    both, one = (Inventory(Mode.FULL, tuple(facts)) for facts in (of_7 + of_8, of_8))
    assert [str(each) for each in comparison.compare(both, one)] == [
        "process of process 7: nginx became (nothing)"
    ]
    assert {each.of for each in comparison.compare(one, both)} == {"process 7", "thread 7/9"}


def test_a_socket_that_is_gone() -> None:
    (found,) = comparison.compare(of_socket(CONNECTED), Inventory(Mode.FULL))
    assert found.kind == KINDS["socket"] and found.kind.verdict is Verdict.FATAL


def test_what_the_target_does_not_know_is_not_compared() -> None:
    older = Inventory(Mode.FULL, (Fact("a kind of later", "process 7", 1),))
    assert comparison.compare(older, Inventory(Mode.FULL)) == []


def test_rows_are_distinct_and_have_reasons() -> None:
    assert len(KINDS) == len(ROWS)
    for kind in ROWS:
        assert bool(kind.why) == (Verdict.HARMLESS in (kind.verdict, kind.otherwise)), kind
    assert set(tasks.PROCESS) | set(tasks.THREAD) <= set(KINDS)


VALUES = st.one_of(st.none(), st.integers(-(2**31), 2**64), st.text(max_size=9))


@given(st.lists(st.tuples(st.text(), st.text(), VALUES)), st.lists(VALUES, min_size=2, max_size=2))
def test_a_document_is_read_as_it_was_written(facts: list[tuple[str, str, str]], values: list[int]) -> None:
    socket = Socket("socket 7/3", 0, "", "", 0, 0)
    vector = Vector(0, tuple(values))
    written = Inventory(Mode.FULL, tuple(Fact(*each) for each in facts), (("a", "b"),), (vector,), (socket,))
    assert decode(written.encode()) == written


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b'["full"]',
        b'["none",[],[],[],[]]',
        b'["full",[["a","b"]],[],[],[]]',
        b'["full",[["a","b",[]]],[],[],[]]',
        b'["full",[],[["a"]],[[0,[]]],[]]',
        b'["full",[],[],[[3,[]]],[]]',
        b'["full",[],[["a"]],[[0,[1]]],[["s",1,"","",0,0]]]',
        b'["full",[],[],[],[["s",0,"","",0,true]]]',
        b'["full",[],[["a"]],[[0,[1]]],[["s",-1,"","",0,0]]]',
        b"[" * 100000,
    ],
)
def test_what_is_no_inventory_is_refused(text: bytes) -> None:
    with pytest.raises(DocumentError):
        decode(text)


def test_how_many_facts_there_are() -> None:
    assert of_socket(CONNECTED).count == len(LABELS) + 4
    one = dataclasses.replace(of_socket(CONNECTED), facts=(Fact("umask", "process 7", "0022"),))
    assert one.count == len(LABELS) + 5
