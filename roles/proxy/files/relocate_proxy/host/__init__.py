"""What a container host does for a relocation: as its source, as its target."""
