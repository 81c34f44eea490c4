"""Docker, by its own API and with its classic builder, as a container engine."""

from kmatrix.effects.engine.docker.engine import DockerEngine

__all__ = ["DockerEngine"]
