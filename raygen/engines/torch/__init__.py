"""The torch engine: a language model that transformers knows, with continuous batching; a row's tokens never depend on its batch.

Start reading, in the order of a request: engine.py, scheduler.py, runner.py, decoder.py, sampling.py, stopping.py.
"""
