// The official Node client against a running server: chat, streams, tools, schemas, logprobs, responses, vectors, errors.
//
//     node benches/clients/openai_client.mjs http://127.0.0.1:8080 [MODEL]
//
// needs `npm install openai` in a directory that NODE_PATH names, or beside this file.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const OpenAI = createRequire(process.env.NODE_PATH ? `${process.env.NODE_PATH}/` : import.meta.url)("openai").default;
const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "a-key-of-no-importance", maxRetries: 0 });
const model = process.argv[3] ?? (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: "Say something about cats." }];
const schema = {
  type: "object", properties: { age: { type: "integer", minimum: 0, maximum: 30 } }, required: ["age"],
  additionalProperties: false,
};
const chat = (more) => client.chat.completions.create({ model, messages, max_tokens: 12, seed: 1, ...more });

const tests = {
  async chat() {
    const [first, second] = [await chat(), await chat()];
    assert.equal(first.choices[0].message.content, second.choices[0].message.content);
    assert.equal(first.usage.total_tokens, first.usage.prompt_tokens + first.usage.completion_tokens);
  },
  async stream() {
    const whole = (await chat()).choices[0].message.content;
    let text = "";
    let usage;
    for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole);
    assert.ok(usage.completion_tokens > 0);
  },
  async tools() {
    const tools = [{ type: "function", function: { name: "lookup", parameters: schema } }];
    const { finish_reason, message } = (await chat({
      tools, tool_choice: "required", parallel_tool_calls: false, max_tokens: 200,
    })).choices[0];
    assert.equal(finish_reason, "tool_calls");
    assert.ok(JSON.parse(message.tool_calls[0].function.arguments).age <= 30);
  },
  async schema() {
    const format = { type: "json_schema", json_schema: { name: "cat", schema, strict: true } };
    const { message } = (await chat({ response_format: format, max_tokens: 200 })).choices[0];
    assert.deepEqual(Object.keys(JSON.parse(message.content)), ["age"]);
  },
  async logprobs() {
    const { logprobs } = (await chat({ logprobs: true, top_logprobs: 2 })).choices[0];
    assert.ok(logprobs.content.every((token) => token.top_logprobs.length === 2));
  },
  async responses() {
    const asked = { model, input: "Say something about cats.", max_output_tokens: 12, temperature: 0 };
    const whole = await client.responses.create(asked);
    let text = "";
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(text, whole.output_text);
  },
  async embeddings() {
    const { data } = await client.embeddings.create({ model, input: ["a cat", "a dog"] });
    assert.equal(data.length, 2);
    assert.ok(Math.abs(data[0].embedding.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3);
  },
  async errors() {
    await assert.rejects(chat({ temperature: 9 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
    await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), OpenAI.NotFoundError);
  },
};
for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`${name}: passed`);
}
