from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from textadv.corpus.batching import Batch
from textadv.corpus.datamodules import VALIDATION_WINDOWS, FinetuningData, PretrainingData, evaluation_batches
from textadv.corpus.store import Split, TokenStore
from textadv.errors import InputError
from textadv.settings import DataSettings, FinetuningSettings, ModelSettings, PretrainingSettings

MakeStore = Callable[..., TokenStore]


def settings(**changes: Any) -> FinetuningSettings:
    return FinetuningSettings(**({"method": "vat", "batch_size": 4, "unlabeled_batch_size": 5} | changes))


def finetuning(
    store: TokenStore, labels_per_class: int | None = None, validation_labels: int | None = None, **changes: Any
) -> FinetuningData:
    data = DataSettings(labels_per_class=labels_per_class, validation_labels=validation_labels)
    return FinetuningData(store, data, settings(**changes), seed=0)


def contents(batches: list[Batch]) -> list[tuple[tuple[int, ...], int]]:
    """Documents with their labels, sorted."""
    return sorted(
        (tuple(tokens[:length]), label)
        for batch in batches
        for tokens, length, label in zip(
            batch.tokens.tolist(), batch.lengths.tolist(), batch.labels.tolist(), strict=True
        )
    )


def rows(*splits: Split, labels: bool = True) -> list[tuple[tuple[int, ...], int]]:
    return sorted(
        (tuple(split.document(i).tolist()), int(split.labels[i]) if labels else -1)
        for split in splits
        for i in range(len(split))
    )


def place(data: FinetuningData | PretrainingData, step: int, rank: int = 0, world_size: int = 1) -> None:
    """Stand a data module in a trainer."""
    data.trainer = SimpleNamespace(global_step=step, global_rank=rank, world_size=world_size)  # type: ignore[assignment]


def test_a_step_has_a_labeled_and_an_unlabeled_batch(make_store: MakeStore) -> None:
    store = make_store()
    pairs = list(islice(finetuning(store).train_dataloader(), 6))
    assert all(set(pair) == {"labeled", "unlabeled"} for pair in pairs)
    assert all(len(pair["labeled"].labels) == 4 and len(pair["unlabeled"].labels) == 4 for pair in pairs)
    # Epochs of 3 labeled batches (12 documents) and of 2 unlabeled ones (8 documents).
    for start in (0, 3):
        assert contents([pair["labeled"] for pair in pairs[start : start + 3]]) == rows(store.splits["train"])
    for start in (0, 2, 4):
        unlabeled = contents([pair["unlabeled"] for pair in pairs[start : start + 2]])
        assert unlabeled == rows(store.splits["unlabeled"])
        assert {label for _, label in unlabeled} == {-1}


def test_what_is_not_labeled_any_more_becomes_unlabeled(make_store: MakeStore) -> None:
    store = make_store()
    data = finetuning(store, labels_per_class=2, unlabeled_batch_size=100)
    assert data.num_labeled == 4
    pair = next(iter(data.train_dataloader()))
    labeled, unlabeled = contents([pair["labeled"]]), contents([pair["unlabeled"]])
    assert sorted(label for _, label in labeled) == [0, 0, 1, 1]
    assert set(labeled) <= set(rows(store.splits["train"]))
    hidden = rows(store.splits["train"], store.splits["unlabeled"], labels=False)
    # Every document is in one of the two and none in both; no label is left in the unlabeled batch.
    assert sorted(unlabeled + [(document, -1) for document, _ in labeled]) == hidden


def test_the_rest_of_train_is_unlabeled_text_too(make_store: MakeStore) -> None:
    pair = next(iter(finetuning(make_store(unlabeled=0), labels_per_class=1).train_dataloader()))
    assert pair["unlabeled"].labels.tolist() == [-1] * 5


def test_labels_that_select_neither_train_nor_become_unlabeled(make_store: MakeStore) -> None:
    store = make_store()
    data = finetuning(store, labels_per_class=3, validation_labels=2, unlabeled_batch_size=100)
    assert (data.num_labeled, data.num_validation) == (4, 2)
    pair = next(iter(data.train_dataloader()))
    labeled, unlabeled = contents([pair["labeled"]]), contents([pair["unlabeled"]])
    validation = contents(list(data.val_dataloader()))
    assert sorted(label for _, label in validation) == [0, 1]
    train = rows(store.splits["train"])
    assert set(validation) < set(train)
    given = contents(list(islice((p["labeled"] for p in finetuning(store, 3).train_dataloader()), 2)))
    assert sorted(labeled + validation) == given
    rest = [(document, -1) for document, label in train if (document, label) not in given]
    rest += rows(store.splits["unlabeled"])  # the validation split is left alone
    selecting = {document for document, _ in validation}
    assert unlabeled == sorted(row for row in rest if row[0] not in selecting)


@pytest.mark.parametrize("keep", [False, True])
def test_copies_of_texts_that_select_do_not_train(make_store: MakeStore, keep: bool) -> None:
    """Else the best checkpoint would be chosen on texts that it was trained on."""
    data = DataSettings(validation_labels=2, keep_duplicates=keep)
    tokens = np.array([5, 2, 6, 2, 5, 2, 7, 2, 8, 2, 8, 2, 9, 2, 7, 2], np.uint16)
    train = Split(tokens, np.arange(0, 17, 2), np.array([0, 1] * 4))  # 5 and 8 and 7 stand twice
    unlabeled = Split(np.array([5, 2, 6, 2, 7, 2, 8, 2, 9, 2, 10, 2], np.uint16), np.arange(0, 13, 2), np.full(6, -1))
    store = make_store()
    store.splits.update(train=train, unlabeled=unlabeled)
    module = FinetuningData(store, data, settings(batch_size=100, unlabeled_batch_size=100), seed=0)
    pair = next(iter(module.train_dataloader()))
    trained = {document for document, _ in contents(list(pair.values()))}
    selecting = {document for document, _ in contents(list(module.val_dataloader()))}
    assert len(selecting) == 2
    assert (len(selecting & trained) == 2) == keep
    assert keep or not selecting & trained
    assert trained | selecting == {document for document, _ in rows(train, unlabeled)}


def test_a_class_of_copies_cannot_both_train_and_select(make_store: MakeStore) -> None:
    store = make_store()
    store.splits["train"] = Split(
        np.array([5, 2, 6, 2, 5, 2, 7, 2], np.uint16), np.arange(0, 9, 2), np.array([0, 1] * 2)
    )
    with pytest.raises(InputError, match=r"--data\.validation_labels 2: all training texts of a class are copies"):
        finetuning(store, validation_labels=2)


@pytest.mark.parametrize("world_size", [1, 2])
def test_ranks_share_the_labels_that_select(make_store: MakeStore, world_size: int) -> None:
    data = finetuning(make_store(), validation_labels=4)
    alone = contents(list(data.val_dataloader()))
    batches: list[Batch] = []
    for rank in range(world_size):
        place(data, 0, rank, world_size)
        batches += data.val_dataloader()
    assert contents(batches) == alone
    assert len(alone) == 4
    place(data, 0, 0, world_size=5)
    with pytest.raises(InputError, match="5 processes cannot share 4 validation documents"):
        data.val_dataloader()


def test_without_validation_labels_no_label_is_validated_with(make_store: MakeStore) -> None:
    data = finetuning(make_store(), labels_per_class=3, validation_labels=0)
    assert (data.num_labeled, data.num_validation) == (6, 0)
    place(data, 0, 0, world_size=3)
    assert list(data.val_dataloader()) == [None]


@pytest.mark.parametrize("method", ["vat", "adversarial+vat"])
def test_vat_without_unlabeled_text_is_refused(make_store: MakeStore, method: str) -> None:
    with pytest.raises(InputError, match=r"--finetuning\.method .*vat: needs unlabeled text"):
        finetuning(make_store(unlabeled=0), method=method)


@pytest.mark.parametrize("changes", [{"method": m} for m in ("none", "random", "adversarial")] + [{"vat_weight": 0.0}])
@pytest.mark.parametrize("unlabeled", [0, 8])
def test_without_vat_there_is_no_unlabeled_batch(
    make_store: MakeStore, changes: dict[str, Any], unlabeled: int
) -> None:
    assert set(next(iter(finetuning(make_store(unlabeled), **changes).train_dataloader()))) == {"labeled"}


def test_entropy_needs_unlabeled_batches(make_store: MakeStore) -> None:
    changes: dict[str, Any] = {"method": "none", "entropy_weight": 1.0}
    assert set(next(iter(finetuning(make_store(), **changes).train_dataloader()))) == {"labeled", "unlabeled"}
    with pytest.raises(InputError, match="needs unlabeled text"):
        finetuning(make_store(unlabeled=0), **changes)


def test_training_goes_on_from_the_trainers_step(make_store: MakeStore) -> None:
    data, resumed = finetuning(make_store()), finetuning(make_store())
    place(resumed, step=5)
    from_start = list(islice(data.train_dataloader(), 9))
    for one, other in zip(from_start[5:], islice(resumed.train_dataloader(), 4), strict=True):
        for name in ("labeled", "unlabeled"):
            assert all(torch.equal(x, y) for x, y in zip(one[name], other[name], strict=True))


def test_ranks_share_a_step(make_store: MakeStore) -> None:
    data = finetuning(make_store())
    whole = next(iter(data.train_dataloader()))
    parts = []
    for rank in (0, 1):
        place(data, 0, rank, world_size=2)
        parts.append(next(iter(data.train_dataloader())))
    for name in ("labeled", "unlabeled"):
        assert contents([part[name] for part in parts]) == contents([whole[name]])


def test_the_size_of_a_step_is_known_to_all_ranks(make_store: MakeStore) -> None:
    data = finetuning(make_store())
    for step, pair in enumerate(islice(data.train_dataloader(), 5)):
        for name, size in data.global_batch(step).items():
            assert size[:2] == pair[name].tokens.shape
            assert size.tokens == int(pair[name].lengths.sum())
    assert set(data.global_batch(0)) == {"labeled", "unlabeled"}
    assert set(finetuning(make_store(), method="none").global_batch(0)) == {"labeled"}


def test_ranks_without_work_are_refused(make_store: MakeStore) -> None:
    data = finetuning(make_store(), unlabeled_batch_size=100)  # 4 and 8 documents in a step, 4 in validation
    place(data, 0, world_size=4)
    data.train_dataloader()
    data.val_dataloader()
    place(data, 0, world_size=5)
    with pytest.raises(InputError, match="5 processes cannot share 4 labeled documents per step"):
        data.train_dataloader()
    with pytest.raises(InputError, match="5 processes cannot share 4 validation documents"):
        data.val_dataloader()
    lanes = pretraining(make_store())
    place(lanes, 0, world_size=5)
    with pytest.raises(InputError, match=r"5 processes cannot share 4 lanes of --pretraining\.batch_size"):
        lanes.train_dataloader()


@pytest.mark.parametrize("world_size", [1, 2])
def test_validation_sees_every_document_once(make_store: MakeStore, world_size: int) -> None:
    store = make_store()
    data = finetuning(store)
    batches: list[Batch] = []
    for rank in range(world_size):
        place(data, 0, rank, world_size)
        loader = data.val_dataloader()
        assert len(list(loader)) == len(loader)
        batches += loader
    assert contents(batches) == rows(store.splits["validation"])


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_batches_keep_labels_with_documents(
    make_split: Callable[..., Split], monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    monkeypatch.setattr("textadv.corpus.datamodules.EVALUATION_TOKENS", 12)
    split = make_split([3, 9, 1, 4, 30, 2, 6], [0, 1, 1, 0, 1, 0, 1])
    loaders = [evaluation_batches(split, rank, world_size) for rank in range(world_size)]
    assert [len(loader) for loader in loaders] == ([4] if world_size == 1 else [2, 2, 1])
    assert contents([batch for loader in loaders for batch in loader]) == rows(split)
    assert len(evaluation_batches(make_split([]))) == 0


def pretraining(store: TokenStore, bidirectional: bool = False, window: int = 3) -> PretrainingData:
    model = ModelSettings(bidirectional=bidirectional)
    return PretrainingData(store, model, PretrainingSettings(batch_size=4, window=window), seed=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_pretraining_reads_train_and_unlabeled_only(make_store: MakeStore, bidirectional: bool) -> None:
    store = make_store()
    data = pretraining(store, bidirectional)
    epoch = list(islice(data.train_dataloader(), data.stream.batches_per_epoch + 1))
    assert [batch.starts for batch in epoch] == [True] + [False] * (len(epoch) - 2) + [True]
    for direction in range(1 + bidirectional):
        targets = sorted(t for batch in epoch[:-1] for t in batch.targets[direction].flatten().tolist() if t)
        words = (token for name in ("train", "unlabeled") for token in store.splits[name].tokens.tolist())
        assert targets == sorted(words)


def test_pretraining_goes_on_from_the_trainers_step_on_its_own_lanes(make_store: MakeStore) -> None:
    data = pretraining(make_store())
    whole = list(islice(data.train_dataloader(), 8))
    place(data, step=6, rank=1, world_size=2)
    for one, other in zip(whole[6:], islice(data.train_dataloader(), 2), strict=True):
        assert torch.equal(one.targets[:, 1::2], other.targets)
        assert one.starts == other.starts


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_size_of_a_window_is_known_to_all_ranks(make_store: MakeStore, bidirectional: bool) -> None:
    data = pretraining(make_store(), bidirectional)
    for step, batch in enumerate(islice(data.train_dataloader(), 2 * data.stream.batches_per_epoch)):
        size = data.global_batch(step)["stream"]
        assert size[:2] == batch.tokens.shape[1:]
        assert size.tokens == int(batch.targets.count_nonzero())


def test_every_lane_has_a_token(store: TokenStore) -> None:
    """Where there are none left, a step would be made of padding, for which there may be no memory and no end."""
    tokens = sum(len(store.splits[name].tokens) for name in ("train", "unlabeled"))
    PretrainingData(store, ModelSettings(), PretrainingSettings(batch_size=tokens), 0)
    for lanes in (tokens + 1, 2**63 - 1):
        with pytest.raises(InputError, match=f"--pretraining.batch_size {lanes}: must be at most the {tokens} tokens"):
            PretrainingData(store, ModelSettings(), PretrainingSettings(batch_size=lanes), 0)


def test_ranks_share_the_validation_of_pretraining(make_store: MakeStore) -> None:
    data = pretraining(make_store())
    whole = list(data.val_dataloader())
    for rank in (0, 1, 2):
        place(data, 0, rank, world_size=3)
        for one, part in zip(whole, data.val_dataloader(), strict=True):
            assert torch.equal(one.targets[:, rank::3], part.targets)


def test_pretraining_validates_on_the_start_of_the_validation_split(make_store: MakeStore) -> None:
    store = make_store()
    loader = pretraining(store, window=2).val_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 2  # 15 tokens in 4 lanes
    targets = sorted(t for batch in batches for t in batch.targets.flatten().tolist() if t)
    assert targets == sorted(store.splits["validation"].tokens.tolist())
    store.splits["validation"] = store.splits["train"]
    assert len(pretraining(store, window=1).val_dataloader()) == min(VALIDATION_WINDOWS, 17)
