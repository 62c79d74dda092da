"""Cosine similarity by any model: equal to what the model itself gives, honest about what it can read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from codelib.evaluate import embedding_models
from codelib.evaluate.embeddings import Cosines, Embeddings, cosines, prepare

REPORT = "Examination: tooth 16 has deep caries. Diagnosis: deep caries of 16. " * 4
OTHER = "The weather is fine and the sea is calm."


class Setting(BaseModel):
    embeddings: Embeddings = ("auto",)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two tiny random models: one that reads (BERT, words it does not know are [UNK]) and one that writes (Llama, bytes), of 64 positions."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast, set_seed

    set_seed(0)
    made = {}
    words = sorted({*REPORT.lower().replace(".", " .").replace(":", " :").split(), *OTHER.lower().replace(".", " .").split()})
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    reading = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    reading.pre_tokenizer = pre_tokenizers.Whitespace()
    reading.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    bert = PreTrainedTokenizerFast(tokenizer_object=reading, unk_token="[UNK]", pad_token="[PAD]", model_max_length=64)
    size = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    made["reads"] = _saved(tmp_path_factory.mktemp("reads"), bert, BertModel(BertConfig(vocab_size=len(vocabulary), **size)))

    alphabet = {sign: n for n, sign in enumerate(["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    writing = Tokenizer(models.BPE(alphabet, []))
    writing.pre_tokenizer, writing.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    writing.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    llama = PreTrainedTokenizerFast(tokenizer_object=writing, bos_token="<s>")
    made["writes"] = _saved(tmp_path_factory.mktemp("writes"), llama, LlamaModel(LlamaConfig(vocab_size=len(alphabet), **size)))
    return made


def _saved(folder: Path, tokenizer: Any, model: Any) -> str:
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


def _by_hand(folder: str, text: str, pool: str) -> np.ndarray:
    """What one would write for a single text that fits into the model."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state[0].double().numpy()
    vector = states.mean(axis=0) if pool == "mean" else states[-1]
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("kind", ["reads", "writes"])
@pytest.mark.parametrize("pool", ["mean", "last"])
def test_a_model_s_cosine_is_its_own(folders: dict[str, str], kind: str, pool: str) -> None:
    texts = ["deep caries of 16.", "the weather is fine.", "tooth 16"]
    answers = ["tooth 16 has deep caries.", "deep caries.", "calm"]
    found = cosines(texts, answers, [f"{folders[kind]}#{pool}"])
    expected = [
        float(_by_hand(folders[kind], a, pool) @ _by_hand(folders[kind], b, pool)) for a, b in zip(texts, answers, strict=True)
    ]
    assert found.mean == pytest.approx(expected, abs=1e-5)
    (name,) = found.models
    assert Path(folders[kind]).name in name
    assert str(Path(folders[kind]).parent) not in name


def test_a_report_longer_than_the_model_is_read_in_windows(folders: dict[str, str]) -> None:
    same, other = cosines([REPORT, REPORT], [REPORT, OTHER * 9], [folders["reads"]]).mean
    assert same == pytest.approx(1.0)
    assert other < 0.999
    long_before = cosines([REPORT], [REPORT + OTHER], [folders["writes"]]).mean[0]
    assert long_before < 1.0  # what stands behind the first window counts


def test_long_texts_of_a_half_precision_model_are_not_infinite() -> None:
    """float16 ends at 65,504: the vectors of a long window add up to more."""
    reader = object.__new__(embedding_models._Reader)
    reader.pool, reader.device = "mean", "cpu"
    reader.model = lambda input_ids, attention_mask: SimpleNamespace(
        last_hidden_state=torch.full((*input_ids.shape, 4), 60.0, dtype=torch.float16)
    )
    assert reader._forward([[1] * 2000]).tolist() == [[120_000.0] * 4]


def test_the_mean_over_models_and_what_each_says(folders: dict[str, str]) -> None:
    found = cosines([REPORT], [OTHER], [folders["reads"], folders["writes"]])
    each = [scores[0] for scores in found.models.values()]
    assert found.mean[0] == pytest.approx(sum(score for score in each if score is not None) / 2)
    assert found.method.count("mean of tokens") == 2


def test_a_chinese_text_is_for_models_that_know_its_characters(folders: dict[str, str]) -> None:
    references, answers = ["右上深龋", REPORT], ["右上深龋", OTHER]
    both = cosines(references, answers, [folders["reads"], folders["writes"]])
    columns = list(both.models.values())
    assert columns[0][0] is None
    assert columns[1][0] == pytest.approx(1.0)
    assert "[1 English texts]" in both.method
    alone = cosines(references, answers, [folders["reads"]])
    assert alone.mean[0] == pytest.approx(1.0)
    assert "LEXICAL" in alone.method
    assert "[1 Chinese texts]" in alone.method
    assert list(alone.part([1]).models) == [next(iter(both.models))]


def test_a_method_names_what_a_model_read() -> None:
    """Some of both languages, where a vocabulary has the characters of some texts alone."""
    found = Cosines({"a": (1.0, 1.0, None), "b": (None, 1.0, 1.0), "c": (1.0, None, None)}, (False, True, True))
    assert found.method == "a [2 texts]; b [2 Chinese texts]; c [1 English texts]"


def test_a_text_is_embedded_once_for_each_model(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [folders["reads"], folders["writes"]]
    prepare([REPORT, OTHER, "右上深龋"], entries)
    embedding_models._reader.cache_clear()
    monkeypatch.setattr(embedding_models, "_reader", lambda model: pytest.fail("loaded again"))
    assert cosines([REPORT, "右上深龋"], [OTHER, OTHER], entries).mean


def test_an_empty_answer_is_like_nothing(folders: dict[str, str]) -> None:
    for entry in ("ngrams", folders["reads"], folders["writes"]):
        assert cosines(["caries", ""], [" ", "caries"], [entry]).mean == (0.0, 0.0)
        assert cosines([], [], [entry]).mean == ()


def test_the_default_knows_meaning_where_it_is_installed() -> None:
    auto = cosines(["caries of tooth 16"] * 3, ["caries of tooth 16", "tooth 16 has caries", "the weather is fine"])
    assert auto.mean[0] == pytest.approx(1.0)
    assert auto.mean[2] < auto.mean[1] < 1.0
    ngrams = cosines(["右上深龋", "牙髓炎"], ["右上深龋", "错牙合畸形"])
    assert "LEXICAL" in ngrams.method
    assert ngrams.mean[0] == pytest.approx(1.0)
    assert ngrams.mean[1] < 0.2


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "empty list"),
        (["auto#last"], "only behind a folder"),
        (["/no/such/folder"], "no such folder"),
        (["./missing"], "no such folder"),
        (["google/gemma-2b#max"], "mean or last"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_at_once(entries: list[str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Setting(embeddings=tuple(entries))


def test_folders_are_looked_into_and_hub_ids_are_not(folders: dict[str, str], tmp_path: Path) -> None:
    assert Setting(embeddings=("google/gemma-2b", f"{folders['reads']}#last", "ngrams")).embeddings
    with pytest.raises(ValidationError, match=r"without config\.json"):
        Setting(embeddings=(str(tmp_path),))


def test_a_broken_model_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="transformers cannot open it") as told:
        cosines(["caries"], ["caries"], [str(tmp_path)])
    assert str(tmp_path) not in str(told.value)
