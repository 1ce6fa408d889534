"""The preflight's own rules, which are the host program's: the one place that imports it."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from relocate_cli import content
from relocate_cli.fleet import Obstacle

if TYPE_CHECKING:
    from relocate_proxy.survey.surroundings import Surroundings

Document = dict[str, Any]


class Rules:
    """The preflight. Raises UsageError where this installation lacks it."""

    def __init__(self) -> None:
        program = str(content.find() / "roles/proxy/files")
        if program not in sys.path:
            sys.path.append(program)  # last: it hides nobody's module
        from relocate_proxy.belongings import volumes
        from relocate_proxy.survey import preflight, surroundings

        self._preflight = preflight
        self._surroundings = surroundings
        self._volumes = volumes

    def around(
        self, containers: Sequence[Document], networks: Sequence[Document], volumes: Sequence[Document]
    ) -> "Surroundings":
        """What would be on a host that runs a whole project, by the engine's documents."""
        users: dict[str, dict[str, str]] = {}
        for container in containers:
            for mount in container["Mounts"]:
                if mount["Type"] == "volume":
                    users.setdefault(mount["Name"], {})[container["Id"]] = container["Name"].lstrip("/")
        return self._surroundings.of(containers, networks, volumes, users)

    def travels(self, volume: Document) -> bool:
        """Whether a volume goes with its container, and is not the same wherever it is mounted."""
        return self._volumes.of_this_host_alone(volume)

    def obstacles(self, container: Document, around: "Surroundings") -> tuple[Obstacle, ...]:
        """Why a container with this document could not move. Its label is not asked for."""
        labels = {**container["Config"]["Labels"], self._preflight.LABEL: "true"}
        asked = {**container, "Config": {**container["Config"], "Labels": labels}}
        found = self._preflight.obstacles(asked, around)
        return tuple(dict.fromkeys(Obstacle(each["reason"], each["hint"]) for each in found))

    def enabled(self, container: Document) -> bool:
        """Whether its tenant lets it take part."""
        return self._preflight.enabled(container["Config"]["Labels"])
