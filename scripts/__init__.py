"""What builds and looks after the project's environment; no part of the installed package."""
