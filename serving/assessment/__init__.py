"""The gate before the model: which images are no frontal chest X-rays that it can assess.

It uses NumPy and Pillow only, and takes a few milliseconds an image.
"""

from serving.assessment.gate import reason as reason
