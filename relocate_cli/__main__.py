"""`python -m relocate_cli` is `relocate`."""

from relocate_cli.cli import main

main()
