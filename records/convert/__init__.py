"""Converts images to the NIH TFRecord layout, from class folders or the NIH release."""
