"""The command `wardtune`."""
