"""Writes pages about the runs of a root: static HTML that a browser opens from disk, offline."""
