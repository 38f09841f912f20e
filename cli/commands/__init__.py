"""The subcommands of `cxr-triage`."""
