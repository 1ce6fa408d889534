"""RELOCATE: moves running containers between unlike hosts at unpredictable moments."""

__version__ = "0.1.0"
