"""Training: recipes, from shards to a model that runs. One loop on Ray Train; a family brings its batch and its loss."""
