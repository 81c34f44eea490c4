"""Effects: the only code that talks to the engine, to servers, to files and to other programs."""
