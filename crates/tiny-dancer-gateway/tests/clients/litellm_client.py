"""The library `litellm` as a client of the gateway: BASE_URL, and the key `key`."""

import os

import litellm
from expect import fails

base_url = os.environ["BASE_URL"] + "/v1"


def ask(text, **more):
    options = {"model": "openai/auto", "api_base": base_url, "api_key": "key", "timeout": 60, **more}
    return litellm.completion(messages=[{"role": "user", "content": text}], **options)


# Chat, and the gateway's headers, which the library names as a provider's.
answer = ask("Hi")
assert answer.choices[0].message.content == "I am big.", answer
assert answer.usage.prompt_tokens_details.cached_tokens == 5, answer
headers = answer._hidden_params["additional_headers"]
assert headers["llm_provider-x-tiny-dancer-model"] == "powerful", headers

# Streams, without and with the tokens.
chunks = list(ask("Hi", stream=True))
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I am big.", chunks
chunks = list(ask("Hi", stream=True, stream_options={"include_usage": True}))
assert chunks[-1].usage.completion_tokens == 4, chunks

# Tools, whole and in a stream.
tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
called = ask("Add", tools=tools).choices[0].message.tool_calls[0].function
assert (called.name, called.arguments) == ("add", '{"a":1}'), called
chunks = [chunk.choices[0].delta.tool_calls or [] for chunk in ask("Add", tools=tools, stream=True)]
assert "".join(call.function.arguments for calls in chunks for call in calls) == '{"a":1}', chunks

# Errors of the model and of the gateway, and retries.
error = fails(litellm.BadRequestError, lambda: ask("fail 400"))
assert "a model's own error" in str(error), error
assert ask("busy litellm", num_retries=3).choices[0].message.content == "I am big."
error = fails(litellm.InternalServerError, lambda: ask("fail 500", max_retries=1))
assert "a model's own failure" in str(error), error
error = fails(litellm.AuthenticationError, lambda: ask("Hi", api_key="wrong"))
assert "a valid key is required" in str(error), error

# A client that gives up, and a stream that breaks off.
fails(litellm.Timeout, lambda: ask("hang", timeout=0.2, max_retries=0))
fails(Exception, lambda: list(ask("break", stream=True)))
print("ok")
