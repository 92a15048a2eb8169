"""What to do about a row's error, by its code."""

from __future__ import annotations

REMEDIES = {
    "unknown_adapter": "Name one of the model's `adapters`, or add the adapter to the job.",
    "prompt_too_long": "Shorten the template or the input, or use a model with a longer context.",
    "template_error": "Correct the template: the message says what it could not do with this row.",
    "missing_column": "Correct the name in the template, or ask `is defined` before printing it.",
    "missing_value": "Give the template a fallback such as `{{ title or 'untitled' }}`.",
    "not_text": "Print a list or an object with `| tojson`, a loop or `| join(', ')`; chat messages go under `messages`, "
    "pictures under `images`.",
    "bad_messages": "Write the column as a list of messages, each with a `role`, and `content` or the assistant's `tool_calls`.",
    "bad_tools": "Write the column as a list of tools: `{name, description, parameters}`, parameters as a JSON schema.",
    "bad_request": "The endpoint refused the request: does it take this sampling and these images?",
    "blocked": "The endpoint answers others and refuses these rows: a firewall or a moderation, by their words.",
    "redirected": "The endpoint answers others and sends these rows elsewhere: a firewall, by their words.",
    "endpoint_4xx": "The endpoint refused the request: the message says why. Check quota, model and address.",
    "endpoint_unavailable": "The endpoint answered others, and not these rows, after all retries: its log may say why.",
    "timeout": "Raise the engine's `timeout_s`, or lower `max_tokens` or `concurrency`.",
    "bad_answer": "The answers were no chat completions, or broke off: check `base_url` and the server's log.",
    "broken_json": "Correct the line in the input: it is not valid JSON.",
    "not_an_object": "Each line of the input must be one JSON object.",
    "wrong_encoding": "Save the input as UTF-8.",
    "line_too_long": "Split the line, or raise `source.max_line_bytes`.",
    "broken_csv": "Give the record as many fields as the header has; quote fields with commas or newlines.",
    "missing_key": "Give every row a value in the column that `source.key` names.",
    "kept_type": "Give the column one type in all files, or leave it out of `keep`; of JSON Lines a new run holds any value.",
    "corrupt_row_group": "Write the Parquet file again: a row group in it cannot be read.",
    "corrupt_media": "Replace the file: it cannot be decoded.",
    "media_too_large": "Make it smaller, or raise `source.max_media_bytes` or `source.max_media_pixels`; of one that was made, "
    "`sink.max_sample_bytes`.",
    "corrupt_archive": "Write the archive again: a member of it cannot be read.",
    "text_too_long": "Cut the text, or set the encoder's `options.truncate`.",
    "step_error": "Correct the step's function: the message says what it raised.",
    "check_error": "Correct the check's function: the message says what it raised.",
    "pattern_timeout": "Write the pattern without repetitions inside of repetitions.",
    "schema_timeout": "Say the schema shorter: parts that refer to parts are looked at again and again.",
    "empty_prompt": "The prompt came out empty, and the model has no token to begin with: give the template some text.",
    "empty_text": "The text to be measured has no tokens: fill the column, or reject such samples in a step before.",
    "invalid_text": "The tokenizer refuses the text, or it is empty: correct the column; the message says what is refused.",
    "invalid_messages": "The model's chat template does not take these messages: the message says which role or part.",
    "invalid_sampling": "Correct `sampling`: vLLM refuses it, or a token in `logit_bias` or `stop_token_ids` is not the model's.",
    "invalid_constraint": "Correct `constraint`: the message says what cannot be made into a grammar.",
    "engine_unsupported": "The model's engine cannot do this: take another engine, or leave out what the message names.",
    "generation_failed": "vLLM broke off on these rows: its log says why.",
    "nan_logits": "The model computed no numbers: use `dtype: bfloat16` or `float32`, and look at the weights or the adapter.",
    "constraint_failed": "No text goes on that keeps to the constraint, or its grammar is too complex: simplify the constraint.",
    "unknown_label": "The label is none of the model's classes: the message lists them.",
    "token_mask_failed": "Correct the token mask: it raised, or returned what is no mask of the vocabulary.",
    "mask_forbids_all": "The token mask or the constraint left no token to go on with: allow the end of the text.",
    "redact_timeout": "Split the text: looking for personal data in it took too long.",
    "invalid_prompt": "The prompt has token ids that are not the model's, or messages beside it: the message says which.",
    "program_rejected": "No sample passed the program's checks: the message says which; `raygen.trace` tells the whole way.",
    "adapter_taken": "A replica holds another adapter of this name: give the new one a name of its own.",
    "invalid_value": "Correct the line's body: the message names the key, and what it may be.",
    "missing_required_parameter": "Give the line's body the key that the message names.",
    "unsupported_parameter": "Leave the key out of the line's body, or answer it with a model that can do this.",
    "unsupported_model": "Answer this endpoint with a model of another kind: the message says which it needs.",
    "token_input_unsupported": "Send texts in the line's body: token ids are another tokenizer's.",
    "context_length_exceeded": "Shorten the messages of the line's body, or use a model with a longer context.",
    "model_not_found": "Name in the line's body the model that the batch asks, `served_as` of the step `answer`.",
    "url_mismatch": "Put lines of another `url` into a file of their own: a batch is for one endpoint.",
    "invalid_request": "Give the line a `body`: a JSON object, as it would be sent over HTTP.",
    "internal_error": "An error in raygen, or in a class of another package: the message names it. Please report it.",
}
# What another try may not meet again.
PASSING = frozenset({"endpoint_unavailable", "timeout", "bad_answer", "generation_failed", "redact_timeout"})
# What stands in the input, or is not the model's to mend: a retry reads the same input.
OF_THE_INPUT = frozenset({
    "broken_json", "not_an_object", "wrong_encoding", "line_too_long", "broken_csv", "missing_key", "corrupt_row_group",
    "corrupt_media", "media_too_large", "corrupt_archive", "bad_messages", "bad_tools", "kept_type", "invalid_text",
    "invalid_value", "missing_required_parameter", "unsupported_parameter", "unsupported_model", "token_input_unsupported",
    "context_length_exceeded", "model_not_found", "url_mismatch", "invalid_request",
})  # fmt: skip
# What can be mended in the input as well as in the job.
OF_EITHER = {"missing_value": "fill the column"}
OTHERWISE = "Start from the example's message; the other rows are the outcomes with this `error.code`."


def remedy(code: str) -> str:
    """Return one sentence that says what to do about rows that failed with `code`."""
    said = REMEDIES.get(code, OTHERWISE)
    return f"{said.removesuffix('.')}, or {OF_EITHER[code]}." if code in OF_EITHER else said
