"""The container engine behind one interface: `Engine` is the interface, `docker` implements it.

Nothing outside this package knows an engine's API, the lines that its builder prints, or its intermediate images.
"""

from kmatrix.effects.engine.protocol import Engine

__all__ = ["Engine"]
