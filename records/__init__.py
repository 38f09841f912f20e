"""Data sets in the NIH TFRecord layout: reads, checks, writes, converts and draws them."""
