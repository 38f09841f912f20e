"""The gate before the model: which images are no frontal chest X-rays that it can assess.

It uses NumPy and Pillow only, and decodes an image once: a JPEG at a reduced size.
"""

from serving.assessment.gate import reason as reason
