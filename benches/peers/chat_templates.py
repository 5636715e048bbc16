#!/usr/bin/env python3
"""Compares chat templates, tokens and the marks of what is learned with Hugging Face transformers.

    chat_templates.py TOKENIZER_DIR CHAT.jsonl --program "cargo run -q -p genera-data --example chat"

TOKENIZER_DIR holds tokenizer.json, tokenizer_config.json and the template; base/ of a run of `genera train --base` does. What
is learned is compared with the tokens between the prompt and the end of each answer, as transformers renders them. The exit
code is 1 when anything differs.

Needs: pip install transformers jinja2
"""

import argparse
import json
import os
import shlex
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import PreTrainedTokenizerFast


def learned(tokenizer, messages, tokens):
    """Whether each token is part of an answer or the token that ends one."""
    marks = [False] * len(tokens)
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        ids = lambda part, prompt: tokenizer.apply_chat_template(
            part, add_generation_prompt=prompt, tokenize=True, return_dict=False
        )
        # A token that reaches over the border belongs to what follows it.
        common = lambda prefix: next((n for n, pair in enumerate(zip(prefix, tokens)) if pair[0] != pair[1]), len(prefix))
        start, end = common(ids(messages[:i], True)), common(ids(messages[: i + 1], False))
        special = [at for at in range(start, end) if tokens[at] in tokenizer.all_special_ids]
        for at in range(start, special[-1] + 1 if special else end):
            marks[at] = True
    return marks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("file")
    parser.add_argument("--program", required=True)
    arguments = parser.parse_args()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(arguments.directory)
    command = [*shlex.split(arguments.program), arguments.directory, arguments.file]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    n_wrong = 0
    lines = open(arguments.file).read().splitlines()
    for number, (line, ours) in enumerate(zip(lines, answer.splitlines(), strict=True), 1):
        messages, ours = json.loads(line)["messages"], json.loads(ours)
        last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
        render = lambda part, prompt: tokenizer.apply_chat_template(part, add_generation_prompt=prompt, tokenize=False)
        tokens = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        theirs = {
            "text": render(messages, False),
            "prompt": render(messages[:last], True),
            "tokens": tokens,
            "learned": learned(tokenizer, messages, tokens),
        }
        for what, value in theirs.items():
            if ours[what] != value:
                n_wrong += 1
                print(f"line {number}: {what} differs\n  ours   {ours[what]!r}\n  theirs {value!r}")
    print(f"{len(lines)} conversations, {n_wrong} differences")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
