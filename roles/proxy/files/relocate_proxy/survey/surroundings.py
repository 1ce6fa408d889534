"""What on its host keeps a container where it is: those who share its namespaces, the kinds of its networks,
and who waits for its end."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks, volumes
from relocate_proxy.engine import EngineError
from relocate_proxy.survey import clients, confinement
from relocate_proxy.survey.clients import Client
from relocate_proxy.survey.confinement import Permits

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """``neighbours``: the engine's documents of running containers; ``drivers``: of its networks, by name;
    ``fixed``: of bridge networks why they cannot be made elsewhere, those that can left out; ``volumes``: the
    engine's documents by name, ``users``: of each the ids and names of the containers that have it.

    A neighbour's document may be its line in a listing, which knows ``NetworkMode`` only.
    """

    neighbours: Sequence[JsonObject] = ()
    drivers: Mapping[str, str] = field(default_factory=dict)
    clients: Sequence[Client] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, JsonObject] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    permits: Permits = confinement.NOTHING

    @property
    def no_bridges(self) -> dict[str, str]:
        """Drivers of the networks whose names a container's bridge cannot have here."""
        return {name: driver for name, driver in self.drivers.items() if driver != "bridge"}


def look() -> Surroundings:
    """All of them. Raises EngineError when the engine does not answer."""
    return _around(running())


def glance() -> Surroundings:
    """As ``look``, at the price of four requests however many containers there are: who has joined another's
    pid namespace is not seen. For who looks once for each container. Raises EngineError."""
    return _around(engine.look_up("/containers/json"))


def running() -> list[JsonObject]:
    """The engine's full documents of the running containers.

    A container that is arriving or has just gone is left out: the engine would not answer for the one until
    its relocation has ended, and does not know the other. Raises EngineError.
    """
    listed = [str(entry["Id"]) for entry in engine.look_up("/containers/json")]
    with ThreadPoolExecutor(8) as pool:  # of one that is stuck the engine answers late
        documents = pool.map(_document, [each for each in listed if not (paths.TARGETS / each).exists()])
        return [document for document in documents if document is not None]


def _document(identity: str) -> JsonObject | None:
    """Of one that is not there any more, None."""
    try:
        document: JsonObject = engine.look_up(f"/containers/{identity}/json")
    except EngineError:
        return None
    return document


def of(
    neighbours: Sequence[JsonObject],
    listing: Sequence[JsonObject],
    known: Sequence[JsonObject],
    users: Mapping[str, Mapping[str, str]],
) -> Surroundings:
    """What the engine tells of containers, networks (``listing``) and volumes (``known``). Pure."""
    bridges = [each for each in listing if each["Driver"] == "bridge" and each["Name"] != networks.DEFAULT]
    return Surroundings(
        neighbours=neighbours,
        drivers={each["Name"]: each["Driver"] for each in listing},
        fixed={each["Name"]: why for each in bridges if (why := networks.unable(each))},
        volumes={each["Name"]: each for each in known},
        users=users,
    )


def _around(neighbours: Sequence[JsonObject]) -> Surroundings:
    listing = engine.look_up("/networks")
    known = engine.look_up("/volumes").get("Volumes") or []
    found = of(neighbours, listing, known, volumes.users())
    return replace(found, clients=clients.running(), permits=confinement.permits())
