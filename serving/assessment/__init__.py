"""The gate before the model: which images it cannot assess as frontal chest X-rays.

It uses NumPy and Pillow only, and decodes an image once: a JPEG at a reduced size.
"""

from serving.assessment.gate import reason as reason
