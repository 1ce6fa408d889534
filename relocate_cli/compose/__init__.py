"""Whether what a Compose file describes could move, before anything runs: files only, no engine, no host."""
