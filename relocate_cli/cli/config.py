"""`relocate config`: the settings and where they come from."""

from typing import Any

import typer

from relocate_cli.cli.options import Config, Inventory, Json, load

app = typer.Typer(no_args_is_help=True, help="The settings and where each comes from.")


@app.callback()
def group() -> None:
    """The settings and where each comes from."""


@app.command()
def show(inventory: Inventory = None, config: Config = None, as_json: Json = False) -> None:
    """Print each setting with its value and its origin."""
    from dataclasses import asdict, is_dataclass

    from relocate_cli import render
    from relocate_cli import settings as schema

    settings = load(inventory, config)

    def value(name: str) -> Any:
        section, _, key = name.rpartition(".")
        found = getattr(getattr(settings, section) if section else settings, key)
        return asdict(found) if is_dataclass(found) and not isinstance(found, type) else found

    rows = [(key.name, value(key.name), settings.origins[key.name]) for key in schema.schema()]
    if as_json:
        render.emit_json(
            "config",
            {"settings": [{"key": name, "value": found, "origin": origin} for name, found, origin in rows]},
        )
    else:
        print(
            render.table(
                ("KEY", "VALUE", "ORIGIN"), [(name, _shown(found), origin) for name, found, origin in rows]
            )
        )


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={item:g}" for key, item in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
