"""The official Python client against a running server: chat, streams, tools, schemas, logprobs, vectors, errors.

    python3 benches/clients/openai_client.py http://127.0.0.1:8080 [MODEL]

needs `pip install openai`.
"""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="a-key-of-no-importance", max_retries=0)
model = sys.argv[2] if len(sys.argv) > 2 else client.models.list().data[0].id
messages = [{"role": "user", "content": "Say something about cats."}]
schema = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 10}, "age": {"type": "integer", "minimum": 0, "maximum": 30}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def chat(**more):
    return client.chat.completions.create(model=model, messages=messages, **({"max_tokens": 12, "seed": 1} | more))


def test_chat():
    first, second = chat(n=2), chat(n=2)
    assert [c.message.content for c in first.choices] == [c.message.content for c in second.choices]
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens
    assert all(c.finish_reason in ("stop", "length") for c in first.choices)


def test_stream():
    whole = chat().choices[0].message.content
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0 and not chunks[-1].choices


def test_tools():
    tools = [{"type": "function", "function": {"name": "lookup", "description": "Looks a cat up", "parameters": schema}}]
    answer = chat(tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=200).choices[0]
    assert answer.finish_reason == "tool_calls"
    call = answer.message.tool_calls[0]
    assert call.function.name == "lookup" and set(json.loads(call.function.arguments)) == {"name", "age"}
    turns = messages + [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "a fine cat"}]
    said = client.chat.completions.create(model=model, messages=turns, tools=tools, max_tokens=8)
    assert said.choices[0].finish_reason in ("stop", "length", "tool_calls")
    chunks = list(chat(tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=200, stream=True))
    streamed = [t for c in chunks for t in c.choices[0].delta.tool_calls or []]
    assert streamed[0].function.arguments == call.function.arguments


def test_schema():
    form = {"type": "json_schema", "json_schema": {"name": "cat", "schema": schema, "strict": True}}
    value = json.loads(chat(response_format=form, max_tokens=200).choices[0].message.content)
    assert set(value) == {"name", "age"} and 0 <= value["age"] <= 30
    choice = chat(response_format={"type": "json_object"}, max_tokens=400, seed=3).choices[0]
    # A model that knows nothing may write strings without an end.
    assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)


def test_logprobs():
    content = chat(logprobs=True, top_logprobs=2, extra_body={"min_tokens": 12}).choices[0].logprobs.content
    assert len(content) == 12 and all(len(t.top_logprobs) == 2 for t in content)


def test_completions():
    answer = client.completions.create(model=model, prompt="Once upon a time", max_tokens=8, logprobs=2, echo=False,
                                       extra_body={"min_tokens": 8})
    assert len(answer.choices[0].logprobs.tokens) == 8
    text = "".join(c.choices[0].text for c in client.completions.create(
        model=model, prompt="Once upon a time", max_tokens=8, stream=True, extra_body={"min_tokens": 8}))
    assert text


def respond(**more):
    return client.responses.create(model=model, **({"input": "Say something about cats.", "max_output_tokens": 12} | more))


def test_responses():
    whole = respond(instructions="Be brief.", temperature=0)
    assert whole.status in ("completed", "incomplete") and whole.usage.output_tokens > 0 and whole.store is False
    with client.responses.stream(model=model, input="Say something about cats.", instructions="Be brief.", temperature=0,
                                 max_output_tokens=12) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == whole.output_text
    tools = [{"type": "function", "name": "lookup", "description": "Looks a cat up", "parameters": schema, "strict": True}]
    call = respond(tools=tools, tool_choice="required", parallel_tool_calls=False, max_output_tokens=200).output[0]
    assert call.type == "function_call" and set(json.loads(call.arguments)) == {"name", "age"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "a fine cat"}
    turns = [{"role": "user", "content": "Say something about cats."}, call, result]
    assert respond(input=turns, tools=tools).usage.input_tokens > 0
    form = {"format": {"type": "json_schema", "name": "cat", "schema": schema, "strict": True}}
    assert set(json.loads(respond(text=form, max_output_tokens=200).output_text)) == {"name", "age"}


def test_embeddings():
    vectors = client.embeddings.create(model=model, input=["a cat", "a dog"]).data
    assert len(vectors) == 2 and abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-3


def test_errors():
    for status, wrong in [(openai.BadRequestError, {"temperature": 9}), (openai.BadRequestError, {"user": "me"})]:
        try:
            chat(**wrong)
        except status as error:
            assert error.param in wrong, error
        else:
            raise AssertionError(f"{wrong} was taken")
    try:
        respond(store=True)
    except openai.BadRequestError as error:
        assert error.param == "store"
    else:
        raise AssertionError("an answer was to be kept")
    try:
        client.chat.completions.create(model="nobody", messages=messages)
    except openai.NotFoundError as error:
        assert model in error.message
    else:
        raise AssertionError("an unknown model answered")


for name, test in [(name, test) for name, test in globals().items() if name.startswith("test_")]:
    test()
    print(f"{name}: passed")
