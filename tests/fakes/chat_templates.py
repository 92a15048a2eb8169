"""Chat templates as models have them, cut to what they do with tools, calls, results and earlier turns."""

from __future__ import annotations

# Qwen 2.5, Hermes: tools in the system message, calls as JSON in tags, results in a user's turn.
HERMES = """\
{%- if tools %}<|system|>Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</s>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'assistant' and message.tool_calls %}<|assistant|>
{%- if message.content %}{{ message.content }}{% endif %}
{%- for tool_call in message.tool_calls %}
{%- if tool_call.function is defined %}{% set tool_call = tool_call.function %}{% endif %}<tool_call>
{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}
</tool_call>
{%- endfor %}</s>
{% elif message.role == 'tool' %}<|user|><tool_response>{{ message.content }}</tool_response></s>
{% else %}<|{{ message.role }}|>{{ message.content }}</s>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Llama 3.1: one call a message, by name and parameters; what is said beside it is left out.
LLAMA = """\
{%- if tools is not none %}<|system|>{% for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}</s>{% endif %}
{%- for message in messages %}
{%- if 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls at once') }}{% endif %}
{%- set call = message.tool_calls[0].function %}<|assistant|>
{{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}}</s>
{%- elif message.role == 'tool' %}<|ipython|>{{ message.content | tojson }}</s>
{%- else %}<|{{ message.role }}|>{{ message.content | trim }}</s>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# DeepSeek V3.1: what is said and the arguments are added to a text, so both have to be one.
DEEPSEEK = """\
{%- for message in messages %}
{%- if message['role'] == 'assistant' and message['tool_calls'] is defined %}{{ '<|assistant|>' + message['content'] }}
{%- for tool in message['tool_calls'] %}
{%- set called = tool['function'] %}{{ called['name'] + '\\n```json\\n' + called['arguments'] + '\\n```' }}
{%- endfor %}</s>
{%- elif message['role'] == 'assistant' %}<|assistant|>{{ message['content'].strip() }}</s>
{%- elif message['role'] == 'tool' %}<|tool|>{{ message['content'] }}</s>
{%- else %}<|user|>{{ message['content'] }}</s>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Prints arguments as they are: right for text, Python's notation for an object.
BARE = """\
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}
{%- for call in message.tool_calls or [] %}{{ call.function.name }}: {{ call.function.arguments }}{% endfor %}</s>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Qwen3-Coder: arguments as tags.
TAGS = """\
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}
{%- for call in message.tool_calls or [] %}<function={{ call.function.name }}>
{%- for name, value in call.function.arguments | items %}<parameter={{ name }}>
{{- value if value is string else value | tojson }}</parameter>{% endfor %}</function>
{%- endfor %}</s>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Knows nothing of tools.
PLAIN = """\
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

# Qwen3: of what the assistant thought, only the last turn's is left.
QWEN3 = """\
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}<|{{ message.role }}|>
{%- if message.role == 'assistant' and loop.index0 < ns.last and '</think>' in message.content %}
{{- message.content.split('</think>')[-1].lstrip('\\n') }}
{%- else %}{{ message.content }}{% endif %}</s>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""
