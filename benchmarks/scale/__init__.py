"""Scale: a million rows, and steps that overlap."""
