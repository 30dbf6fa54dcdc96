"""The library `openai` as a client of the gateway: BASE_URL, and the key `key`."""

import os

import openai
from expect import fails

base_url = os.environ["BASE_URL"] + "/v1"
client = openai.OpenAI(base_url=base_url, api_key="key", timeout=60)


def ask(text, client=client, **more):
    return client.chat.completions.create(model="auto", messages=[{"role": "user", "content": text}], **more)


# Chat, and the gateway's headers.
answer = ask("Hi")
assert answer.choices[0].message.content == "I am big.", answer
assert answer.usage.prompt_tokens_details.cached_tokens == 5, answer
raw = client.chat.completions.with_raw_response.create(model="auto", messages=[{"role": "user", "content": "Hi"}])
assert raw.headers["x-tiny-dancer-model"] == "powerful" and raw.headers["x-tiny-dancer-id"].startswith("td-")

# Streams, without and with the tokens.
chunks = list(ask("Hi", stream=True))
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "I am big.", chunks
assert all(chunk.usage is None for chunk in chunks), chunks
chunks = list(ask("Hi", stream=True, stream_options={"include_usage": True}))
assert chunks[-1].usage.completion_tokens == 4 and not chunks[-1].choices, chunks

# Tools, whole and in a stream.
tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
called = ask("Add", tools=tools).choices[0].message.tool_calls[0].function
assert (called.name, called.arguments) == ("add", '{"a":1}'), called
chunks = [chunk.choices[0].delta.tool_calls or [] for chunk in ask("Add", tools=tools, stream=True)]
assert "".join(call.function.arguments for calls in chunks for call in calls) == '{"a":1}', chunks

# Errors of the model and of the gateway, and the library's own retries.
error = fails(openai.BadRequestError, lambda: ask("fail 400"))
assert error.body["message"] == "a model's own error", error.body
assert ask("busy openai python").choices[0].message.content == "I am big."
error = fails(openai.InternalServerError, lambda: ask("fail 500", client=client.with_options(max_retries=1)))
assert error.body["message"] == "a model's own failure", error.body
error = fails(openai.AuthenticationError, lambda: ask("Hi", client=client.with_options(api_key="wrong")))
assert "a valid key is required" in str(error), error
error = fails(openai.NotFoundError, lambda: client.post("/messages", body={}, cast_to=object))
assert "POST /v1/chat/completions" in str(error), error

# A client that gives up, and a stream that breaks off.
fails(openai.APITimeoutError, lambda: ask("hang", client=client.with_options(timeout=0.2, max_retries=0)))
fails(Exception, lambda: list(ask("break", stream=True)))

# What passes through.
assert [model.id for model in client.models.list()] == ["auto", "big", "small"]
assert client.embeddings.create(model="e", input="Hi", encoding_format="float").data[0].embedding == [0.5, 0.25]
assert client.responses.create(model="auto", input="Hi").output_text == "I am big."
print("ok")
