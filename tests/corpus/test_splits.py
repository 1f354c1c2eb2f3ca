import random

import numpy as np
import pytest

from textadv.corpus.rows import NamedRows
from textadv.corpus.splits import build_corpus, choose_labels
from textadv.errors import InputError
from textadv.settings import DataSettings


def part(pairs, file="train.csv", declared=()):
    texts = [text for text, _ in pairs]
    return NamedRows(texts, [name for _, name in pairs], file, "line", range(2, 2 + len(pairs)), declared)


def build(train, seed=0, fraction=0.2, keep=False, cut="random", **others):
    parts = {"train": [part(train)]} | {name: [part(rows, f"{name}.csv")] for name, rows in others.items()}
    settings = DataSettings(seed=seed, validation_fraction=fraction, keep_duplicates=keep, validation_cut=cut)
    return build_corpus(parts, settings)


TRAIN = [(f"good {i}", "pos") for i in range(20)] + [(f"bad {i}", "neg") for i in range(30)]


@pytest.mark.parametrize("seed", [0, 1])
def test_validation_is_the_last_share_of_each_class_in_the_order_of_the_source(seed):
    rows = list(TRAIN)
    random.Random(seed).shuffle(rows)
    last = {text for kind, size in (("good", 4), ("bad", 6)) for text in [t for t, _ in rows if kind in t][-size:]}
    corpus = build(rows, seed=seed, cut="last")
    assert set(corpus.splits["validation"].texts) == last
    assert corpus.splits["validation"].texts == sorted(last)
    assert len(corpus.splits["train"].texts) == len(TRAIN) - len(last)


def test_of_several_copies_the_last_one_says_where_a_text_stands():
    rows = [("copied", "pos"), *TRAIN, ("copied", "pos")]
    assert build(rows, fraction=0.01, cut="last").splits["validation"].texts == ["bad 29", "copied", "copied"]


def test_a_text_that_stands_in_unlabeled_as_well_does_not_stand_later():
    corpus = build(TRAIN, cut="last", unlabeled=[("good 0", None)])
    assert corpus.splits["validation"].texts == build(TRAIN, cut="last").splits["validation"].texts


def test_the_order_goes_on_from_one_file_to_the_next():
    first, second = (part([(f"{kind} {i}", kind) for kind in "ab" for i in numbers]) for numbers in ((8, 9), (1, 2)))
    corpus = build_corpus({"train": [first, second]}, DataSettings(validation_fraction=0.25, validation_cut="last"))
    assert corpus.splits["validation"].texts == ["a 2", "b 2"]


def test_validation_is_a_stratified_share_of_train():
    corpus = build(TRAIN)
    train, validation = corpus.splits["train"], corpus.splits["validation"]
    assert corpus.classes == ("neg", "pos")
    assert (validation.labels.count(0), validation.labels.count(1)) == (6, 4)
    assert sorted(train.texts + validation.texts) == sorted(text for text, _ in TRAIN)
    assert all((label == 1) == text.startswith("good") for text, label in zip(train.texts, train.labels, strict=True))


def test_the_cut_depends_on_the_seed_and_not_on_the_order_of_rows():
    shuffled = random.Random(1).sample(TRAIN, len(TRAIN))
    assert build(shuffled) == build(TRAIN)
    assert build(TRAIN, seed=1) != build(TRAIN)


def test_copies_of_a_text_stay_on_one_side_of_the_cut():
    for seed in range(5):
        corpus = build(TRAIN + TRAIN, seed=seed)
        assert not set(corpus.splits["train"].texts) & set(corpus.splits["validation"].texts)
        assert corpus.report["validation_duplicates_in_train"] == 0


@pytest.mark.parametrize("keep", [False, True])
def test_texts_of_a_given_validation_split_leave_train_and_unlabeled(keep):
    """Else the best checkpoint would be chosen on texts that it was trained on."""
    validation = [("good 0", "pos"), ("bad 1", "neg"), ("free", "neg"), ("fine", "pos")]
    unlabeled = [("free", None), ("good 0", None), ("good 0", None), ("loose", None)]
    corpus = build([*TRAIN, ("good 0", "pos")], keep=keep, validation=validation, unlabeled=unlabeled)
    assert corpus.splits["validation"].texts == ["bad 1", "fine", "free", "good 0"]  # as it is
    seen = {text for name in ("train", "unlabeled") for text in corpus.splits[name].texts}
    assert seen & {text for text, _ in validation} == ({"good 0", "bad 1", "free"} if keep else set())
    assert len(corpus.splits["train"].texts) == (51 if keep else 48)
    assert corpus.report["validation_duplicates_in_train"] == 2
    assert corpus.report["validation_duplicates_in_unlabeled"] == 2
    assert corpus.report["train_rows_removed"] == corpus.report["unlabeled_rows_removed"] == (0 if keep else 3)


def test_texts_of_the_test_split_leave_train_and_unlabeled():
    test = [("good 1", "pos"), ("bad 1", "neg"), ("new", "neg"), ("free", "pos")]
    corpus = build(TRAIN, test=test, unlabeled=[("free", None), ("free", None), ("good 2", None)])
    seen = {text for name in ("train", "validation", "unlabeled") for text in corpus.splits[name].texts}
    assert not seen & {text for text, _ in test}
    assert len(corpus.splits["test"].texts) == 4
    assert corpus.splits["unlabeled"].texts == ["good 2"]
    assert corpus.report == {
        "train_rows_without_label": 0,
        "test_duplicates_in_train": 2,
        "test_duplicates_in_unlabeled": 1,
        "test_duplicates_in_validation": 0,
        "train_duplicates_in_unlabeled": 1,
        "train_rows_removed": 2,
        "unlabeled_rows_removed": 2,
        "validation_duplicates_in_train": 0,
        "validation_duplicates_in_unlabeled": int("good 2" in corpus.splits["validation"].texts),
    }


def test_texts_of_the_test_split_can_be_kept():
    corpus = build(TRAIN, keep=True, test=[("good 1", "pos")], unlabeled=[("good 1", None)])
    assert "good 1" in corpus.splits["train"].texts + corpus.splits["validation"].texts
    assert corpus.splits["unlabeled"].texts == ["good 1"]
    assert corpus.report["test_duplicates_in_train"] == 1
    assert corpus.report["train_rows_removed"] == 0


def test_training_rows_without_a_label_become_unlabeled():
    corpus = build([*TRAIN, ("free", None)], unlabeled=[("loose", "pos")])
    assert corpus.splits["unlabeled"].texts == ["free", "loose"]
    assert corpus.splits["unlabeled"].labels == [-1, -1]
    assert -1 not in corpus.splits["train"].labels
    assert corpus.report["train_rows_without_label"] == 1


@pytest.mark.parametrize(
    ("names", "declared", "classes"),
    [
        (("10", "9", "-1"), (), ("-1", "9", "10")),
        (("b", "a", "10"), (), ("10", "a", "b")),
        (("neg", "pos"), ("pos", "neutral", "neg"), ("pos", "neg")),
    ],
)
def test_order_of_classes(names, declared, classes):
    rows = [(f"{name} {i}", name) for name in names for i in range(2)]
    assert build_corpus({"train": [part(rows, declared=declared)]}, DataSettings()).classes == classes


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(("name", "reason"), [("posi", "label 'posi', which no training row has"), (None, "no label")])
def test_unknown_and_missing_labels_are_refused_by_file_and_line(split, name, reason):
    with pytest.raises(InputError, match=rf"^{split}\.csv, line 3: {reason}"):
        build(TRAIN, **{split: [("x", "pos"), ("y", name)]})


@pytest.mark.parametrize(
    ("train", "others", "reason"),
    [
        ([("a", "pos"), ("b", "pos")], {}, "only the class 'pos'"),
        ([("a", None)], {}, "no labels"),
        ([], {}, "no rows"),
        ([("a", "pos"), ("b", "neg"), ("c", "neg")], {}, "class 'pos' has 1 training texts"),
        (
            [("a", "pos"), ("b", "neg")],
            {"validation": [("c", "pos")], "test": [("a", "pos")]},
            "class 'pos' has no training row left",
        ),
        ([("a", "pos"), ("b", "neg")], {"validation": [("b", "neg")]}, "class 'neg' has no training row left"),
    ],
)
def test_too_little_to_train_on_is_refused(train, others, reason):
    with pytest.raises(InputError, match=reason):
        build(train, **others)


LABELS = np.array([0, 1, -1] * 200)


def labeled(per_class=None, validation=None, seed=0, labels=LABELS):
    return choose_labels(labels, ("neg", "pos", "rare"), per_class, validation, seed)


def test_choice_of_labels_is_balanced_and_nested():
    (few, none), (many, _) = labeled(10, seed=3), labeled(100, seed=3)
    assert none is None
    assert np.bincount(LABELS[few]).tolist() == [10, 10]
    assert np.bincount(LABELS[many]).tolist() == [100, 100]
    assert set(few) < set(many)
    assert (np.diff(few) > 0).all()
    assert few.dtype == np.int64
    assert not np.array_equal(few, labeled(10, seed=4).train)


def test_without_a_budget_all_labeled_rows_are_chosen():
    assert labeled().train.tolist() == [i for i in range(600) if i % 3 != 2]


def test_more_labels_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"--data\.labels_per_class 201: class 'neg' has only 200"):
        labeled(201)


@pytest.mark.parametrize("per_class", [50, None])
def test_validation_labels_count_inside_the_given_ones(per_class):
    given = labeled(per_class).train
    train, validation = labeled(per_class, 20)
    assert sorted([*train, *validation]) == given.tolist()
    assert np.bincount(LABELS[validation]).tolist() == [10, 10]
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    other = labeled(per_class, 20, seed=1)
    assert not np.array_equal(validation, other.validation)
    assert not np.array_equal(train, other.train)


def test_without_validation_labels_all_labels_train():
    train, validation = labeled(50, 0)
    assert train.tolist() == labeled(50).train.tolist()
    assert validation.tolist() == []


def test_choice_of_validation_labels_is_nested():
    """In their number, and in the number of all labels: more labels change neither selection nor what else trains."""
    few, more, many = labeled(50, 20), labeled(50, 40), labeled(100, 20)
    assert set(few.validation) < set(more.validation)
    assert set(few.validation) == set(many.validation)
    assert set(few.train) < set(many.train)


def test_each_class_has_its_share_of_the_validation_labels():
    labels = np.repeat([0, 1, 2, -1], [300, 90, 2, 50])
    shares = {n: np.bincount(labels[labeled(validation=n, labels=labels).validation]).tolist() for n in range(3, 390)}
    assert shares[3] == [1, 1, 1]
    assert shares[40] == [30, 9, 1]
    assert shares[389] == [299, 89, 1]  # one of each is left for training
    for n in range(3, 389):
        assert sum(shares[n]) == n
        assert all(few <= many for few, many in zip(shares[n], shares[n + 1], strict=True))


@pytest.mark.parametrize(
    ("per_class", "validation", "labels"),
    [
        (10, 1, LABELS),  # not one of each class
        (10, 19, LABELS),  # one class would have none left
        (10, 21, LABELS),
        (1, 2, LABELS),
        (None, 399, LABELS),
        (None, 2, np.array([0, 0, 0, 1])),
    ],
)
def test_validation_labels_that_cannot_be_had_are_refused(per_class, validation, labels):
    with pytest.raises(InputError, match=rf"--data\.validation_labels {validation}: \d+ labels are given") as refused:
        labeled(per_class, validation, labels=labels)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("rare", "train", "validation"), [(2, 1, 1), (3, 2, 1)])
def test_a_very_small_class_is_on_both_sides_of_the_cut(rare, train, validation):
    rows = [(f"{name} {i}", name) for name, n in (("usual", 100), ("rare", rare)) for i in range(n)]
    corpus = build(rows)
    counts = {name: np.bincount(corpus.splits[name].labels).tolist() for name in ("train", "validation")}
    assert corpus.classes == ("rare", "usual")
    assert [counts[name][0] for name in ("train", "validation")] == [train, validation]


def test_a_class_that_is_too_small_is_named():
    labels = np.array([0] * 20 + [1] * 20 + [2])
    with pytest.raises(InputError, match=r"--data\.labels_per_class 2: class 'rare' has only 1 labeled training rows"):
        labeled(2, labels=labels)
    with pytest.raises(
        InputError, match=r"--data\.validation_labels 9: 41 labels are given, 1 of them of class 'rare'"
    ):
        labeled(validation=9, labels=labels)
