"""One load generator and its report: many clients at the same time, shared among processes."""
