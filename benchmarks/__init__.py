"""Speed and memory: one command each, everything that is compared in one run."""
