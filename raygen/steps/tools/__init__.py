"""Tools that several steps use: patterns with a time limit, excerpts, JSON schemas, vectors far apart."""
