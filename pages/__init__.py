"""The pages on which runs are watched: static HTML under `<root>/pages`, that opens from disk
without a network.
"""
