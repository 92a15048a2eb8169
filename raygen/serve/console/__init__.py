"""The console: pages that show batches, files, models, usage and runs, and a playground. It has no state of its own."""
