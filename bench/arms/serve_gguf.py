"""The base and the adapters of the serving bench as GGUF, for llama.cpp; of models built as Llama.

The base has no vocabulary of words: the bench speaks in token ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.quants import quantize
from report import receive, send
from transformers import AutoConfig, AutoModelForCausalLM

from mien.base.lora import as_pairs, read_folder

Array = np.ndarray[Any, np.dtype[np.float32]]
_TURNED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}


def write_base(folder: str, kind: Kind, target: Path) -> None:
    """The model in `folder`, its matrices in this type, as a file."""
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    writer = _shaped(gguf.GGUFWriter(target, "llama"), config)
    known = names(config)
    for path, tensor in model.state_dict().items():
        if path == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = known.get_name(path, try_suffixes=(".weight",))
        _add(writer, name, turned(name, tensor.numpy(), config), kind)
    _close(writer)


def write_adapter(base: str, folder: str, kind: Kind, target: Path) -> None:
    """A PEFT folder as a file."""
    config, known = AutoConfig.from_pretrained(base), names(AutoConfig.from_pretrained(base))
    lora, tensors = read_folder(Path(folder))
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    for path, (a, b) in as_pairs(tensors).items():
        name = f"{known.get_name(path)}.weight"
        _add(writer, f"{name}.lora_a", a.numpy(), kind)
        _add(writer, f"{name}.lora_b", turned(name, b.numpy(), config), kind)
    _close(writer)


def names(config: Any) -> Any:
    """From transformers' names to GGUF's."""
    return gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)


def turned(name: str, matrix: Array, config: Any) -> Array:
    """Rows of queries and keys in llama.cpp's order: what is rotated together lies side by side."""
    heads = next((key for part, key in _TURNED.items() if f".{part}." in name), None)
    if heads is None:
        return matrix
    halves = matrix.reshape(getattr(config, heads), 2, -1, matrix.shape[-1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _shaped(writer: Any, config: Any) -> Any:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    return writer


def _add(writer: Any, name: str, array: Array, kind: Kind) -> None:
    """Matrices in the type that is wanted, vectors in float32."""
    wanted = kind if array.ndim > 1 else Kind.F32
    writer.add_tensor(name, quantize(np.ascontiguousarray(array), wanted), raw_dtype=wanted)


def _close(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """All of them, in each of the types."""
    out = Path(job["out"])
    bases = {name: str(out / f"base-{name}.gguf") for name in job["kinds"]}
    for name, path in bases.items():
        write_base(job["folder"], Kind[name.upper()], Path(path))
    adapters = {folder: f"{folder}.gguf" for folder in job["adapters"]}
    for folder, path in adapters.items():
        write_adapter(job["folder"], folder, Kind.F32, Path(path))
    return {"gguf": bases, "gguf_adapters": adapters}


if __name__ == "__main__":
    send(convert(receive()))
