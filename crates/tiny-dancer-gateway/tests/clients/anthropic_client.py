"""The library `anthropic` as a client of the gateway: BASE_URL, and the key `key`."""

import os

import anthropic
from expect import fails

client = anthropic.Anthropic(base_url=os.environ["BASE_URL"], api_key="key", timeout=60)


def ask(text, client=client, **more):
    messages = [{"role": "user", "content": text}]
    return client.messages.create(model="auto", max_tokens=100, messages=messages, **more)


answer = ask("Hi")
assert answer.content[0].text == "I am big." and answer.usage.cache_read_input_tokens == 5, answer
messages = [{"role": "user", "content": "Hi"}]
raw = client.messages.with_raw_response.create(model="auto", max_tokens=100, messages=messages)
assert raw.headers["x-tiny-dancer-model"] == "powerful"

with client.messages.stream(model="auto", max_tokens=100, messages=messages) as stream:
    assert "".join(stream.text_stream) == "I am big."
    assert stream.get_final_message().usage.output_tokens == 4

tools = [{"name": "add", "input_schema": {"type": "object"}}]
called = ask("Add", tools=tools).content[0]
assert (called.name, called.input) == ("add", {"a": 1}), called
with client.messages.stream(model="auto", max_tokens=100, messages=messages, tools=tools) as stream:
    assert stream.get_final_message().content[0].input == {"a": 1}

error = fails(anthropic.BadRequestError, lambda: ask("fail 400"))
assert error.body["error"]["message"] == "a model's own error", error.body
assert ask("busy anthropic python").content[0].text == "I am big."
fails(anthropic.InternalServerError, lambda: ask("fail 500", client=client.with_options(max_retries=1)))
error = fails(anthropic.AuthenticationError, lambda: ask("Hi", client=client.with_options(api_key="wrong")))
assert "a valid key is required" in str(error), error
fails(anthropic.APITimeoutError, lambda: ask("hang", client=client.with_options(timeout=0.2, max_retries=0)))
fails(Exception, lambda: list(ask("break", stream=True)))
assert [model.id for model in client.models.list()] == ["auto", "big", "small"]
assert client.messages.count_tokens(model="auto", messages=messages).input_tokens == 9
print("ok")
