"""`cxr-triage predict`: scores image files without a gateway or a database."""
