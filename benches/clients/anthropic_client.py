"""Anthropic's official Python client against a running server: messages, streams, tools, errors.

    python3 benches/clients/anthropic_client.py http://127.0.0.1:8080 MODEL

needs `pip install anthropic`.
"""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="a-key-of-no-importance", max_retries=0)
model = sys.argv[2]
messages = [{"role": "user", "content": "Say something about cats."}]
schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 30}}, "required": ["age"],
          "additionalProperties": False}


def ask(**more):
    return client.messages.create(model=model, messages=messages, **({"max_tokens": 12} | more))


def test_message():
    answer = ask(system="Be brief.")
    assert answer.role == "assistant" and answer.content[0].type == "text"
    assert answer.stop_reason in ("end_turn", "max_tokens") and answer.usage.output_tokens > 0


def test_stream():
    whole = ask(extra_body={"temperature": 0}).content[0].text
    with client.messages.stream(model=model, messages=messages, max_tokens=12,
                                extra_body={"temperature": 0}) as stream:
        assert "".join(stream.text_stream) == whole
        assert stream.get_final_message().usage.output_tokens > 0


def test_tools():
    tools = [{"name": "lookup", "description": "Looks a cat up", "input_schema": schema}]
    answer = ask(tools=tools, tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=200)
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use" and call.name == "lookup" and 0 <= call.input["age"] <= 30
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "a fine cat"}
    turns = messages + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(model=model, messages=turns, tools=tools, max_tokens=8).usage.input_tokens > 0


def test_errors():
    try:
        ask(metadata={"user_id": "me"})
    except anthropic.BadRequestError as error:
        assert "metadata" in str(error)
    else:
        raise AssertionError("a field without effect was taken")
    try:
        client.messages.create(model="nobody", messages=messages, max_tokens=1)
    except anthropic.NotFoundError as error:
        assert model in str(error)
    else:
        raise AssertionError("an unknown model answered")


for name, test in [(name, test) for name, test in globals().items() if name.startswith("test_")]:
    test()
    print(f"{name}: passed")
