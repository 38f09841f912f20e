"""What prints the project's claims of speed and quality again, each as a ratio against a named reference in the same run."""
