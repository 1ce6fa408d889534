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
    from relocate_cli import render
    from relocate_cli import settings as schema

    settings = load(inventory, config)

    rows = [(key.name, settings.value(key.name), settings.origins[key.name]) for key in schema.schema()]
    if as_json:
        render.emit_json(
            "config",
            {
                "settings": [
                    {"key": name, "value": _plain(found), "origin": origin} for name, found, origin in rows
                ]
            },
        )
    else:
        print(
            render.table(
                ("KEY", "VALUE", "ORIGIN"),
                [(name, render.setting(found), origin) for name, found, origin in rows],
            )
        )


def _plain(value: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
