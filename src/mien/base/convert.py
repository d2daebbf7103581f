"""Turns a GGUF file into a folder that transformers loads fast, without the quantisation marks."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from mien.errors import BaseError, first_line

_UNREADABLE = (ValueError, NotImplementedError, KeyError, IndexError, OSError, struct.error)


def gguf_to_folder(gguf: Path, folder: Path) -> None:
    """Write the model (float32 safetensors) and the tokenizer of `gguf` into `folder`.

    Raises:
        BaseError: transformers cannot read this architecture from GGUF.
    """
    transformers_logging.disable_progress_bar()
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except _UNREADABLE as error:
        raise BaseError(
            f"{gguf}: transformers cannot read it ({first_line(error)}).",
            fix="Use another quantisation of the model, or its safetensors folder.",
        ) from error
    # The weights are plain floats now; without this, saving would claim they are still quantised.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    tokenizer.chat_template = None  # conversations are rendered in one place: base/render.py
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
