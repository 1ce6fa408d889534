"""What a host remembers of a relocation: volatile facts under /run, durable ones under /var/lib, and the
decision of the source."""

import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from relocate_proxy import paths

Facts = dict[str, Any]
DECISION_SECONDS = 86400.0


def write(path: Path, facts: Facts, durable: bool = False) -> None:
    """Replace a JSON file as a whole; with ``durable`` it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = _partial(path)
    with partial.open("w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        json.dump(facts, stream)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    partial.rename(path)


def _partial(path: Path) -> Path:
    """What a writer that was killed leaves."""
    return path.with_suffix(".partial")


def read(path: Path) -> Facts:
    """A JSON file; empty if it is not there or was cut off."""
    with contextlib.suppress(OSError, ValueError):
        facts: Facts = json.loads(path.read_text())
        return facts
    return {}


def open_record(relocation: str) -> Path:
    """The durable record of a relocation that is open on this host: it survives a reboot."""
    return paths.STATE / "open" / f"{relocation}.json"


def remembered() -> list[Facts]:
    """``id``, ``side``, ``container`` and ``vip`` of every relocation that is open on this host."""
    found = [(path.stem, read(path)) for path in sorted((paths.STATE / "open").glob("*.json"))]
    return [
        {"id": i, **{key: facts[key] for key in ("side", "container", "vip")}} for i, facts in found if facts
    ]


def unfired(side: str, container: str) -> list[str]:
    """Relocations of a container that were armed here but never fired: an interrupted run left them."""
    known = [(entry["id"], read(open_record(entry["id"]))) for entry in remembered()]
    return [i for i, f in known if (f["side"], f["container"]) == (side, container) and not f.get("fired")]


def fire(relocation: str) -> None:
    """Note that host0 has taken a relocation up: from now on only it may call it off, whatever befalls this
    host. Of a relocation that was forgotten there is nothing to note."""
    path = open_record(relocation)
    if facts := read(path):
        write(path, {**facts, "fired": True}, durable=True)


def facts_file(relocation: str, side: str) -> Path:
    """The volatile facts of one ``side``, ``source`` or ``target``."""
    return paths.run_dir(relocation) / f"{side}.json"


def decide(relocation: str, decision: str) -> bool:
    """Take the source's one decision, ``voted`` or ``thawed``: the first caller wins, whoever it is;
    True if it now stands so.

    It outlives ``forget``: who comes late with a vote, or with a freeze, must find it.
    """
    directory = paths.RUN / "decided"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    mine = directory / f"{relocation}.{os.getpid()}.{threading.get_ident()}"
    mine.write_text(decision)
    try:
        os.link(mine, directory / relocation)
    except FileExistsError:
        return decided(relocation) == decision
    finally:
        mine.unlink()
    return True


def decided(relocation: str) -> str:
    """``voted``, ``thawed`` or an empty string."""
    try:
        return (paths.RUN / "decided" / relocation).read_text()
    except OSError:
        return ""


def forget(relocation: str) -> None:
    """Remove all that this host remembers of a relocation but its decision, which stays for a day."""
    for path in (open_record(relocation), _partial(open_record(relocation))):
        path.unlink(missing_ok=True)
    shutil.rmtree(paths.run_dir(relocation), ignore_errors=True)
    for decision in (paths.RUN / "decided").glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - decision.stat().st_mtime > DECISION_SECONDS:
                decision.unlink()
