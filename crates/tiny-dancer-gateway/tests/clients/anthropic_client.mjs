// The library `@anthropic-ai/sdk` as a client of the gateway: BASE_URL, and the key `key`.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.BASE_URL, apiKey: "key", timeout: 60_000 });
const body = (text, more) => ({ model: "auto", max_tokens: 100, messages: [{ role: "user", content: text }], ...more });
const ask = (text, more, options) => client.messages.create(body(text, more), options);

const { data, response } = await ask("Hi").withResponse();
assert.equal(data.content[0].text, "I am big.");
assert.equal(response.headers.get("x-tiny-dancer-model"), "powerful");

const message = await client.messages.stream(body("Hi")).finalMessage();
assert.equal(message.content[0].text, "I am big.");
assert.equal(message.usage.output_tokens, 4);

const tools = [{ name: "add", input_schema: { type: "object" } }];
assert.deepEqual((await ask("Add", { tools })).content[0].input, { a: 1 });
const streamed = await client.messages.stream(body("Add", { tools })).finalMessage();
assert.deepEqual(streamed.content[0].input, { a: 1 });

await assert.rejects(ask("fail 400"), Anthropic.BadRequestError);
assert.equal((await ask("busy anthropic node")).content[0].text, "I am big.");
await assert.rejects(ask("fail 500", {}, { maxRetries: 1 }), Anthropic.InternalServerError);
const stranger = client.withOptions({ apiKey: "wrong" });
await assert.rejects(stranger.messages.create(body("Hi")), Anthropic.AuthenticationError);
await assert.rejects(ask("hang", {}, { timeout: 200, maxRetries: 0 }), Anthropic.APIConnectionTimeoutError);
await assert.rejects(async () => {
  for await (const _event of await ask("break", { stream: true }));
});
console.log("ok");
