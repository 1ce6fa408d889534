"""The pure machine: words, messages, lines, and the coordinator's table. Nothing here does anything."""
