"""Facts: asks the hosts for them, keeps them in the journal, makes a fleet of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from relocate_cli import hearing, inventory, playbook
from relocate_cli.errors import RelocateError
from relocate_cli.fleet import Fleet
from relocate_cli.journal import Journal, Survey
from relocate_cli.playbook import OnEvent
from relocate_cli.said import Said, SaidError
from relocate_cli.settings import Settings

T = TypeVar("T")

# What the tasks register whose answers are read here.
SURVEYED = "survey__document"
PUBLISHED = "relocation__published"
PARTS = (
    "taken_at",
    "capacity",
    "criu",
    "features",
    "containers",
)  # of a document; more than that is not kept


def kept(settings: Settings, journal: Journal) -> Fleet | None:
    """The fleet as it was when it was last surveyed, nobody is asked; None if it never was."""
    surveys = journal.surveys(_key(settings))
    return hearing.build(surveys, journal.vips(), journal.drained()) if surveys else None


def take(
    settings: Settings,
    journal: Journal,
    *,
    limit: str | None = None,
    light: bool = False,
    verbosity: int = 0,
    on_event: OnEvent | None = None,
) -> Fleet:
    """Run playbooks/survey.yml and keep what it answered. ``light`` asks for containers and capacity only.

    A host that does not answer keeps its old facts and says why. Raises RelocateError if none answered.
    """
    begun = time.time()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(
            inventory.read, settings
        )  # costs as much as Ansible's start; so at the same time
        result = playbook.run(
            "survey",
            settings=settings,
            extravars={"survey__light": light} | settings.role_variables(),
            limit=limit,
            verbosity=verbosity,
            on_event=on_event,
        )
        known = reading.result()
    answers = result.of(SURVEYED)
    asked = (begun, time.time())
    before = {entry.host: entry for entry in journal.surveys(_key(settings))}
    surveys = [
        _survey(
            host,
            known.variables.get(host, {}),
            answers.get(host),
            before.get(host),
            result.trouble.get(host),
            asked,
        )
        for host in sorted(known.hosts)
    ]
    if not any(event.status in ("ok", "changed") for event in answers.values()):
        result.require()
        raise RelocateError("no host answered the survey", "see that ssh to the hosts works")
    vips = journal.vips()
    for event in result.of(PUBLISHED).values():
        if event.status in ("ok", "changed"):
            answer = event.document()
            vips = dict(answer.get("vips", {}))
            _note_refused(surveys, answer.get("refused", ()))
    journal.keep_surveys(_key(settings), surveys, vips)
    for host in sorted({known.gateway} & set(result.trouble)):
        raise RelocateError(
            f"{host}: {result.trouble[host]}", "without host0 containers have no stable address"
        )
    return hearing.build(journal.surveys(_key(settings)), vips, journal.drained())


def _note_refused(surveys: Sequence[Survey], refused: Sequence[Mapping[str, str]]) -> None:
    """Write what host0 refused into the documents of the containers that it refused an address."""
    hint = "change its label relocate.vip, or its name"
    for entry in refused:
        for of in surveys:
            for container in of.document.get("containers", ()):
                if (of.host, container["name"]) == (entry["host"], entry["name"]):
                    reason = f"it has no virtual address: {entry['reason']}"
                    container.setdefault("obstacles", []).append({"reason": reason, "hint": hint})


def refresh(settings: Settings, journal: Journal, *, verbosity: int = 0) -> Fleet:
    """The fleet as it is now, for who asks every minute: what changes seldom is asked for only when it is
    older than `facts_ttl`, or when a host has it not. Raises RelocateError if no host answered."""

    def known() -> list[float]:
        surveys = journal.surveys(_key(settings))
        return [entry.document.get("features_at", 0.0) for entry in surveys if not entry.error]

    oldest = time.time() - settings.facts_ttl
    light = min(known(), default=0.0) > oldest
    fleet = take(settings, journal, light=light, verbosity=verbosity)
    if light and min(known()) <= oldest:  # a host is new
        return take(settings, journal, verbosity=verbosity)
    return fleet


def decide(settings: Settings, journal: Journal, question: Callable[[Fleet], T], **options: Any) -> T:
    """Answer ``question`` on the facts that are kept; if it refuses them, being stale or not, on new ones.

    So a refusal never rests on old facts. ``options`` are those of ``take``.
    """
    known = kept(settings, journal)
    if known is not None and journal.trusted:
        try:
            return question(known)
        except RelocateError:
            pass
    return question(take(settings, journal, light=known is not None, **options))


def _key(settings: Settings) -> str:
    return "\n".join(settings.inventory)


def _survey(
    host: str,
    variables: Mapping[str, Any],
    answer: playbook.TaskEvent | None,
    before: Survey | None,
    trouble: str | None,
    asked: tuple[float, float],
) -> Survey:
    """``asked``: between which times of this machine the host has answered."""
    mine = {name: value for name, value in variables.items() if name.startswith("relocate_")}
    if answer is not None and answer.status in ("ok", "changed"):
        try:
            document = {part: found for part, found in answer.document().items() if part in PARTS}
            said = Said(document).number("taken_at")
            why = hearing.misunderstood(document)
        except (RelocateError, SaidError) as error:
            why = str(error)
        if why:  # it keeps its old facts, as a host that does not answer does
            reason = f"its answer is not understood: {why} (`relocate provision`, or look at it)"
            return Survey(host, None, {}, mine, reason)
        at = min(max(said, asked[0]), asked[1])  # by this machine's clock
        # A light survey leaves these out; they do not change from minute to minute.
        lasting: Mapping[str, Any] = document | {"features_at": at}
        if not document.get("features"):
            lasting = before.document if before else {}
        lasting = {part: lasting[part] for part in ("features", "criu", "features_at") if part in lasting}
        return Survey(host, at, document | lasting | {"clock_seconds": said - at}, mine)
    if trouble is not None or before is None:
        return Survey(host, None, {}, mine, trouble or "it was never surveyed")
    return before  # beyond --limit
