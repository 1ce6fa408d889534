"""Which services of a project could move, and the project as a whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relocate_cli.compose import mounts, read, translate
from relocate_cli.compose.document import ComposeError
from relocate_cli.compose.mounts import Mount
from relocate_cli.compose.needs import needs
from relocate_cli.compose.read import Project
from relocate_cli.compose.rules import Document, Rules
from relocate_cli.fleet import Obstacle

if TYPE_CHECKING:
    from relocate_proxy.survey.surroundings import Surroundings


@dataclass(frozen=True)
class Service:
    """``carried``: what would go with it; ``needs``: what a target would have to have."""

    name: str
    obstacles: tuple[Obstacle, ...]
    carried: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def movable(self) -> bool:
        """Whether nothing is in its way."""
        return not self.obstacles


@dataclass(frozen=True)
class Verdict:
    """On one file. ``obstacles``: why it could not be read; ``unlabelled``: services whose tenant has not
    opted in; ``unset``: variables taken for empty."""

    file: Path
    obstacles: tuple[Obstacle, ...] = ()
    services: tuple[Service, ...] = ()
    unlabelled: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    @property
    def movable(self) -> bool:
        """Whether all of it could move."""
        return not self.obstacles and all(each.movable for each in self.services)


def judge(file: Path, rules: Rules) -> Verdict:
    """The verdict on one Compose file, whatever is in it."""
    try:
        return _judged(read.read(file), rules)
    except ComposeError as error:
        return Verdict(file, (Obstacle(error.message, error.hint),))


def _judged(project: Project, rules: Rules) -> Verdict:
    documents: dict[str, Document] = {}
    replicas: list[Document] = []
    wrong: dict[str, Obstacle] = {}
    for name, service in project.services.items():
        if "provider" in service:  # no container of its own
            continue
        try:
            documents[name] = document = translate.document(project, name)
            replicas += [each for each in [translate.replica(project, name, document)] if each]
        except ComposeError as error:
            wrong[name] = Obstacle(error.message, error.hint)
    volumes = {each["Name"] for found in documents.values() for each in found["Mounts"] if "Name" in each}
    around = rules.around(
        [*documents.values(), *replicas],
        translate.network_documents(project),
        [mounts.volume_document(project, name) for name in sorted(volumes)],
    )
    services = (
        Service(name, (wrong[name],))
        if name in wrong
        else _service(project, name, documents[name], around, rules)
        for name in project.services
        if name in wrong or name in documents
    )
    unlabelled = tuple(name for name, each in documents.items() if not rules.enabled(each))
    return Verdict(project.file, (), tuple(services), unlabelled, tuple(sorted(project.unset)))


def _service(
    project: Project, name: str, document: Document, around: "Surroundings", rules: Rules
) -> Service:
    obstacles = rules.obstacles(document, around)
    mounted = [each for each in mounts.of_service(project, project.services[name]) if each.kind != "tmpfs"]
    if obstacles and mounted:
        without = set(rules.obstacles(translate.only(project, name, document), around))
        mounted = [
            each
            for each in mounted
            if set(rules.obstacles(translate.only(project, name, document, each), around)) <= without
        ]
    shared = [
        each
        for each in mounted
        if each.kind == "volume" and not rules.travels(mounts.volume_document(project, each.source))
    ]
    wanted = needs(document, [each.source for each in shared])
    carried = (_told(each) for each in mounted if each not in shared)
    return Service(name, obstacles, (*carried, *wanted.made), wanted.lacking)


def _told(mount: Mount) -> str:
    if mount.kind == "volume":
        return f"volume {mount.source}" if mount.source else f"volume at {mount.target}"
    return f"{mount.kind} {mount.source}" if mount.kind != "bind" else f"files {mount.source}"
