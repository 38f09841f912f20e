"""The formats of uploaded images: size by the header, and removal of metadata."""
