"""The subcommands of `cxr-triage` that are about pages."""
