"""A Flink cluster on one machine, to try the pipeline's Beam steps on before they go to a real
one.
"""
