"""What one sees of an experiment in active learning: which acquisition function saves labels, and by what choices."""
