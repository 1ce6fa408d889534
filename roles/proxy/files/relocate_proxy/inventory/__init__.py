"""What the kernel shows of a container from outside: read while it stands still, compared, mended."""
