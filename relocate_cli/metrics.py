"""The journal as Prometheus metrics, for node_exporter's textfile collector."""

from collections.abc import Iterable, Mapping

from relocate_cli.fleet import Fleet
from relocate_cli.plan import Outcome, Relocation

_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds


def text(entries: Iterable[Relocation], known: Fleet | None, due: Mapping[str, float] | None = None) -> str:
    """All metrics in the exposition format.

    ``due``, in seconds since the epoch, is for who asks for it: whoever reads that knows when to be where.
    """
    entries = list(entries)
    windows = [entry.window_ms / 1000 for entry in entries if entry.window_ms is not None]
    lines = [
        *_family("relocate_relocations_total", "counter", "Relocations by outcome."),
        *(
            _sample(
                "relocate_relocations_total",
                sum(entry.outcome is outcome for entry in entries),
                outcome=outcome,
            )
            for outcome in Outcome
        ),
        *_family("relocate_window_seconds", "histogram", "From freeze to release."),
        *(
            _sample(
                "relocate_window_seconds_bucket", sum(window <= edge for window in windows), le=f"{edge:g}"
            )
            for edge in _BUCKETS
        ),
        _sample("relocate_window_seconds_bucket", len(windows), le="+Inf"),
        _sample("relocate_window_seconds_sum", sum(windows)),
        _sample("relocate_window_seconds_count", len(windows)),
        *_family("relocate_last_relocation_timestamp_seconds", "gauge", "When each container moved last."),
    ]
    last = {entry.container: entry.ended for entry in entries if entry.outcome is Outcome.MOVED}
    for container, ended in sorted(last.items()):
        lines.append(_sample("relocate_last_relocation_timestamp_seconds", ended or 0, container=container))
    if due is not None:
        name = "relocate_next_relocation_timestamp_seconds"
        lines += _family(name, "gauge", "When each container moves next.")
        lines += [_sample(name, at, container=container) for container, at in sorted(due.items())]
    hosts = known.hosts if known else ()
    lines += _family("relocate_host_containers", "gauge", "Containers on each host.")
    lines += [_sample("relocate_host_containers", len(host.containers), host=host.name) for host in hosts]
    lines += _family("relocate_host_survey_timestamp_seconds", "gauge", "When each host last answered.")
    lines += [
        _sample("relocate_host_survey_timestamp_seconds", host.taken_at or 0, host=host.name)
        for host in hosts
    ]
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def _sample(name: str, value: float, **labels: str) -> str:
    escaped = (
        f'{key}="{item.translate({92: chr(92) * 2, 34: chr(92) + chr(34), 10: chr(92) + "n"})}"'
        for key, item in labels.items()
    )
    inner = ",".join(escaped)
    return f"{name}{{{inner}}} {value!r}" if inner else f"{name} {value!r}"
