"""`relocate clock`: what a clock does, before a fleet runs on it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from relocate_cli import render, settings
from relocate_cli.cli.options import Config, Json

if TYPE_CHECKING:
    from relocate_cli.clock import Clock

_ROWS = 24
_BAR = 40
_CUT = 1000  # ticks of an unbounded clock that --json lists


def clock(
    kind: Annotated[
        str | None, typer.Option(help="truncated, threshold, cumulative, exponential, periodic or static.")
    ] = None,
    rate: Annotated[str | None, typer.Option(metavar="λ", help="Ticks between relocations.")] = None,
    threshold: Annotated[str | None, typer.Option(metavar="T", help="How improbable a gap may be.")] = None,
    tick: Annotated[str | None, typer.Option(help="Length of a tick, such as 1m.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Describe a clock: its gaps, their probabilities, and how much an attacker can foresee."""
    from relocate_cli.clock import make_clock

    flags = {"clock.kind": kind, "clock.rate": rate, "clock.threshold": threshold, "clock.tick": tick}
    policy = settings.load(flags, config=config).clock
    described = make_clock(policy.kind, policy.rate, policy.threshold)
    if described.predictable and described.kind != "static":
        render.note(f"warning: this {described.kind} clock is predictable: who saw one gap knows the next")
    if as_json:
        render.emit_json("clock", _document(described, policy.tick))
    else:
        typer.echo("\n".join(_text(described, policy.tick)))


def _document(clock: "Clock", tick: float) -> dict[str, Any]:
    """As JSON: null where there is no bound."""
    ticks, chances = clock.pmf()
    never = clock.kind == "static"
    return {
        "kind": clock.kind,
        "rate": clock.rate,
        "threshold": clock.threshold,
        "tick_seconds": tick,
        "first_alert_tick": _finite(clock.first_alert),
        "mean_ticks": _finite(clock.mean),
        "max_ticks": _finite(clock.max_gap),
        "entropy_bits": clock.entropy_bits,
        "predictable": clock.predictable,
        "pmf": []
        if never
        else [
            {"tick": _finite(when), "probability": float(chance)}
            for when, chance in zip(ticks[:_CUT], chances[:_CUT], strict=True)
        ],
    }


def _finite(value: float) -> float | int | None:
    if value == float("inf"):
        return None
    return int(value) if float(value).is_integer() else float(value)


def _text(clock: "Clock", tick: float) -> list[str]:
    ticks, chances = clock.pmf()
    parameters = f"rate {clock.rate:g}, threshold {clock.threshold:g}"
    lines = [f"{clock.kind} clock, {parameters}, a tick is {_span(tick)}"]
    if clock.kind == "static":
        return [*lines, "never moves a container"]
    lines += [
        f"  first   {_length(clock.first_alert, tick)}",
        f"  mean    {_length(clock.mean, tick)}",
        f"  longest {_length(clock.max_gap, tick)}",
        f"  entropy {clock.entropy_bits:.2f} bits",
        "",
    ]
    visible = max(1, int((chances > 0.002 * chances.max()).nonzero()[0][-1]) + 1)
    step = -(-visible // _ROWS)
    bars = [
        (
            float(ticks[start]),
            float(ticks[min(start + step, visible) - 1]),
            float(chances[start : start + step].sum()),
        )
        for start in range(0, visible, step)
    ]
    tallest = max(height for *_, height in bars)
    for low, high, height in bars:
        name = f"{low:g}" if low == high else f"{low:g}-{high:g}"
        lines.append(f"  {name:>11} {height:6.1%} {'█' * max(1, round(_BAR * height / tallest))}")
    return lines


def _length(ticks: float, tick: float) -> str:
    return "no bound" if ticks == float("inf") else f"{ticks:.4g} ticks ({_span(ticks * tick)})"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"
