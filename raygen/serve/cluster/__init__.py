"""Cluster: the service on Ray Serve: a gateway, a deployment for each model, and the batch worker.

Contract: the only importer of ray.serve; knows nothing of endpoints. What answers requests is the app over a `Service`, what
holds a model is a `Replica`: the same as in one process. Errors cross processes as values.
Start reading: deploy.py, then model.py (a replica's side) and serve_link.py (the gateway's).
"""
