"""runc and CRIU, held ahead of the window."""
