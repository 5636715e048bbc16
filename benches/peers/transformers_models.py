#!/usr/bin/env python3
"""Makes tiny random models of every family and variant that genera reads, and compares `genera logits` with transformers.

    transformers_models.py DIR                     makes DIR/<name>/{config.json,model.safetensors,expected.json}
    transformers_models.py DIR --genera PROGRAM    and compares the logits of the program with those of transformers

Variants in the spelling of older files have a config.json that was rewritten after the model was saved. `expected.json` is in
the form of the golden files that crates/engine/tests/golden.rs reads. The exit code is 1 when a difference is above the
tolerance.

Needs: pip install torch transformers
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers
from transformers_logits import compute, load

V, D, CONTEXT = 300, 48, 64
FACTORS = [1.0 + 0.25 * i for i in range(4)], [2.0 + 0.5 * i for i in range(4)]

COMMON = dict(vocab_size=V, max_position_embeddings=CONTEXT, pad_token_id=0, bos_token_id=1, eos_token_id=2)
LLAMA = dict(
    COMMON,
    hidden_size=D,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    tie_word_embeddings=False,
)
GEMMA = dict(LLAMA, num_hidden_layers=4, head_dim=12, sliding_window=5, query_pre_attn_scalar=20, tie_word_embeddings=True)
SIGLIP = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
PHI = {key: value for key, value in LLAMA.items() if key != "head_dim"}
NEOX = dict(
    COMMON, hidden_size=D, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, tie_word_embeddings=False
)
OPT = dict(COMMON, hidden_size=D, ffn_dim=80, num_hidden_layers=3, num_attention_heads=4, word_embed_proj_dim=D)
SEQ2SEQ = dict(
    COMMON,
    d_model=D,
    encoder_layers=2,
    decoder_layers=3,
    encoder_attention_heads=4,
    decoder_attention_heads=6,
    encoder_ffn_dim=80,
    decoder_ffn_dim=64,
    decoder_start_token_id=2,
    forced_eos_token_id=None,
)
BERT = dict(vocab_size=V, hidden_size=D, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4)
ENCODERS = ("bert", "roberta", "xlm-roberta")
T5 = dict(vocab_size=V, d_model=D, d_kv=8, d_ff=80, num_layers=2, num_decoder_layers=3, num_heads=6, n_positions=CONTEXT)


def rope(kind, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=100.0, **more))


def older_rope(config):
    """Before version 5: `rope_theta` beside `rope_scaling`, whose key was `type` at first."""
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    for key in ("partial_rotary_factor", "original_max_position_embeddings"):
        if key in parameters:
            config[key] = parameters.pop(key)
    parameters["type"] = parameters.pop("rope_type")
    config["rope_scaling"] = None if parameters["type"] == "default" else parameters


def older_neox(config):
    parameters = config.pop("rope_parameters")
    config["rotary_emb_base"] = parameters["rope_theta"]
    config["rotary_pct"] = parameters["partial_rotary_factor"]


def older_gemma(config):
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters["full_attention"].pop("rope_theta")
    config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
    config["rope_scaling"] = parameters["full_attention"]
    config["sliding_window_pattern"] = 2
    for key in ("layer_types", "_sliding_window_pattern"):
        config.pop(key, None)


def gemma_rope(**full):
    full = dict(dict(rope_type="default", rope_theta=500.0), **full)
    return dict(rope_parameters=dict(full_attention=full, sliding_attention=dict(rope_type="default", rope_theta=50.0)))


def layer_types(letters):
    return dict(layer_types=[dict(f="full_attention", s="sliding_attention")[letter] for letter in letters])


def longrope(original):
    short, long = FACTORS
    return dict(
        rope("longrope", short_factor=short, long_factor=long), original_max_position_embeddings=original
    )


# Name, class of the configuration, its arguments, and what makes an older spelling of it.
VARIANTS = [
    ("gpt2", "GPT2Config", dict(COMMON, n_embd=D, n_layer=3, n_head=4, n_positions=CONTEXT), None),
    ("gpt2-untied", "GPT2Config", dict(vocab_size=V, n_embd=D, n_layer=2, n_head=4, n_positions=CONTEXT, tie_word_embeddings=False), None),
    ("llama", "LlamaConfig", LLAMA, None),
    ("llama-biases-tied", "LlamaConfig", dict(LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True), None),
    ("llama-linear", "LlamaConfig", dict(LLAMA, **rope("linear", factor=3.0)), None),
    ("llama-linear-older", "LlamaConfig", dict(LLAMA, **rope("linear", factor=3.0)), older_rope),
    ("llama-dynamic", "LlamaConfig", dict(LLAMA, **rope("dynamic", factor=3.0)), None),
    ("llama-llama3", "LlamaConfig", dict(LLAMA, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)), None),
    ("llama-llama3-older", "LlamaConfig", dict(LLAMA, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)), older_rope),
    ("llama-yarn", "LlamaConfig", dict(LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0)), None),
    ("llama-yarn-mscale", "LlamaConfig", dict(LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.6, truncate=False)), None),
    ("llama-yarn-factor-older", "LlamaConfig", dict(LLAMA, **rope("yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.3)), older_rope),
    ("mistral", "MistralConfig", dict(LLAMA, sliding_window=None), None),
    ("mistral-window", "MistralConfig", dict(LLAMA, sliding_window=5), None),
    ("mixtral", "MixtralConfig", dict(LLAMA, num_local_experts=5, num_experts_per_tok=2), None),
    ("mixtral-window-tied", "MixtralConfig", dict(LLAMA, num_local_experts=3, num_experts_per_tok=1, sliding_window=6, tie_word_embeddings=True), None),
    ("mixtral-fused", "MixtralConfig", dict(LLAMA, num_local_experts=4, num_experts_per_tok=2), None),
    ("qwen2", "Qwen2Config", LLAMA, None),
    ("qwen2-window", "Qwen2Config", dict(LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=0), None),
    ("qwen3", "Qwen3Config", dict(LLAMA, head_dim=12), None),
    ("qwen3-bias-tied", "Qwen3Config", dict(LLAMA, attention_bias=True, tie_word_embeddings=True), None),
    ("qwen3-yarn-older", "Qwen3Config", dict(LLAMA, **rope("yarn", factor=2.0, original_max_position_embeddings=32)), older_rope),
    ("qwen3-window", "Qwen3Config", dict(LLAMA, use_sliding_window=True, sliding_window=5, **layer_types("sfs")), None),
    ("phi3", "Phi3Config", PHI, None),
    ("phi3-partial-window", "Phi3Config", dict(PHI, sliding_window=7, **rope("default", partial_rotary_factor=0.5)), None),
    ("phi3-long", "Phi3Config", dict(PHI, **longrope(8)), None),
    ("phi3-switch", "Phi3Config", dict(PHI, **longrope(32)), None),
    ("phi3-older", "Phi3Config", dict(PHI, **longrope(24)), older_rope),
    ("olmo2", "Olmo2Config", LLAMA, None),
    ("olmo2-bias-tied", "Olmo2Config", dict(LLAMA, attention_bias=True, tie_word_embeddings=True), None),
    ("gemma2", "Gemma2Config", dict(GEMMA, attn_logit_softcapping=1.5, final_logit_softcapping=4.0), None),
    ("gemma2-no-caps", "Gemma2Config", dict(GEMMA, attn_logit_softcapping=None, final_logit_softcapping=None), None),
    ("gemma2-of-llama-cpp", "Gemma2Config", dict(GEMMA, query_pre_attn_scalar=12, attn_logit_softcapping=1.5, final_logit_softcapping=4.0), None),
    ("gemma3-of-llama-cpp", "Gemma3TextConfig", dict(GEMMA, num_hidden_layers=7, query_pre_attn_scalar=12, **gemma_rope(rope_type="linear", factor=4.0), **layer_types("sssssfs")), None),
    ("gemma3", "Gemma3TextConfig", dict(GEMMA, **gemma_rope(), **layer_types("ssfs")), None),
    ("gemma3-cap-bias", "Gemma3TextConfig", dict(GEMMA, final_logit_softcapping=3.0, attention_bias=True, tie_word_embeddings=False), None),
    ("gemma3-linear", "Gemma3TextConfig", dict(GEMMA, **gemma_rope(rope_type="linear", factor=4.0), **layer_types("sfsf")), None),
    ("gemma3-older", "Gemma3TextConfig", dict(GEMMA, **gemma_rope(rope_type="linear", factor=4.0), **layer_types("sfsf")), older_gemma),
    ("gpt-neox", "GPTNeoXConfig", dict(NEOX, **rope("default", partial_rotary_factor=0.5)), None),
    ("gpt-neox-in-turn", "GPTNeoXConfig", dict(NEOX, hidden_size=32, use_parallel_residual=False, attention_bias=False), None),
    ("gpt-neox-tied-linear", "GPTNeoXConfig", dict(NEOX, tie_word_embeddings=True, **rope("linear", factor=2.0, partial_rotary_factor=1.0)), None),
    ("gpt-neox-older", "GPTNeoXConfig", dict(NEOX, **rope("default", partial_rotary_factor=0.5)), older_neox),
    ("opt", "OPTConfig", OPT, None),
    ("opt-untied-no-bias", "OPTConfig", dict(OPT, enable_bias=False, tie_word_embeddings=False), None),
    ("opt-narrow-embeddings", "OPTConfig", dict(OPT, do_layer_norm_before=False, word_embed_proj_dim=24), None),
    ("opt-post", "OPTConfig", dict(OPT, do_layer_norm_before=False, activation_function="gelu"), None),
    ("bart", "BartConfig", SEQ2SEQ, None),
    ("bart-scaled", "BartConfig", dict(SEQ2SEQ, scale_embedding=True, activation_function="relu"), None),
    ("marian", "MarianConfig", dict(SEQ2SEQ, activation_function="swish", scale_embedding=True), None),
    ("pegasus", "PegasusConfig", dict(SEQ2SEQ, activation_function="relu", scale_embedding=True), None),
    ("t5", "T5Config", dict(T5, feed_forward_proj="relu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0), None),
    ("t5-gated", "T5Config", dict(T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0), None),
    ("bert", "BertConfig", dict(BERT, max_position_embeddings=CONTEXT), None),
    ("roberta", "RobertaConfig", dict(BERT, max_position_embeddings=CONTEXT + 2, type_vocab_size=1), None),
    ("xlm-roberta", "XLMRobertaConfig", dict(BERT, max_position_embeddings=CONTEXT + 2, layer_norm_eps=1e-5), None),
    ("gemma3-full", "Gemma3Config", dict(text_config=dict(GEMMA, **gemma_rope(), **layer_types("ssfs")), vision_config=SIGLIP, mm_tokens_per_image=4, image_token_index=290, boi_token_index=291, eoi_token_index=292), None),
    ("gpt-neox-odd", "GPTNeoXConfig", dict(NEOX, **rope("default", partial_rotary_factor=0.25)), None),
    ("phi3-odd", "Phi3Config", dict(PHI, num_attention_heads=4, **rope("default", partial_rotary_factor=0.75)), None),
    ("qwen2-window-last", "Qwen2Config", dict(LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1), None),
    ("qwen3-window-any", "Qwen3Config", dict(LLAMA, use_sliding_window=True, sliding_window=5, **layer_types("sff")), None),
    ("gemma2-any", "Gemma2Config", dict(GEMMA, **layer_types("fsfs")), None),
    ("gemma3-any", "Gemma3TextConfig", dict(GEMMA, **gemma_rope(), **layer_types("sfss")), None),
    ("llama-beyond", "LlamaConfig", dict(LLAMA, max_position_embeddings=16), None),
    ("llama-dynamic-beyond", "LlamaConfig", dict(LLAMA, max_position_embeddings=16, **rope("dynamic", factor=4.0)), None),
    ("t5-near", "T5Config", dict(T5, feed_forward_proj="relu", relative_attention_num_buckets=32, relative_attention_max_distance=18, decoder_start_token_id=0), None),
    ("t5-beyond", "T5Config", dict(T5, feed_forward_proj="relu", n_positions=16, decoder_start_token_id=0), None),
]


def class_of(config):
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    if config.model_type == "gemma3":
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModel if config.model_type in ENCODERS else transformers.AutoModelForCausalLM


@torch.no_grad()
def make(directory, kind, arguments, older):
    """A model with random numbers everywhere, biases and norms included, saved; its configuration in the older spelling."""
    config = getattr(transformers, kind)(**arguments)
    model = class_of(config).from_config(config, attn_implementation="eager").eval()
    fixed = {"embed_positions"} if config.model_type in ("marian", "pegasus") else set()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point() or any(part in name for part in fixed):
            continue
        if name.endswith("final_logits_bias") or tensor.ndim == 1 and "inv_freq" not in name and "embed_scale" not in name:
            tensor += 0.2 * torch.randn(tensor.shape)
        elif tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape) * (0.6 if "embed" in name or "shared" in name or "wte" in name else 1.5) / tensor.shape[-1] ** 0.5)
    # Version 5 holds all experts in one tensor, and goes back to the published names unless told not to.
    model.save_pretrained(directory, save_original_format="fused" not in directory.name)
    if older:
        path = directory / "config.json"
        config = json.loads(path.read_text())
        older(config)
        path.write_text(json.dumps(config, indent=2))


@torch.no_grad()
def expected(model):
    """What transformers computes from the saved files."""
    rows = lambda n, low=3: torch.randint(low, V, (2, n))
    tokens, values = rows(19), {}
    decoder_tokens = rows(11) if model.config.is_encoder_decoder else None
    result = compute(model, tokens, decoder_tokens)
    values["tokens"] = tokens.tolist()
    if decoder_tokens is not None:
        values["decoder_tokens"] = decoder_tokens.tolist()
    is_encoder = model.config.model_type in ENCODERS
    values["hidden" if is_encoder else "logits"] = result.flatten().tolist()
    if is_encoder:
        return values
    # Token by token through whole passes: no cache to be wrong.
    if decoder_tokens is None:
        row, n, source = tokens[:1], 24, None
    else:
        start = model.config.decoder_start_token_id
        row, n, source = torch.tensor([[start]]), 16, tokens[:1]
        values["greedy_start"] = start
    values["greedy"] = []
    for _ in range(n):
        logits = compute(model, row, None) if source is None else compute(model, source, row)
        token = logits[0, -1].argmax().reshape(1, 1)
        values["greedy"].append(token.item())
        row = torch.cat([row, token], dim=1)
    return values


def largest_difference(genera, directory, values):
    """Of the program's logits, row by row."""
    worst = 0.0
    theirs = torch.tensor(values.get("logits") or values["hidden"]).reshape(2, -1)
    for row, tokens in enumerate(values["tokens"]):
        ask = [genera, "logits", "--model", str(directory), "--json", "--tokens", ",".join(map(str, tokens))]
        if "decoder_tokens" in values:
            ask += ["--decoder-tokens", ",".join(map(str, values["decoder_tokens"][row]))]
        answer = subprocess.run(ask, capture_output=True, text=True)
        if answer.returncode:
            return answer.stderr.strip()
        ours = torch.tensor(json.loads(answer.stdout)["logits"])
        if ours.shape != theirs[row].shape:
            return f"{len(ours)} numbers, expected {len(theirs[row])}"
        worst = max(worst, (ours - theirs[row]).abs().max().item())
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, help="where the models go, one directory each")
    parser.add_argument("--genera", help="the program to compare with")
    parser.add_argument("--only", default="", help="only variants whose name begins so")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference allowed (default 1e-4)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    n_wrong = 0
    for seed, (name, kind, settings, older) in enumerate(VARIANTS):
        if not name.startswith(arguments.only):
            continue
        directory = arguments.directory / name
        shutil.rmtree(directory, ignore_errors=True)
        torch.manual_seed(seed)
        make(directory, kind, settings, older)
        values = expected(load(directory))
        (directory / "expected.json").write_text(json.dumps(values))
        if not arguments.genera:
            continue
        difference = largest_difference(arguments.genera, directory, values)
        # Written so that a difference which is not a number is wrong too.
        is_right = not isinstance(difference, str) and difference <= arguments.tolerance
        n_wrong += not is_right
        print(f"{name:24} {difference if isinstance(difference, str) else f'{difference:.1e}'}{'' if is_right else '  WRONG'}")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
