"""The command line `cxr-triage`: `main` chooses the command, `commands` has a module for each."""
