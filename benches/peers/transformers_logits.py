#!/usr/bin/env python3
"""Compares the logits of `genera logits --json` with those of Hugging Face transformers for the same model and tokens.

    genera logits --model DIR --tokens 5,9,2 --json > logits.json
    transformers_logits.py DIR logits.json --tokens 5,9,2 [--decoder-tokens 1,7]

Prints the largest absolute difference; the exit code is 1 above the tolerance. An encoder without a head is compared by its
hidden states. The model is loaded from the directory alone: no code of its own, no network.

Needs: pip install torch transformers
"""

import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM


def token_ids(text):
    return torch.tensor([[int(token) for token in text.split(",")]])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory with config.json and model.safetensors")
    parser.add_argument("logits", help='file with {"shape": [..], "logits": [..]}')
    parser.add_argument("--tokens", type=token_ids, required=True, help="ids, comma between; the source of an encoder-decoder")
    parser.add_argument("--decoder-tokens", type=token_ids, help="ids of the decoder's side")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference allowed (default 1e-4)")
    return parser.parse_args()


def load(directory):
    """The model in the class that its config.json names, refusing weights that are missing, left over or misshapen."""
    config = AutoConfig.from_pretrained(directory)
    if config.is_encoder_decoder:
        kind = AutoModelForSeq2SeqLM
    elif any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.architectures):
        kind = AutoModelForCausalLM
    elif any(name.endswith("ForConditionalGeneration") for name in config.architectures):
        kind = AutoModelForImageTextToText
    else:
        kind = AutoModel
    model, info = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for what, names in info.items():
        # Hidden states do not go through the pooler.
        names = [name for name in names if "pooler" not in str(name)]
        if names:
            sys.exit(f"{directory}: {what.replace('_', ' ')}: {', '.join(map(str, names))}")
    return model.eval()


@torch.no_grad()
def compute(model, tokens, decoder_tokens):
    if model.config.is_encoder_decoder:
        if decoder_tokens is None:
            sys.exit("an encoder-decoder needs --decoder-tokens")
        return model(input_ids=tokens, decoder_input_ids=decoder_tokens).logits
    output = model(input_ids=tokens)
    return output.logits if "logits" in output else output.last_hidden_state


def main():
    arguments = parse_arguments()
    with open(arguments.logits) as file:
        ours = json.load(file)
    theirs = compute(load(arguments.model), arguments.tokens, arguments.decoder_tokens)[0]
    ours = torch.tensor(ours["logits"], dtype=torch.float32).reshape(ours["shape"]).squeeze()
    if ours.shape != theirs.squeeze().shape:
        sys.exit(f"shapes differ: genera {tuple(ours.shape)}, transformers {tuple(theirs.shape)}")
    difference = (ours - theirs.squeeze()).abs().max().item()
    print(f"largest difference {difference:.3e} of logits up to {theirs.abs().max().item():.3g}")
    # Written so that a difference which is not a number fails too.
    sys.exit(0 if difference <= arguments.tolerance else 1)


if __name__ == "__main__":
    main()
