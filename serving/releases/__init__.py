"""Which versions of a model are served, under which labels, and who released them."""
