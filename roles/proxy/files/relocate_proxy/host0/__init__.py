"""What host0 does: it decides, fires, remembers, and leads clients to where a container runs."""
