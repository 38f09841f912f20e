"""A Flink cluster on one machine, to test the Beam steps without a real one."""
