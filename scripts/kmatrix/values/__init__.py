"""Plain values of the project: no decision, no effect, no import from the other layers."""
