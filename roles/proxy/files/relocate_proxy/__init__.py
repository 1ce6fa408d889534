"""The RELOCATE proxy: what runs on every host and on host0. Standard library and Debian packages only."""
