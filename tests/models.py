"""Tiny real models: made in a fraction of a second, the same ones every time.

Wide initial weights make attention and adapters matter, so that a wrong mask or scale shows.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from mien.base.fetch import BaseFiles
from mien.base.lora import Adapters
from mien.base.model import Base

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
_TEXT = ("the ship sails at dawn, and the wind is fair", "hello there, how are you today", "user model")
_VOCABULARY = 300


def tiny_tokenizer(marks: tuple[str, ...] = CHATML, **special: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 300 tokens or fewer, `marks` among them, trained on the spot."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(marks),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXT * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


def chatml_tokenizer() -> PreTrainedTokenizerFast:
    """With SmolLM2's marks; two different tokens end a reply."""
    return tiny_tokenizer(CHATML, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def gemma_tokenizer() -> PreTrainedTokenizerFast:
    """With Gemma's marks and its beginning-of-sequence token."""
    return tiny_tokenizer(GEMMA, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def llama_model(seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """Two layers, four query heads on two key heads, an output head of its own."""
    torch.manual_seed(seed)
    shape = {
        "vocab_size": _VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    return LlamaForCausalLM(LlamaConfig(**shape | config)).eval()


def gemma_model(seed: int = 0) -> Gemma3ForCausalLM:
    """One layer sees all, one a window of 6 tokens; norms, scales and tied head as Gemma 3 has them."""
    torch.manual_seed(seed)
    config = Gemma3TextConfig(
        vocab_size=_VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.3,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return Gemma3ForCausalLM(config).eval()


def tiny_base(seed: int = 0) -> Base:
    """A Llama of 32 dimensions that speaks ChatML."""
    return Base(llama_model(seed), chatml_tokenizer(), _files("tiny"))


def tiny_gemma(seed: int = 0) -> Base:
    """A Gemma 3 of 32 dimensions."""
    return Base(gemma_model(seed), gemma_tokenizer(), _files("tiny-gemma"))


def shake(adapters: Adapters, name: str, seed: int = 0, size: float = 0.1) -> None:
    """Give an adapter values, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in adapters.parameters(name):
            matrix.normal_(std=size, generator=generator)


def save_folder(folder: Path, seed: int = 0) -> Path:
    """The tiny Llama as a folder of transformers."""
    llama_model(seed).save_pretrained(folder)
    chatml_tokenizer().save_pretrained(folder)
    return folder


def write_gguf(path: Path, seed: int = 0) -> Path:
    """The tiny Llama as a GGUF file, named and laid out as llama.cpp's converter does it."""
    model, tokenizer = llama_model(seed), chatml_tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    _write_config(writer, model.config)
    _write_tokens(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(_gguf_name(name), _gguf_layout(name, tensor, model.config).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _files(name: str) -> BaseFiles:
    return BaseFiles(name, Path(name), "0" * 64, "Apache-2.0")


def _write_config(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)


def _write_tokens(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([control if token in CHATML else normal for token, _ in vocabulary])
    writer.add_token_merges(_merges(tokenizer))
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(0)


def _merges(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in merges]


def _gguf_name(name: str) -> str:
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.weight", name)
    return f"blk.{found[1]}.{parts[found[2]]}.weight" if found else names[name]


def _gguf_layout(name: str, tensor: torch.Tensor, config: LlamaConfig) -> torch.Tensor:
    """llama.cpp rotates neighbouring pairs where transformers rotates halves."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    count = next((heads[key] for key in heads if key in name), None)
    if count is None:
        return tensor.detach()
    rows, columns = tensor.shape
    halves = tensor.detach().view(count, 2, rows // count // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns).contiguous()
