"""The service on Ray Serve: the only room that imports ray.serve."""
