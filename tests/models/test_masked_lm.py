from typing import Any

import pytest
import torch
from torch import Tensor

from textadv.draws import RowGenerator
from textadv.models.masked_lm import MaskedLanguageModel, continues_word, mask_words
from textadv.models.transformer import TransformerEncoder
from textadv.training.rates import parameter_groups

MASK = 4
REPLACEMENTS = torch.arange(40, 50)
CONTINUES = torch.zeros(50, dtype=torch.bool)
CONTINUES[20:40] = True


def masked(tokens: Tensor, may_change: Tensor, share: float = 0.15, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return mask_words(tokens, may_change, CONTINUES, MASK, REPLACEMENTS, share, generator)


def test_pieces_that_go_on_with_a_word() -> None:
    assert continues_word(["[CLS]", "un", "##believ", "##able", "."]) == [False, False, True, True, False]
    assert continues_word(["Ġun", "believ", "able", "Ġso"]) == [False, True, True, False]
    assert continues_word(["▁un", "believ", "able", "▁so"]) == [False, True, True, False]


def test_words_are_masked_as_a_whole() -> None:
    #                      [CLS]     word        word    special goes on, so a word of its own; goes on, at a special
    tokens = torch.tensor([[2, 5, 20, 21, 6, 22, 3, 23, 24, 7, 3, 1]]).expand(4000, -1)
    may_change = (tokens > 4) & (tokens != 3)
    words = [[1, 2, 3], [4, 5], [7, 8], [9]]
    inputs, chosen = masked(tokens, may_change)
    for word in words:
        assert (chosen[:, word] == chosen[:, word[:1]]).all()
        assert chosen[:, word[0]].float().mean().item() == pytest.approx(0.15, abs=0.02)
    both = (chosen[:, 1] & chosen[:, 4]).float().mean().item()
    assert both == pytest.approx(0.15**2, abs=0.01)  # each by itself
    assert not chosen[~may_change].any()
    assert torch.equal(inputs[~chosen], tokens[~chosen])


def test_of_what_is_chosen_eight_in_ten_are_hidden() -> None:
    tokens = torch.full((200, 100), 5)
    inputs, chosen = masked(tokens, torch.ones_like(tokens, dtype=torch.bool), share=0.5)
    read = inputs[chosen]
    shares = [(read == MASK).float().mean(), (read == 5).float().mean(), (read >= 40).float().mean()]
    assert [share.item() for share in shares] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert set(read[read >= 40].tolist()) == set(REPLACEMENTS.tolist())


def test_masks_come_from_the_generator_alone() -> None:
    tokens = torch.full((20, 30), 5)
    may_change = torch.ones_like(tokens, dtype=torch.bool)
    state = torch.get_rng_state()
    first, again, other = masked(tokens, may_change), masked(tokens, may_change), masked(tokens, may_change, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], other[1])


def test_the_rows_of_one_of_several_processes_have_the_masks_of_all_together() -> None:
    tokens = torch.full((5, 30), 5)
    may_change = torch.ones_like(tokens, dtype=torch.bool)
    together = masked(tokens, may_change)
    for rank in range(2):
        mine, width = slice(rank, None, 2), 20 + 10 * rank  # its own padding
        rows = RowGenerator(torch.Generator().manual_seed(0), 5, 30, mine)
        part = tokens[mine, :width]
        found = mask_words(part, may_change[mine, :width], CONTINUES, MASK, REPLACEMENTS, generator=rows)
        assert all(torch.equal(a, b[mine, :width]) for a, b in zip(found, together, strict=True))


@pytest.fixture
def whole(architecture: str) -> Any:
    pytest.importorskip("transformers", reason="the extra textadv[transformers] is not installed")
    from tiny_transformers import tiny_config
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(3)
    return AutoModelForMaskedLM.from_config(tiny_config(architecture)).eval()


@pytest.mark.parametrize(
    "architecture",
    ["bert", "distilbert", "roberta", "electra", "deberta-v2", "modernbert", "xlm-roberta", "mpnet", "albert"],
)
class TestMaskedLanguageModel:
    def test_its_logits_are_those_of_transformers(self, whole: Any) -> None:
        tokens, lengths = torch.tensor([[2, 5, 4, 7, 3], [2, 4, 3, 1, 1]]), torch.tensor([5, 3])
        chosen = tokens == 4
        with torch.no_grad():
            expected = whole(input_ids=tokens, attention_mask=(tokens != 1).long()).logits[chosen]
            encoder = TransformerEncoder(whole.base_model, torch.ones(50), [1, 2, 3])
            model = MaskedLanguageModel(encoder, whole).eval()
            torch.testing.assert_close(model(tokens, lengths, chosen), expected, rtol=1e-5, atol=1e-5)

    def test_long_documents_are_read_in_windows(self, whole: Any) -> None:
        tokens, lengths = torch.tensor([[2, 5, 4, 7, 8, 4, 4, 3], [2, 4, 3, 1, 1, 1, 1, 1]]), torch.tensor([8, 3])
        parts = torch.tensor([[2, 5, 4, 7, 3], [2, 8, 4, 4, 3], [2, 4, 3, 1, 1]])
        with torch.no_grad():
            expected = whole(input_ids=parts, attention_mask=(parts != 1).long()).logits[parts == 4]
            encoder = TransformerEncoder(whole.base_model, torch.ones(50), [1, 2, 3], in_windows=True)
            encoder.body.config.max_position_embeddings += 5 - encoder.positions
            model = MaskedLanguageModel(encoder, whole).eval()
            torch.testing.assert_close(model(tokens, lengths, tokens == 4), expected, rtol=1e-5, atol=1e-5)

    def test_its_dropout_comes_from_the_generator_alone(self, whole: Any) -> None:
        tokens, lengths = torch.tensor([[2, 5, 4, 7, 3], [2, 4, 3, 1, 1]]), torch.tensor([5, 3])
        model = MaskedLanguageModel(TransformerEncoder(whole.base_model, torch.ones(50), [1, 2, 3]), whole)
        assert all(module.training for module in model.modules())
        state = torch.get_rng_state()
        seeds = (0, 0, 1)
        first, again, other = (
            model(tokens, lengths, tokens == 4, torch.Generator().manual_seed(seed)).detach() for seed in seeds
        )
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_an_optimizer_has_every_parameter_once(self, whole: Any) -> None:
        """Also the word table, which most heads share."""
        encoder = TransformerEncoder(whole.base_model, torch.ones(50), [1, 2, 3])
        model = MaskedLanguageModel(encoder, whole)
        groups = parameter_groups(encoder, model.head, 0.1, 0.9, 0.01)
        trained = [id(parameter) for group in groups for parameter in group["params"]]
        assert sorted(trained) == sorted(id(parameter) for parameter in model.parameters())

    def test_it_learns(self, whole: Any) -> None:
        encoder = TransformerEncoder(whole.base_model, torch.ones(50), [1, 2, 3])
        model = MaskedLanguageModel(encoder, whole)
        names = [name for name, _ in model.named_parameters()]
        assert sum(name.startswith("encoder.") for name in names) == len(list(encoder.parameters()))
        tokens, lengths = torch.tensor([[2, 5, 9, 7, 3], [2, 8, 6, 3, 1]]), torch.tensor([5, 4])
        chosen = (tokens == 9) | (tokens == 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        losses = []
        for _ in range(30):
            logits = model(tokens.masked_fill(chosen, 4), lengths, chosen)
            loss = torch.nn.functional.cross_entropy(logits, tokens[chosen])
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
            optimizer.step()
        assert losses[-1] < losses[0] / 3
