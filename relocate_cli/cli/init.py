"""`relocate init`: a project to start from."""

from pathlib import Path
from typing import Annotated

import typer


def init(directory: Annotated[Path, typer.Argument(help="A new or empty directory.")]) -> None:
    """Write a commented starter project: relocate.toml and an inventory."""
    import shutil

    from relocate_cli import content, render, starter
    from relocate_cli.errors import RefusedError, UsageError

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RefusedError(f"{directory} is not empty", "name a new directory")
    try:
        shutil.copytree(content.find() / "inventory/example", directory / "inventory")
        (directory / "relocate.toml").write_text(starter.settings())
    except OSError as error:
        raise UsageError(
            f"{error.filename}: {error.strerror}", "name a directory that can be written"
        ) from None
    print(directory)
    render.note(f"Next: put your hosts into {directory}/inventory, then `cd {directory}; relocate check`.")
