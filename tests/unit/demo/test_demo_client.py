"""The demo's client must notice what it is there to notice."""

import socket
import threading
import time
from collections.abc import Callable

from relocate_cli.demo import Hop, Result
from relocate_cli.demo.client import Client

Answer = Callable[[int], bytes]


def talk(answer: Answer, messages: int = 30) -> Client:
    """A client that has sent ``messages`` lines or more to a server that sends ``answer(n)`` to the n-th."""
    here, there = socket.socketpair()
    enough = threading.Event()

    def serve() -> None:
        with there, there.makefile("rwb", buffering=0) as stream:
            for number, _ in enumerate(stream, 1):
                stream.write(answer(number))
                if number == messages:
                    enough.set()

    threading.Thread(target=serve, daemon=True).start()
    client = Client(here)
    client.start()
    assert enough.wait(10)
    client.finish(patience=0.3)
    return client


def test_a_server_that_answers_everything_loses_nothing() -> None:
    client = talk(lambda n: b"%d %d\n" % (n, n))
    assert (client.lost, client.duplicated, client.reordered, client.connection_kept) == (0, 0, 0, True)
    assert client.sent == client.received >= 30


def test_a_message_without_an_answer_is_lost() -> None:
    client = talk(lambda n: b"" if n == 7 else b"%d %d\n" % (n, n))
    assert client.lost == 1
    assert not client.connection_kept


def test_an_answer_that_comes_twice_is_a_duplicate_not_a_gain() -> None:
    client = talk(lambda n: b"%d %d\n" % (n, n) * (2 if n == 7 else 1))
    assert (client.lost, client.duplicated) == (0, 1)


def test_answers_out_of_order_are_seen() -> None:
    def swapped(n: int) -> bytes:
        return {7: b"", 8: b"8 8\n7 7\n"}.get(n, b"%d %d\n" % (n, n))

    client = talk(swapped)
    assert client.reordered >= 1


def test_the_gap_is_the_longest_silence_that_touches_the_span() -> None:
    client = Client(socket.socketpair()[0])
    client.replies.extend([0.0, 0.002, 0.200, 0.202, 0.900])
    assert round(client.gap_ms(0.1, 0.15)) == 198
    assert round(client.gap_ms(0.2, 0.201)) == 198  # the silence ended in the span
    assert round(client.gap_ms(0.3, 0.4)) == 698


def test_a_server_that_hangs_up_is_a_connection_not_kept() -> None:
    here, there = socket.socketpair()
    client = Client(here)
    client.start()
    time.sleep(0.05)
    there.close()
    client.join(10)
    assert not client.connection_kept


def test_the_demo_is_good_only_if_nothing_was_lost_and_every_address_changed() -> None:
    hop = Hop("h1", "h2", "172.17.1.2", "172.17.2.2", 60.0, 80.0, 5.0)
    stuck = Hop("h1", "h2", "172.17.1.2", "172.17.1.2", 60.0, 80.0, 5.0)
    assert Result((hop,), 10, 0, 0, 0, True).good
    assert not Result((hop, stuck), 10, 0, 0, 0, True).good
    assert not Result((hop,), 10, 1, 0, 0, True).good
    assert not Result((hop,), 10, 0, 0, 0, False).good
