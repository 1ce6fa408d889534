"""What happened and what is due: SQLite in the state directory, and the lock of the controller.

This is the controller's memory. Where a container lives is decided by host0's own journal alone.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from relocate_cli.errors import LockedError, UsageError
from relocate_cli.plan import Outcome, Phase, Relocation, inventory_of

_SCHEMA = """
CREATE TABLE IF NOT EXISTS relocation (
    id TEXT PRIMARY KEY, container TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
    vip TEXT NOT NULL, old_ip TEXT NOT NULL, new_ip TEXT NOT NULL, started REAL NOT NULL, ended REAL,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, window_ms REAL, phases TEXT NOT NULL,
    inventory TEXT NOT NULL DEFAULT 'null');
CREATE INDEX IF NOT EXISTS relocation_started ON relocation (started);
CREATE INDEX IF NOT EXISTS relocation_open ON relocation (started) WHERE outcome = 'open';
CREATE TABLE IF NOT EXISTS survey (
    host TEXT PRIMARY KEY, taken_at REAL,
    document TEXT NOT NULL, variables TEXT NOT NULL, error TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vip (container TEXT PRIMARY KEY, address TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS due (
    container TEXT PRIMARY KEY, at REAL NOT NULL, since REAL NOT NULL, drawn REAL NOT NULL,
    policy TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS drained (host TEXT PRIMARY KEY, since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# The table has these columns in this order; the spans of a window are for whoever asked for a trace.
_RELOCATION = tuple(entry.name for entry in fields(Relocation) if entry.name != "spans")


@dataclass(frozen=True)
class Survey:
    """What is known of one host: its last survey document, its inventory variables, why the last look failed.

    ``taken_at`` is None when the host has never answered.
    """

    host: str
    taken_at: float | None
    document: Mapping[str, Any]
    variables: Mapping[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Due:
    """When a container moves next: drawn at ``drawn``, for a clock started at ``since``, by ``policy``."""

    container: str
    at: float
    since: float
    drawn: float
    policy: str


class Journal:
    """Opened by each verb, closed by ``with``. Every method is one transaction."""

    def __init__(self, state: Path) -> None:
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            _keep_secret(state / "journal.sqlite")
            # autocommit; writers of two processes wait for each other
            self._db = sqlite3.connect(state / "journal.sqlite", timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
            self._grow()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"{state}: the journal cannot be opened: {error}", "set state_dir to a directory of yours"
            ) from None

    def _grow(self) -> None:
        """Give a journal of before the columns that have come since."""
        known = {row[1] for row in self._db.execute("PRAGMA table_info(relocation)")}
        if "inventory" not in known:
            self._db.execute("ALTER TABLE relocation ADD COLUMN inventory TEXT NOT NULL DEFAULT 'null'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Relocations

    def record(self, relocation: Relocation) -> None:
        """Write a relocation, or its new state if it is already there."""
        self._db.execute(
            "INSERT OR REPLACE INTO relocation VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                relocation.id,
                relocation.container,
                relocation.source,
                relocation.target,
                relocation.vip,
                relocation.old_ip,
                relocation.new_ip,
                relocation.started,
                relocation.ended,
                str(relocation.outcome),
                relocation.reason,
                relocation.window_ms,
                json.dumps([[phase.name, phase.ms] for phase in relocation.phases]),
                json.dumps(asdict(relocation.inventory) if relocation.inventory else None),
            ),
        )

    def relocations(
        self, *, container: str | None = None, since: float = 0.0, limit: int | None = None
    ) -> tuple[Relocation, ...]:
        """The newest ``limit`` relocations, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM relocation WHERE started >= ? AND (? IS NULL OR container = ?)"
            " ORDER BY started DESC, rowid DESC LIMIT ?",
            (since, container, container, -1 if limit is None else limit),
        ).fetchall()
        return tuple(_relocation(row) for row in reversed(rows))

    def open_relocations(self) -> tuple[Relocation, ...]:
        """Those of which nobody has said how they ended: they need `relocate recover`."""
        rows = self._db.execute("SELECT * FROM relocation WHERE outcome = 'open' ORDER BY started, rowid")
        return tuple(map(_relocation, rows))

    # Facts

    def keep_surveys(self, inventory: str, surveys: Sequence[Survey], vips: Mapping[str, str]) -> None:
        """Replace what is known. A survey that failed keeps the document of the last one that did not."""
        with self._transaction() as db:
            known = {entry.host: entry for entry in self.surveys(inventory)}
            db.execute("DELETE FROM survey")
            for entry in surveys:
                old = known.get(entry.host)
                if entry.error and old is not None:
                    entry = replace(entry, taken_at=old.taken_at, document=old.document)
                db.execute("INSERT INTO survey VALUES (?,?,?,?,?)", _survey_row(entry))
            db.execute("DELETE FROM vip")
            db.executemany("INSERT INTO vip VALUES (?,?)", vips.items())
            db.execute("INSERT OR REPLACE INTO meta VALUES ('inventory', ?)", (inventory,))
            db.execute("DELETE FROM meta WHERE name = 'distrusted'")

    def surveys(self, inventory: str) -> tuple[Survey, ...]:
        """The last survey of each host, if it was of this inventory."""
        if self._db.execute("SELECT value FROM meta WHERE name = 'inventory'").fetchone() != (inventory,):
            return ()
        rows = self._db.execute("SELECT host, taken_at, document, variables, error FROM survey ORDER BY host")
        return tuple(Survey(row[0], row[1], json.loads(row[2]), json.loads(row[3]), row[4]) for row in rows)

    def distrust(self) -> None:
        """What is known may no longer be so: the next decision has to ask the hosts."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('distrusted', 'yes')")

    @property
    def trusted(self) -> bool:
        """Whether nothing has happened since the last survey that may have changed what it found."""
        return self._db.execute("SELECT 1 FROM meta WHERE name = 'distrusted'").fetchone() is None

    def vips(self) -> dict[str, str]:
        """Stable address of each container that has one."""
        return dict(self._db.execute("SELECT container, address FROM vip ORDER BY container"))

    def container_moved(self, relocation: Relocation) -> None:
        """Keep the facts true after a relocation, so that the next verb need not survey again."""
        with self._transaction() as db:
            both = (relocation.source, relocation.target)
            rows = db.execute("SELECT host, document FROM survey WHERE host IN (?, ?)", both)
            documents = dict(rows.fetchall())
            if not set(both) <= documents.keys():
                return
            source, target = (json.loads(documents[host]) for host in both)
            there = [entry for entry in source.get("containers", []) if entry["name"] == relocation.container]
            if len(there) != 1:
                return
            source["containers"].remove(there[0])
            moved = {**there[0], "ip": relocation.new_ip, "started_at": relocation.ended or time.time()}
            target.setdefault("containers", []).append(moved)
            for document, change in ((source, set.difference), (target, set.union)):
                capacity = document.setdefault("capacity", {})
                taken = set(capacity.get("published_ports", ()))
                capacity["published_ports"] = sorted(change(taken, moved.get("ports", ())))
            for host, document in ((relocation.source, source), (relocation.target, target)):
                db.execute("UPDATE survey SET document = ? WHERE host = ?", (json.dumps(document), host))

    # What is due

    def set_due(self, entries: Sequence[Due]) -> None:
        """Write or replace the next times of these containers."""
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO due VALUES (?,?,?,?,?)",
                [(entry.container, entry.at, entry.since, entry.drawn, entry.policy) for entry in entries],
            )

    def forget_due(self, containers: Sequence[str]) -> None:
        """These containers are gone or no longer take part."""
        with self._transaction() as db:
            db.executemany("DELETE FROM due WHERE container = ?", [(name,) for name in containers])

    def due(self) -> tuple[Due, ...]:
        """Next times of all containers, soonest first."""
        rows = self._db.execute("SELECT container, at, since, drawn, policy FROM due ORDER BY at, container")
        return tuple(Due(*row) for row in rows)

    # Drained hosts

    def drain(self, host: str) -> None:
        """No container moves to this host from now on."""
        self._db.execute("INSERT OR IGNORE INTO drained VALUES (?,?)", (host, time.time()))

    def undrain(self, host: str) -> None:
        """Take the host back."""
        self._db.execute("DELETE FROM drained WHERE host = ?", (host,))

    def drained(self) -> frozenset[str]:
        """Hosts that are to be, or are, empty."""
        return frozenset(row[0] for row in self._db.execute("SELECT host FROM drained"))


def _relocation(row: Sequence[Any]) -> Relocation:
    facts: dict[str, Any] = dict(zip(_RELOCATION, row, strict=True))
    facts["outcome"] = Outcome(facts["outcome"])
    facts["inventory"] = inventory_of(json.loads(facts["inventory"]))
    facts["phases"] = tuple(Phase(name, ms) for name, ms in json.loads(facts["phases"]))
    return Relocation(**facts)


def _keep_secret(path: Path) -> None:
    """Nobody else is told when a container moves next. SQLite gives what it writes beside it this mode."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    if path.stat().st_mode & 0o077:  # it is from before
        path.chmod(0o600)


def _survey_row(entry: Survey) -> tuple[Any, ...]:
    return (entry.host, entry.taken_at, json.dumps(entry.document), json.dumps(entry.variables), entry.error)


@contextmanager
def lock(state: Path, wait: float = 0.0) -> Iterator[None]:
    """Be the only run that changes this fleet; wait ``wait`` seconds for another one to end.

    Raises LockedError, which names the other's pid. The kernel lets go when a process dies.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.fdopen(os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+")
    except OSError as error:
        raise UsageError(f"{state}: {error.strerror}", "set state_dir to a directory of yours") from None
    with handle:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    handle.seek(0)
                    raise LockedError(
                        f"another run (pid {handle.read().strip() or 'unknown'}) is at work",
                        "try again, or wait for it with --wait SECONDS",
                    ) from None
                time.sleep(0.1)
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield
