"""Docker's command lines that wait on this host for a container's end: what is behind one (a systemd unit
with Restart=always, a script) takes a move for that end and starts the container again, beside the one that
moved.

The engine does not say who is attached, and what `docker inspect` says of the creation (AttachStdout) is true
of many that run detached: all of `docker compose` and of `docker create`. Clients on other machines are not
seen; nor are those in a container, where any tenant may call a program docker, and name his neighbours.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = {"docker", "docker-compose"}
VALUED = {"-H", "--host", "-c", "--context", "--config", "-l", "--log-level"}
PROGRAM_BYTES = 4096
LINE_BYTES = 1 << 20
PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class Client:
    """One running command line of docker: its verb, the words after it, and the directory it runs in."""

    pid: int
    verb: str
    words: tuple[str, ...]
    directory: str = ""


def running(proc: Path = Path("/proc")) -> list[Client]:
    """Every one of this host, whoever started it."""
    found = []
    ours = (proc / "self/ns/pid").stat().st_ino
    for process in proc.iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if process.name.isdecimal() and (client := _client(process, ours)):
                found.append(client)
    return found


def waiting(inspect: dict[str, Any], clients: Iterable[Client]) -> Iterator[Client]:
    """Those of ``clients`` that wait for the end of this container."""
    for client in clients:
        match client.verb:
            case "run":
                concerns = _ran(inspect, client.words)
            case "start":
                attached = any(re.fullmatch(r"--attach|--interactive|-[ai]+", word) for word in client.words)
                concerns = attached and _named(inspect, client.words)
            case "attach" | "wait":
                concerns = _named(inspect, client.words)
            case "compose up":
                concerns = _composed(inspect, client)
            case _:
                concerns = False
        if concerns:
            yield client


def _client(process: Path, namespace: int) -> Client | None:
    with (process / "cmdline").open("rb") as stream:
        line = stream.read(PROGRAM_BYTES)
        if Path(line.partition(b"\0")[0].decode(errors="replace")).name not in PROGRAMS:
            return None
        line += stream.read(LINE_BYTES)
    if (process / "ns/pid").stat().st_ino != namespace:
        return None
    words = line.decode(errors="replace").rstrip("\0").split("\0")
    verb, rest = _verb(words[1:])
    if verb == "container":
        verb, rest = _verb(rest)
    elif verb == "compose" or words[0].endswith("-compose"):
        # The plug-in's own command line repeats the word; a project may be named before the verb.
        verb, rest = ("compose up" if "up" in words else "compose"), words[1:]
    return Client(int(process.name), verb, tuple(rest), str((process / "cwd").readlink()))


def _verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """The first word that is no option, and what comes after it."""
    left = list(words)
    while left and left[0].startswith("-"):
        del left[: 2 if left[0] in VALUED else 1]
    return (left[0], left[1:]) if left else ("", [])


def _name(inspect: dict[str, Any]) -> str:
    return str(inspect.get("Name", "")).lstrip("/")


def _named(inspect: dict[str, Any], words: Iterable[str]) -> bool:
    name, identity = _name(inspect), str(inspect.get("Id", ""))
    return any(word == name or (len(word) >= 4 and identity.startswith(word)) for word in words)


def _ran(inspect: dict[str, Any], words: Sequence[str]) -> bool:
    """Whether `docker run` with these words has made it; one without --name is known by its image."""
    config = inspect["Config"]
    if not any(config.get(f"Attach{stream}") for stream in ("Stdin", "Stdout", "Stderr")):
        return False  # with -d
    if given := _value(words, "--name"):
        return given == _name(inspect)
    return config.get("Image") in words


def _composed(inspect: dict[str, Any], client: Client) -> bool:
    labels = inspect["Config"].get("Labels") or {}
    if PROJECT not in labels or {"-d", "--detach", "--wait"} & set(client.words):
        return False
    given = _value(client.words, "-p") or _value(client.words, "--project-name")
    return given == labels[PROJECT] if given else client.directory == labels.get(f"{PROJECT}.working_dir")


def _value(words: Sequence[str], option: str) -> str:
    """What follows an option, "" if it is not among the words."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == option:
            return after
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""
