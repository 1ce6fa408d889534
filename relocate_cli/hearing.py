"""Makes a fleet of the survey documents that hosts have sent (docs/developers.md has their shape).

What is not of that shape concerns the host that said it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from relocate_cli.fleet import GROUPS, Capacity, Container, Criu, FeatureValue, Fleet, Host, Obstacle
from relocate_cli.journal import Survey
from relocate_cli.order import natural
from relocate_cli.said import NAME, PORT, WORD, Said, SaidError

MOST_FEATURES = 32  # of a group that a host says itself


def build(surveys: Sequence[Survey], vips: Mapping[str, str], drained: Iterable[str] = ()) -> Fleet:
    """Make a fleet of what the journal keeps.

    The inventory's variable ``relocate_features`` overrides and adds features. A host whose document is not
    what docs/developers.md says has that as its error; it is that host's alone.
    """
    away = frozenset(drained)
    ordered = sorted(surveys, key=lambda survey: natural(survey.host))
    return Fleet(_agreeing([_host(entry, vips, entry.host in away) for entry in ordered]))


def misunderstood(document: Mapping[str, Any]) -> str:
    """What in a survey document is not as docs/developers.md says; "" if all is."""
    try:
        _read(Survey("", None, document, {}), {}, False)
    except SaidError as error:
        return str(error)
    return ""


def _host(survey: Survey, vips: Mapping[str, str], drained: bool) -> Host:
    try:
        return _read(survey, vips, drained)
    except SaidError as error:
        why = survey.error or f"its survey is not understood: {error} (`relocate provision`, or look at it)"
        return Host(survey.host, None, {group: {} for group in GROUPS}, drained=drained, error=why)


def _read(survey: Survey, vips: Mapping[str, str], drained: bool) -> Host:
    """Raises SaidError."""
    document = Said(survey.document)
    said, criu = document.inner("capacity"), document.inner("criu")
    sizes = ("memory_bytes", "memory_free_bytes", "disk_free_bytes", "storage_free_bytes", "mtu")
    return Host(
        name=survey.host,
        taken_at=survey.taken_at,
        features=_features(document.inner("features"), survey.variables.get("relocate_features", {})),
        capacity=Capacity(
            cpus=said.number("cpus", 0.0),
            **{key: said.count(key, 0) for key in (*sizes, "possible_cpus")},
            published_ports=said.words("published_ports", PORT),
            no_bridges=said.texts("no_bridges"),
            volumes=said.words("volumes") if "volumes" in said else None,
        ),
        criu=Criu(
            **{key: criu.word(key, "") for key in ("version", "check", "kernel", "arch")},
            cgroup=criu.count("cgroup", 2),
            cpu_flags=criu.words("cpu_flags"),
            features=criu.words("features"),
        ),
        containers=tuple(_container(entry, survey.host, vips) for entry in document.objects("containers")),
        drained=drained,
        error=survey.error,
        clock_seconds=document.number("clock_seconds", 0.0),
    )


def _features(found: Said, override: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, FeatureValue]]:
    """The host's own are bounded in number, kind and size: they decide how different it looks."""
    features: dict[str, dict[str, FeatureValue]] = {}
    for group in GROUPS:
        mine = found.inner(group)
        features[group] = {name[:WORD]: _feature(mine, name) for name in sorted(mine.value)[:MOST_FEATURES]}
        for name, value in override.get(group, {}).items():
            features[group][name] = frozenset(map(str, value)) if isinstance(value, list | tuple) else value
    return features


def _feature(group: Said, name: str) -> FeatureValue:
    value = group.value[name]
    if isinstance(value, list | tuple):
        return group.words(name)
    return group.word(name)[:WORD] if isinstance(value, str) else group.number(name)


def _agreeing(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Without features that are of another kind than most hosts have them: one that says a word where the
    others have sets would change how different these are from each other."""
    kinds: dict[tuple[str, str], Counter[type]] = defaultdict(Counter)
    for host in hosts:
        for group, features in host.features.items():
            for name, value in features.items():
                kinds[group, name][type(value)] += 1
    usual = {key: found.most_common(1)[0][0] for key, found in kinds.items()}
    odd = {key for key, found in kinds.items() if len(found) > 1}
    return tuple(_without(host, odd, usual) for host in hosts) if odd else tuple(hosts)


def _without(host: Host, odd: Set[tuple[str, str]], usual: Mapping[tuple[str, str], type]) -> Host:
    kept = {
        group: {
            name: value
            for name, value in features.items()
            if (group, name) not in odd or type(value) is usual[group, name]
        }
        for group, features in host.features.items()
    }
    return replace(host, features=kept)


def _container(entry: Said, host: str, vips: Mapping[str, str]) -> Container:
    name = entry.word("name", shape=NAME)
    return Container(
        name=name,
        id=entry.word("id"),
        host=host,
        image=entry.word("image"),
        labels=entry.texts("labels"),
        started_at=entry.number("started_at"),
        ip=entry.word("ip"),
        ports=entry.words("ports", PORT),
        memory_bytes=entry.count("memory_bytes"),
        layer_bytes=entry.count("layer_bytes", 0),
        droppable=entry.flag("droppable", False),
        aio_events=entry.count("aio_events", 0),
        networks=entry.words("networks"),
        volumes=entry.words("volumes"),
        shared_volumes=entry.words("shared_volumes"),
        obstacles=tuple(Obstacle(it.word("reason"), it.word("hint")) for it in entry.objects("obstacles")),
        vip=vips.get(name, ""),
    )
