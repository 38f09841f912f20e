"""The model side: labels, features, preprocessing, input pipeline, networks, calibration,
export.
"""
