"""The verbs of `relocate-proxy`. Imports stay inside: a verb starts as fast as what it needs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relocate_proxy.protocol.move import Move

JsonObject = dict[str, Any]


def _read() -> JsonObject:
    document: JsonObject = json.load(sys.stdin)
    return document


def _print(document: JsonObject) -> int:
    json.dump(document, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _each(moves: list[JsonObject], work: Callable[[JsonObject], JsonObject]) -> list[JsonObject]:
    """Do ``work`` for all moves at once; a failure is that move's own."""

    def guarded(move: JsonObject) -> JsonObject:
        try:
            return {"id": move["id"], "ok": True, "reason": "", **work(move)}
        except Exception as error:
            return {
                "id": move["id"],
                "ok": False,
                "reason": " ".join(str(error).split()) or type(error).__name__,
            }

    if not moves:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(moves))) as pool:
        return list(pool.map(guarded, moves))


def offer(arguments: list[str]) -> int:
    """On sources: look at the containers of ``{"host", "moves", "repository"}``, and put on the storage what
    their targets create them from."""

    def one(move: Move, document: JsonObject) -> None:
        from relocate_proxy.host import source

        if move.source == document["host"] and not move.recovers:
            source.offer(move.id, move.container, move.vip, document["repository"])

    return _step(one)


def arm(arguments: list[str]) -> int:
    """On both: prepare the dump, with the layer's first copy, and the restore."""

    def one(move: Move, document: JsonObject) -> None:
        from relocate_proxy.host import source, target

        if move.target == document["host"]:
            target.arm(move.id, move.container, move.vip, move.recovers)
        elif not move.recovers:
            source.arm(move.id)

    return _step(one)


def fill(arguments: list[str]) -> int:
    """On targets: apply the layer's first copy."""

    def one(move: Move, document: JsonObject) -> None:
        from relocate_proxy.host import target

        if move.target == document["host"]:
            target.fill(move.id)

    return _step(one)


def _step(act: Callable[[Move, JsonObject], None]) -> int:
    """One step of arming, for this host's share of the moves."""
    from relocate_proxy.protocol import shapes
    from relocate_proxy.protocol.move import Move

    document = _read()
    mine = [move for move in document["moves"] if document["host"] in (move["source"], move["target"])]

    def one(move: JsonObject) -> JsonObject:
        act(shapes.read(Move, move), document)
        return {}

    return _print({"results": _each(mine, one)})


def settle(arguments: list[str]) -> int:
    """Clean up after the relocations of ``{"host", "moves", "keep"}``; one that needs recovering is left
    as it is. Ends with 1 if one could not be settled here."""
    document = _read()

    def one(move: JsonObject) -> JsonObject:
        from relocate_proxy import engine

        engine.patiently(lambda: end(move))
        return {}

    def end(move: JsonObject) -> None:
        from relocate_proxy.host import source, target
        from relocate_proxy.host0 import fire

        moved = move["outcome"] == "moved"
        if move["target"] == document["host"]:
            target.settle(move["id"]) if moved else target.destroy(move["id"])
        elif move["source"] == document["host"]:
            source.destroy(move["id"]) if moved else source.thaw(move["id"], unless_voted=True)
        elif not document["keep"]:
            fire.sweep(move["id"], move["outcome"])
            if moved and move.get("recovers"):
                fire.sweep(move["recovers"], move["outcome"])

    ended = [{**move, "id": move["relocation_id"]} for move in document["moves"] if not move["needs_recover"]]
    results = _each(ended, one)
    _print({"results": results})
    for result in results:
        if not result["ok"]:
            print(f"{result['id']} is not settled: {result['reason']}", file=sys.stderr)
            return 1
    return 0


def fire(arguments: list[str]) -> int:
    """Start the coordinator for ``{"moves", "armed", "parallel"}`` and follow it to the end."""
    from relocate_proxy.host0 import fire as module

    return _print({"relocations": module.fire(_read())})


def coordinate(arguments: list[str]) -> int:
    """What the unit relocate-coordinator@BATCH runs."""
    from relocate_proxy.host0 import fire as module

    return module.coordinate(arguments[0])


def recover(arguments: list[str]) -> int:
    """End what was left open: what host0 runs at boot, and `relocate recover` with what `remembered` said on
    ``hosts``, of one ``container`` or all.

    With --boot it fails while anything waits for a host that may come back, and is run again."""
    from relocate_proxy.host0 import answers, open_ends

    said = {} if sys.stdin.isatty() else json.loads(sys.stdin.read() or "{}")
    heard, unheard = answers.gather(said.get("hosts", {}), answers.remembered)
    found = open_ends.recover(
        heard,
        unheard,
        check="--check" in arguments,
        container=said.get("container", ""),
        keep=said.get("keep", True),
    )
    _print(found)
    return 1 if "--boot" in arguments and set(found["waiting"]) - set(found["strangers"]) else 0


def remembered(arguments: list[str]) -> int:
    """The relocations that this host has not settled."""
    from relocate_proxy.host import records

    return _print({"open": [asdict(entry) for entry in records.remembered()]})


def publish(arguments: list[str]) -> int:
    """On host0: allocate VIPs and set routes for the labelled containers of ``{"hosts": {name: survey
    document}}``."""
    from relocate_proxy.host0 import answers, gateway, journal
    from relocate_proxy.host0 import fire as module

    heard, unheard = answers.gather(_read()["hosts"], answers.labelled)
    known, journals = module.addresses(), journal.at_hand()
    published = gateway.publish(heard, known, journal.busy(journals))
    with contextlib.suppress(OSError):  # an address is worth more than a tidy journal; the next run puts away
        journal.put_away(journals, time.time())
    return _print({**published, "unheard": unheard})


def enrol(arguments: list[str]) -> int:
    """On a host: put the VIPs of its running containers in place, and remember ``{"vips": {name: VIP}}``.

    With --again, after a boot or a restart of the engine: those of the last time."""
    from relocate_proxy.host import enrolment

    vips = enrolment.remembered() if "--again" in arguments else enrolment.remember(_read()["vips"])
    return _print({"enrolled": enrolment.enrol(vips)})


def guard(arguments: list[str]) -> int:
    """On a host, before its first container runs: what keeps containers from the fleet's own services."""
    from relocate_proxy.kernel import vips

    vips.guard()
    return 0


def left(arguments: list[str]) -> int:
    """What our runc says of a container that has ended."""
    from relocate_proxy.host import enrolment

    return _of_container(arguments, enrolment.left)


def back(arguments: list[str]) -> int:
    """What our runc says of a container that starts again."""
    from relocate_proxy.host import enrolment

    return _of_container(arguments, enrolment.back)


def readmit(arguments: list[str]) -> int:
    """What the unit runs that `back` starts."""
    from relocate_proxy.host import enrolment

    return _of_container(arguments, enrolment.readmit)


def _of_container(arguments: list[str], act: Callable[[str], None]) -> int:
    from relocate_proxy.host import enrolment

    (container,) = arguments
    if not enrolment.CONTAINER.match(container):
        raise ValueError(f"{container[:80]!r} is not the id of a container")
    act(container)
    return 0


def survey(arguments: list[str]) -> int:
    """C, N, S, capacity and containers of this host."""
    from relocate_proxy.survey import survey as module

    return _print(module.survey(light="--light" in arguments))


def agent(arguments: list[str]) -> int:
    """The forced command of host0's key."""
    from relocate_proxy.host import agent as module

    return module.serve()


def thaw(arguments: list[str]) -> int:
    """The watchdog: thaw unless the source has voted."""
    from relocate_proxy.host import source

    source.thaw(arguments[0], unless_voted=True)
    return 0


def runtime(arguments: list[str]) -> int:
    """The OCI runtime of a prepared target."""
    from relocate_proxy.criu import runtime as module

    return module.main(arguments)


def shim(arguments: list[str]) -> int:
    """What stands between runc and CRIU."""
    from relocate_proxy.criu import shim as module

    return module.main(arguments)


VERBS: dict[str, Callable[[list[str]], int]] = {
    verb.__name__: verb
    for verb in (
        offer,
        arm,
        fill,
        settle,
        fire,
        coordinate,
        recover,
        remembered,
        publish,
        enrol,
        guard,
        left,
        back,
        readmit,
        survey,
        agent,
        thaw,
        runtime,
        shim,
    )
}


def main(arguments: list[str]) -> int:
    """Run one verb."""
    if not arguments or arguments[0] not in VERBS:
        print(f"usage: relocate-proxy {{{'|'.join(VERBS)}}}", file=sys.stderr)
        return 2
    from relocate_proxy.kernel import logs

    logs.start()
    try:
        return VERBS[arguments[0]](arguments[1:])
    except KeyboardInterrupt:
        return 130
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        print(f"relocate-proxy {arguments[0]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        print(f"relocate-proxy {arguments[0]}: {error}", file=sys.stderr)
        return 1
