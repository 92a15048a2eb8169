"""The vllm engine: vLLM in a process of its own, for GPUs.

Start reading: engine.py.
"""
