"""What a container has of its engine besides itself, and brings along."""
