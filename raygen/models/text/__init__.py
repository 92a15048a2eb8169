"""Text models: language models, encoders, their tokenizers and chat templates, LoRA adapters.

Start reading: causal_lm.py.
"""
