"""Every kind of answer and event of a running server against OpenAI's published schema, and against the types of its client.

    python3 benches/clients/openai_schema.py http://127.0.0.1:8080 [MODEL] [openapi.json]

needs `pip install openai jsonschema`; openapi.json is that of https://github.com/openai/openai-openapi, also named by the variable
OPENAI_SCHEMA. Without it only the client's types check, strictly; that is said.
"""

import json
import os
import sys
import urllib.error
import urllib.request

import jsonschema
import pydantic
from openai import types
from openai.types import chat, responses

address = sys.argv[1]
rest = sys.argv[2:]
schema_path = next((path for path in rest if path.endswith(".json")), os.environ.get("OPENAI_SCHEMA"))
model = next((name for name in rest if not name.endswith(".json")), None)
n_checked = {}


def nullable(node):
    """The schema with `nullable` as JSON Schema writes it."""
    if isinstance(node, list):
        return [nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: nullable(value) for key, value in node.items()}
    return {"anyOf": [node, {"type": "null"}]} if node.pop("nullable", False) is True else node


if schema_path:
    with open(schema_path) as file:
        components = nullable(json.load(file)["components"])
else:
    components = None
    print("skipped: no published schema (OPENAI_SCHEMA); only the types of the client are checked")
validators = {}


def check(value, name, kind):
    """A value against a schema by its name, and a type of the client."""
    n_checked[name] = n_checked.get(name, 0) + 1
    if kind is not None:
        pydantic.TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    if components is None:
        return
    if name not in validators:
        root = {"$ref": f"#/components/schemas/{name}", "components": components}
        validators[name] = jsonschema.Draft202012Validator(root)
    error = jsonschema.exceptions.best_match(validators[name].iter_errors(value))
    if error:
        sys.exit(f"{name}: {error.json_path}: {error.message}\n{json.dumps(value)[:2000]}")


def ask(path, body=None, status=200):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read().decode()
            assert answer.status == status, (path, answer.status)
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        assert error.code == status, (path, error.code, text)
    return text


def events(text, has_done=True):
    data = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    if has_done:
        assert data.pop() == "[DONE]"
    return [json.loads(event) for event in data]


parameters = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["age"],
              "additionalProperties": False}
listed = json.loads(ask("/v1/models"))
check(listed, "ListModelsResponse", None)
model = model or listed["data"][0]["id"]
for one in listed["data"]:
    check(one, "Model", types.Model)

messages = [{"role": "user", "content": "Say something about cats."}]
tools = [{"type": "function", "function": {"name": "lookup", "parameters": parameters}}]
for more in [{}, {"n": 2, "stop": ["e"]}, {"logprobs": True, "top_logprobs": 2}, {"response_format": {"type": "json_object"}},
             {"tools": tools, "tool_choice": "required", "max_tokens": 200}, {"tools": tools}]:
    body = {"model": model, "messages": messages, "max_tokens": 16, "seed": 1} | more
    check(json.loads(ask("/v1/chat/completions", body)), "CreateChatCompletionResponse", chat.ChatCompletion)
    stream = body | {"stream": True, "stream_options": {"include_usage": True}}
    for event in events(ask("/v1/chat/completions", stream)):
        check(event, "CreateChatCompletionStreamResponse", chat.ChatCompletionChunk)

for more in [{}, {"n": 2}, {"logprobs": 2}, {"echo": True}]:
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": 12, "seed": 1} | more
    check(json.loads(ask("/v1/completions", body)), "CreateCompletionResponse", types.Completion)
    stream = body | {"stream": True, "stream_options": {"include_usage": True}}
    for event in events(ask("/v1/completions", stream)):
        # The published schema knows no chunk without a reason to end, which all servers send, nor the null that the
        # description of `include_usage` promises in all chunks but the last.
        if event.get("usage", 0) is None:
            del event["usage"]
        if all(choice["finish_reason"] for choice in event["choices"]):
            check(event, "CreateCompletionResponse", None)

flat = [{"type": "function", "name": "lookup", "description": None, "parameters": parameters, "strict": True}]
for more in [{}, {"instructions": "Be brief.", "metadata": {"of": "me"}, "temperature": 0.5, "top_p": 0.9},
             {"include": ["message.output_text.logprobs"], "top_logprobs": 2}, {"text": {"format": {"type": "json_object"}}},
             {"tools": flat, "tool_choice": "required", "max_output_tokens": 200}]:
    body = {"model": model, "input": "Say something about cats.", "max_output_tokens": 16} | more
    check(json.loads(ask("/v1/responses", body)), "Response", responses.Response)
    for event in events(ask("/v1/responses", body | {"stream": True}), has_done=False):
        check(event, "ResponseStreamEvent", responses.ResponseStreamEvent)

body = {"model": model, "input": ["a cat", "a dog"], "encoding_format": "float"}
check(json.loads(ask("/v1/embeddings", body)), "CreateEmbeddingResponse", types.CreateEmbeddingResponse)

for path, body, status in [("/v1/chat/completions", {"messages": messages, "surprise": 1}, 400),
                           ("/v1/chat/completions", {"messages": messages, "model": "nobody"}, 404), ("/v1/nothing", {}, 404),
                           ("/v1/responses", {"input": "x", "store": True}, 400)]:
    check(json.loads(ask(path, body, status)), "ErrorResponse", None)

print(f"{sum(n_checked.values())} answers and events are as published: "
      + ", ".join(f"{n} {name}" for name, n in n_checked.items()))
