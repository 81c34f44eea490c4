"""Define the plain values of the project: no decision, no effect, no import from the other layers."""
