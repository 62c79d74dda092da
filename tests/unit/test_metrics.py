"""Classification and text scores: equal to the libraries' own on known examples, and honest at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from codelib.contracts import SIX_CLASSES
from codelib.evaluate import similarity
from codelib.evaluate.metrics import chance, classification, macro_f1_interval, majority

CLASS = st.sampled_from(SIX_CLASSES)
ROWS = st.lists(st.tuples(CLASS, st.none() | CLASS), min_size=1, max_size=60)


def test_known_example() -> None:
    references = ["Caries", "Caries", "Pulpitis", "Tooth Loss"]
    scored = classification(references, ["Caries", "Pulpitis", "Pulpitis", None])
    assert scored.accuracy == 0.5
    assert scored.num_unparsed == 1
    assert scored.precision == pytest.approx((2 * 1 + 0.5 + 0) / 4)
    assert scored.f1 == pytest.approx((2 * 2 / 3 + 2 / 3 + 0) / 4)
    assert scored.confusion[0] == (1, 0, 0, 1, 0, 0, 0)
    assert scored.confusion[4] == (0, 0, 0, 0, 0, 0, 1)


@given(ROWS)
def test_weighted_recall_is_accuracy_and_sklearn_agrees(rows: list[tuple[str, str | None]]) -> None:
    references, predictions = [row[0] for row in rows], [row[1] for row in rows]
    scored = classification(references, predictions)
    assert scored.recall == pytest.approx(scored.accuracy)
    answers = [prediction or "nothing" for prediction in predictions]
    options = {"labels": list(SIX_CLASSES), "average": "weighted", "zero_division": 0}
    assert scored.precision == pytest.approx(precision_score(references, answers, **options))
    assert scored.recall == pytest.approx(recall_score(references, answers, **options))
    assert scored.f1 == pytest.approx(f1_score(references, answers, **options))
    assert sum(map(sum, scored.confusion)) == len(rows)
    assert sum(row[-1] for row in scored.confusion) == scored.num_unparsed == predictions.count(None)


@given(ROWS)
def test_macro_is_sklearns_over_the_classes_of_the_test_set(rows: list[tuple[str, str | None]]) -> None:
    references, answers = [row[0] for row in rows], [row[1] or "nothing" for row in rows]
    scored = classification(references, [row[1] for row in rows])
    options = {"labels": sorted(set(references)), "average": "macro", "zero_division": 0}
    assert scored.macro_precision == pytest.approx(precision_score(references, answers, **options))
    assert scored.macro_recall == pytest.approx(recall_score(references, answers, **options))
    assert scored.macro_f1 == pytest.approx(f1_score(references, answers, **options))


def test_sklearns_own_example() -> None:
    """The example in the documentation of precision_recall_fscore_support (cat, dog, pig), and of f1_score (three classes)."""
    cat, dog, pig = SIX_CLASSES[:3]
    scored = classification([cat, dog, pig, cat, dog, pig], [cat, pig, dog, cat, cat, dog])
    assert (scored.macro_precision, scored.macro_recall, scored.macro_f1) == pytest.approx((0.22222, 0.33333, 0.26667), abs=1e-5)
    assert (scored.precision, scored.recall, scored.f1) == pytest.approx((0.22222, 0.33333, 0.26667), abs=1e-5)
    assert [c.precision for c in scored.per_class[:3]] == pytest.approx([2 / 3, 0, 0])
    assert [c.f1 for c in scored.per_class[:3]] == pytest.approx([0.8, 0, 0])


def test_macro_interval_holds_the_point_and_knows_patients() -> None:
    references = ["Caries", "Pulpitis", "Gingivitis", "Caries"] * 20
    answers: list[str | None] = ["Caries", "Pulpitis", "Caries", None] * 20
    patients = [str(n) for n in range(80)]
    interval = macro_f1_interval(references, answers, patients, 0)
    assert interval is not None
    assert interval.low < classification(references, answers).macro_f1 < interval.high
    assert macro_f1_interval(references, answers, ["one"] * 80, 0) is None


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no answered sample"):
        classification([], [])
    with pytest.raises(ValueError, match="no answered sample"):
        similarity.score_texts([], [])


def test_majority_is_of_the_test_set() -> None:
    found = majority(["Pulpitis"] * 3 + ["Caries"])
    assert found.name == "majority (always Pulpitis)"
    assert found.accuracy == 0.75
    assert found.macro_f1 == pytest.approx((2 * 0.75 / 1.75) / 2)  # the other class that is there gets nothing


def test_chance_is_what_uniform_guesses_get() -> None:
    rng = np.random.default_rng(0)
    references = list(rng.choice(SIX_CLASSES, size=20_000, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]))
    drawn = classification(references, list(rng.choice(SIX_CLASSES, size=20_000)))
    expected = chance(references)
    for metric in ("accuracy", "precision", "recall", "f1", "macro_f1"):
        assert getattr(expected, metric) == pytest.approx(getattr(drawn, metric), abs=0.01)


def corpus(references: list[str], answers: list[str]) -> tuple[float, str]:
    return similarity.corpus_bleu(similarity.bleu_rows(references, answers))


def test_bleu_is_sacrebleus() -> None:
    import sacrebleu

    references = ["the cat sat on the mat today", "caries of tooth 16 with pain"]
    answers = ["the cat sat on a mat today", "caries of tooth 17 with pain"]
    score, signature = corpus(references, answers)
    assert score == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score)
    assert similarity.bleu_rows(references, answers)[0].score == pytest.approx(
        sacrebleu.sentence_bleu(answers[0], [references[0]]).score / 100
    )
    metric = sacrebleu.BLEU()
    metric.corpus_score(answers, [references])
    assert signature == str(metric.get_signature())


def test_bleu_of_sacrebleus_own_documentation() -> None:
    """The example of its README has 48.53 with two references; with the first alone it is what the library says."""
    import sacrebleu

    said = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    assert sacrebleu.corpus_bleu(said, [first, second]).score == pytest.approx(48.530827, abs=1e-5)
    assert corpus(first, said)[0] == pytest.approx(sacrebleu.corpus_bleu(said, [first]).score)
    assert corpus(first, first)[0] == pytest.approx(100.0)


BLEU_WORDS = st.lists(st.sampled_from(["caries", "of", "tooth", "16", "deep", ",", ".", "a"]), max_size=12).map(" ".join)


@given(st.lists(st.tuples(BLEU_WORDS, BLEU_WORDS), min_size=1, max_size=6))
def test_bleu_of_any_rows_is_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    import sacrebleu

    references, answers = [a for a, _ in pairs], [b for _, b in pairs]
    assert corpus(references, answers)[0] == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score)


def test_chinese_references_are_cut_by_character() -> None:
    import sacrebleu

    references, answers = ["右上第一磨牙深龋，建议充填治疗"], ["右上第一磨牙中龋，建议充填治疗"]
    score, signature = corpus(references, answers)
    assert "tok:zh" in signature
    assert score == pytest.approx(sacrebleu.corpus_bleu(answers, [references], tokenize="zh").score)
    assert score > 50
    assert similarity.meteor(references[0], answers[0]) > 0.8


def test_two_languages_are_each_cut_by_their_own_rule() -> None:
    import sacrebleu

    references = ["deep caries of tooth 16, with pain", "右上第一磨牙深龋，建议充填治疗"]
    answers = ["deep caries of tooth 17, with pain", "右上第一磨牙中龋，建议充填治疗"]
    scores = similarity.score_texts(references, answers, ["ngrams"])
    assert scores.bleu[0] == pytest.approx(sacrebleu.sentence_bleu(answers[0], [references[0]]).score / 100)
    assert scores.bleu[1] == pytest.approx(sacrebleu.sentence_bleu(answers[1], [references[1]], tokenize="zh").score / 100)
    assert "exact matches only" in scores.meteor_method
    assert "tok:13a" in scores.bleu_signature
    assert "tok:zh" in scores.bleu_signature
    english = similarity.part_of(scores, [0])
    assert (english.bleu, english.meteor, english.cosine) == (scores.bleu[:1], scores.meteor[:1], scores.cosine[:1])
    assert "tok:zh" not in english.bleu_signature
    assert "Chinese" not in english.meteor_method
    assert english.corpus_bleu == pytest.approx(sacrebleu.corpus_bleu(answers[:1], [references[:1]]).score)


def test_meteor_is_nltks() -> None:
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import meteor_score

    if similarity.wordnet() is None:
        pytest.skip("WordNet is not installed: tests/system/wordnet.sh puts it into .nltk_data")
    reference, answer = "The patient's tooth 16 shows deep caries.", "deep decay is shown in tooth 16"
    assert similarity.meteor("the car", "the auto") == pytest.approx(0.9375)
    expected = meteor_score([wordpunct_tokenize(reference)], wordpunct_tokenize(answer))
    assert similarity.meteor(reference, answer) == pytest.approx(expected)
    assert "WITHOUT" not in similarity.meteor_method()


def test_meteor_of_nltks_documentation() -> None:
    """The values that NLTK's own documentation of meteor_score and single_meteor_score gives, to its four digits."""
    if similarity.wordnet() is None:
        pytest.skip("WordNet is not installed: tests/system/wordnet.sh puts it into .nltk_data")
    answer = "It is a guide to action which ensures that the military always obeys the commands of the party"
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"
    assert round(similarity.meteor(reference, answer), 4) == 0.6944
    assert similarity.meteor("this is a cat", "non matching hypothesis") == 0.0


WORDS = st.sampled_from(
    [
        "the",
        "a",
        "car",
        "auto",
        "tooth",
        "teeth",
        "decay",
        "caries",
        "decayed",
        "shows",
        "showing",
        "deep",
        "deeply",
        "big",
        ".",
        "16",
        "牙",
    ]
)


@given(st.lists(WORDS, max_size=25), st.lists(WORDS, max_size=25))
def test_kept_stems_and_synonyms_change_no_meteor(reference: list[str], answer: list[str]) -> None:
    from nltk.translate.meteor_score import meteor_score

    if similarity.wordnet() is None:
        pytest.skip("WordNet is not installed: tests/system/wordnet.sh puts it into .nltk_data")
    expected = meteor_score([reference], answer) if reference and answer else 0.0
    assert similarity.meteor(" ".join(reference), " ".join(answer)) == pytest.approx(expected)


def test_meteor_without_wordnet_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "wordnet", lambda: None)
    assert similarity.meteor("the car", "the auto") == pytest.approx(0.25)
    assert "WITHOUT synonyms" in similarity.meteor_method()


def test_an_empty_answer_counts_nothing() -> None:
    scores = similarity.score_texts(["deep caries of tooth 16", "pulpitis"], ["", "  "], ["ngrams"])
    assert (scores.corpus_bleu, scores.bleu, scores.meteor, scores.cosine) == (0.0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    assert scores.lengths == ((0, 5), (0, 1))
