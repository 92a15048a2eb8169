"""The openai engine: any OpenAI-compatible endpoint, kept full, within its limits, through refusals and outages.

Start reading, in the order of a request: engine.py, gate.py and admission.py, http.py, chat_completions.py.
For outages: breaker.py, circuit.py.
"""
