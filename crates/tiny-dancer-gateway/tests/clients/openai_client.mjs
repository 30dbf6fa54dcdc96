// The library `openai` as a client of the gateway: BASE_URL, and the key `key`.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.BASE_URL}/v1`, apiKey: "key", timeout: 60_000 });
const body = (text, more) => ({ model: "auto", messages: [{ role: "user", content: text }], ...more });
const ask = (text, more, options) => client.chat.completions.create(body(text, more), options);

const { data, response } = await ask("Hi").withResponse();
assert.equal(data.choices[0].message.content, "I am big.");
assert.equal(response.headers.get("x-tiny-dancer-model"), "powerful");

const read = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
};
let chunks = await read(await ask("Hi", { stream: true }));
assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), "I am big.");
chunks = await read(await ask("Hi", { stream: true, stream_options: { include_usage: true } }));
assert.equal(chunks.at(-1).usage.completion_tokens, 4);

const tools = [{ type: "function", function: { name: "add", parameters: { type: "object", properties: {} } } }];
assert.equal((await ask("Add", { tools })).choices[0].message.tool_calls[0].function.name, "add");
chunks = await read(await ask("Add", { tools, stream: true }));
const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
assert.equal(calls.map((call) => call.function.arguments).join(""), '{"a":1}');

await assert.rejects(ask("fail 400"), OpenAI.BadRequestError);
assert.equal((await ask("busy openai node")).choices[0].message.content, "I am big.");
await assert.rejects(ask("fail 500", {}, { maxRetries: 1 }), OpenAI.InternalServerError);
const stranger = client.withOptions({ apiKey: "wrong" });
await assert.rejects(stranger.chat.completions.create(body("Hi")), OpenAI.AuthenticationError);
await assert.rejects(ask("hang", {}, { timeout: 200, maxRetries: 0 }), OpenAI.APIConnectionTimeoutError);
await assert.rejects(async () => read(await ask("break", { stream: true })));
assert.deepEqual((await read(await client.models.list())).map((model) => model.id), ["auto", "big", "small"]);
console.log("ok");
