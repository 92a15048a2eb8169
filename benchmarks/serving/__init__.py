"""Benchmarks of serving: raygen in one process and on Ray Serve beside other servers, over HTTP."""
