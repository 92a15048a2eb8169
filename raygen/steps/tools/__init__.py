"""Tools that several steps use: patterns with a time limit, answers, constraints, excerpts, JSON schemas, what lies far apart."""
