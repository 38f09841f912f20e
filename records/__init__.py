"""The NIH TFRecord layout: reading it with every check, writing it, drawing it (synth), converting
to it.
"""
