"""Converts images to the NIH TFRecord layout: a folder of images by class, or the NIH PNGs with
their Data_Entry table.
"""
