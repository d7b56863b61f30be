"""Active learning: choosing questions to label, and experiments that compare ways to choose."""
