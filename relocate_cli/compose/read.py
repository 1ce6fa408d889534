"""Compose files as Compose reads them: overrides, ``include``, ``extends`` and variables, of local files."""

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relocate_cli.compose import document, merge, variables
from relocate_cli.compose.document import ComposeError, Tagged, Tree
from relocate_cli.compose.variables import Variables
from relocate_cli.errors import UsageError
from relocate_cli.order import natural

FILES = ("compose.yaml", "compose.yml", "docker-compose.y*ml")
OVERRIDES = tuple(
    f"{stem}.override.{end}" for stem in ("compose", "docker-compose") for end in ("yml", "yaml")
)
SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
# Of a service; no rule asks for them, and they are most of a file.
PASSED_OVER = {
    "build",
    "command",
    "depends_on",
    "develop",
    "entrypoint",
    "env_file",
    "environment",
    "healthcheck",
}
DEEPEST = 20  # includes, and services that extend others
REMOTE = re.compile(r"[a-z+]+://|git@|oci:|github\.com/")
WHOLE = "see `docker compose config`"


@dataclass(frozen=True)
class Project:
    """What a Compose file describes. ``unset``: variables that have neither a value nor a default."""

    file: Path
    name: str
    services: Mapping[str, Tree]
    networks: Mapping[str, Tree] = field(default_factory=dict)
    volumes: Mapping[str, Tree] = field(default_factory=dict)
    secrets: Mapping[str, Tree] = field(default_factory=dict)
    configs: Mapping[str, Tree] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()


def find(path: Path) -> list[Path]:
    """The file itself, or those below a directory that Compose finds by itself. Raises UsageError."""
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"{path}: no such file", "name a Compose file, or a directory that has some")
        return [path]
    found = [
        Path(place, name)
        for place, _, names in os.walk(path)
        for name in names
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in FILES)
    ]
    if not found:
        raise UsageError(f"{path}: no Compose file is below it", f"name a file: {', '.join(FILES)}")
    return sorted(found, key=lambda each: natural(str(each)))


def read(file: Path) -> Project:
    """The project of a file. Raises ComposeError."""
    place = file.absolute().parent
    lookup = Variables(_environment(place, {"PWD": str(place), "HOME": str(Path.home())}))
    paths = [file.absolute()]
    if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in FILES):
        paths += [each for name in OVERRIDES if _is_file(each := place / name)][:1]
    tree = _Reader(lookup).files(paths, place, ())
    sections = {name: _section(tree, name) for name in SECTIONS}
    if not sections["services"]:
        raise ComposeError("it has no services", "a Compose file has `services:` at its top")
    services = {name: _service(name, each) for name, each in sections.pop("services").items()}
    wanted = str(tree.get("name") or lookup.values.get("COMPOSE_PROJECT_NAME") or place.name)
    name = re.sub(r"[^a-z0-9_-]", "", wanted.lower()).lstrip("_-") or "project"
    others = {
        section: {key: each if isinstance(each, dict) else {} for key, each in found.items()}
        for section, found in sections.items()
    }
    return Project(file, name, services, unset=frozenset(lookup.missing), **others)


def _environment(place: Path, known: Mapping[str, str]) -> dict[str, str]:
    beside = place / ".env"
    return variables.environment(beside, known) if _is_file(beside) else dict(known)


def _relevant(tree: Tree) -> Tree:
    """What can matter to a move."""
    found = {key: tree[key] for key in ("name", "include", *SECTIONS) if key in tree}
    if isinstance(services := found.get("services"), dict):
        found["services"] = {
            name: {key: value for key, value in each.items() if key not in PASSED_OVER}
            if isinstance(each, dict)
            else each
            for name, each in services.items()
        }
    return found


def _section(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    if found is not None and not isinstance(found, dict):
        raise ComposeError(f"its {name} are no mapping", WHOLE)
    return found or {}


def _service(name: str, tree: Any) -> Tree:
    if not isinstance(tree, dict):
        raise ComposeError(f"its service {name} is no mapping", WHOLE)
    return tree


class _Reader:
    """Files of one project, and the variables that are filled in."""

    def __init__(self, lookup: Variables) -> None:
        self._variables = lookup
        self._files: dict[Path, Tree] = {}

    def files(self, paths: list[Path], place: Path, above: tuple[Path, ...]) -> Tree:
        """Each file over those before it, with what they include; ``place``: where relative paths start."""
        whole: Tree = {}
        for path in paths:
            tree = self._file(path)
            services = _section(tree, "services")
            extended = {
                name: _anchored(self._extended(services, name, path, ()), place)
                if isinstance(each, dict)
                else each
                for name, each in services.items()
            }
            whole = merge.over(whole, _anchored_files({**tree, "services": extended}, place))
        whole = merge.settled(whole)
        for included in self._included(whole.pop("include", None), place, (*above, paths[0].resolve())):
            for name in SECTIONS:
                whole[name] = {**_section(included, name), **_section(whole, name)}
        return whole

    def _file(self, path: Path) -> Tree:
        """One file's documents, with variables filled in."""
        if path not in self._files:
            tree: Tree = {}
            for each in document.load(path):
                tree = merge.over(tree, each)
            self._files[path] = self._variables.fill(_relevant(tree))
        return self._files[path]

    def _included(self, wanted: Any, place: Path, above: tuple[Path, ...]) -> Iterator[Tree]:
        for entry in wanted if isinstance(wanted, list) else [wanted] if wanted else []:
            said = entry if isinstance(entry, dict) else {"path": entry}
            named = said.get("path")
            paths = [
                self._local(str(each), place) for each in (named if isinstance(named, list) else [named])
            ]
            if not paths or paths[0].resolve() in above or len(above) > DEEPEST:
                raise ComposeError("it includes itself", WHOLE)
            folder = said.get("project_directory")
            theirs = place / str(folder) if folder else paths[0].parent
            lookup = Variables(_environment(theirs, self._variables.values))
            lookup.missing = self._variables.missing
            yield _Reader(lookup).files(paths, theirs, above)

    def _local(self, name: str, place: Path) -> Path:
        if REMOTE.match(name):
            raise ComposeError(
                f"it needs {name[:80]}, which is not here", "fetch it, and name the local file"
            )
        path = Path(absolute(name, place))
        if not _is_file(path):
            raise ComposeError(f"it needs {name[:80]}, which is not here", "check the whole directory")
        return path

    def _extended(self, services: Tree, name: str, path: Path, above: tuple[tuple[Path, str], ...]) -> Tree:
        """A service over the one that it extends, which may be of another file."""
        service = _service(name, services.get(name))
        wanted = service.get("extends")
        if not wanted:
            return service
        if (path, name) in above or len(above) > DEEPEST:
            raise ComposeError(f"its service {name} extends itself", WHOLE)
        said = wanted if isinstance(wanted, dict) else {"service": wanted}
        base, file = str(said.get("service")), said.get("file")
        source = self._local(str(file), path.parent) if file else path
        others = _section(self._file(source), "services") if file else services
        if not isinstance(others.get(base), dict):
            raise ComposeError(f"its service {name} extends {base}, which is not there", WHOLE)
        inherited = self._extended(others, base, source, (*above, (path, name)))
        if file:
            inherited = _anchored(inherited, source.parent)
        own = {key: value for key, value in service.items() if key != "extends"}
        merged: Tree = merge.over({key: each for key, each in inherited.items() if key != "extends"}, own)
        return merged


def _anchored(service: Tree, place: Path) -> Tree:
    """The service with the relative paths of its bind mounts from the root."""
    return (
        {**service, "volumes": _anchored_mount(service["volumes"], place)}
        if "volumes" in service
        else service
    )


def _anchored_mount(mount: Any, place: Path) -> Any:
    if isinstance(mount, list):
        return [_anchored_mount(each, place) for each in mount]
    if isinstance(mount, Tagged):
        return Tagged(mount.kind, _anchored_mount(mount.value, place))
    if isinstance(mount, str):
        source, colon, rest = mount.partition(":")
        return f"{absolute(source, place)}:{rest}" if colon and source.startswith((".", "~")) else mount
    if isinstance(mount, dict) and mount.get("type") == "bind" and isinstance(mount.get("source"), str):
        return {**mount, "source": absolute(mount["source"], place)}
    return mount


def _anchored_files(tree: Tree, place: Path) -> Tree:
    """The tree with the files of its secrets and configs named from the root."""
    found = dict(tree)
    for name in ("secrets", "configs"):
        if isinstance(section := tree.get(name), dict):
            found[name] = {
                key: {**each, "file": absolute(each["file"], place)}
                if isinstance(each, dict) and isinstance(each.get("file"), str)
                else each
                for key, each in section.items()
            }
    return found


def absolute(path: str, place: Path) -> str:
    """As the engine is told it."""
    if path == "~" or path.startswith("~/"):
        path = str(Path.home()) + path[1:]
    return os.path.normpath(place / path)


def _is_file(path: Path) -> bool:
    """Also of a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
