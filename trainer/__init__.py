"""The model: preprocessing, input pipeline, networks, training, calibration and export."""
