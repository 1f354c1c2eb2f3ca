import pytest
import torch

from textadv.models.classifier import Activation, Classifier
from textadv.models.layers import LAYERS, POOLINGS
from textadv.models.recurrent import RecurrentEncoder

LENGTHS = torch.tensor([7, 1, 12, 3])
PAD, EOS = 0, 2


def make_classifier(bidirectional: bool, pooling: str, window: int = 400, kind: str = "lstm") -> Classifier:
    torch.manual_seed(1)
    encoder = RecurrentEncoder(
        torch.arange(1, 31), 4, 6, bidirectional, LAYERS[kind], POOLINGS[pooling], window, dropout=0.5
    )
    return Classifier(encoder, num_classes=3, head_size=5).double().eval()


def make_tokens() -> torch.Tensor:
    torch.manual_seed(2)
    tokens = torch.randint(3, 30, (len(LENGTHS), int(LENGTHS.max())))
    tokens[torch.arange(len(LENGTHS)), LENGTHS - 1] = EOS
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= LENGTHS[:, None], PAD)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("window", [4, 400])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padded_batch_equals_one_document_at_a_time(pooling: str, bidirectional: bool, window: int, kind: str) -> None:
    classifier, tokens = make_classifier(bidirectional, pooling, window, kind), make_tokens()
    parameters = list(classifier.parameters())
    batch = classifier(tokens, LENGTHS)
    single = torch.cat(
        [classifier(tokens[i : i + 1, :length], LENGTHS[i : i + 1]) for i, length in enumerate(LENGTHS.tolist())]
    )
    assert batch.shape == (4, 3)
    torch.testing.assert_close(batch, single)
    weights = torch.randn_like(batch)
    gradients = torch.autograd.grad((batch * weights).sum(), parameters)
    for one, other in zip(gradients, torch.autograd.grad((single * weights).sum(), parameters), strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other)


def test_padding_tokens_and_the_width_do_not_matter() -> None:
    classifier, tokens = make_classifier(True, "last_mean_max"), make_tokens()
    behind = torch.arange(15) >= LENGTHS[:, None]
    wider = torch.nn.functional.pad(tokens, (0, 3)).masked_fill(behind, 17)
    torch.testing.assert_close(classifier(wider, LENGTHS), classifier(tokens, LENGTHS))


def test_classify_of_embed_is_the_forward_pass_and_deterministic() -> None:
    classifier, tokens = make_classifier(False, "last").train(), make_tokens()
    embeddings = classifier.embed(tokens)
    assert not torch.equal(classifier.embed(tokens), embeddings)  # dropout is drawn in embed ...
    logits = classifier.classify(embeddings, LENGTHS)
    assert torch.equal(classifier.classify(embeddings, LENGTHS), logits)  # ... and nowhere else
    classifier.eval()
    assert torch.equal(classifier.classify(classifier.embed(tokens), LENGTHS), classifier(tokens, LENGTHS))


def test_a_perturbation_changes_only_its_own_document() -> None:
    classifier, tokens = make_classifier(True, "last_mean_max"), make_tokens()
    embeddings = classifier.embed(tokens)
    perturbed = embeddings.clone()
    perturbed[2, 3] += 1.0
    changed = (classifier.classify(perturbed, LENGTHS) - classifier.classify(embeddings, LENGTHS)).abs().sum(1)
    assert changed[2] > 1e-6
    assert (changed[[0, 1, 3]] < 1e-12).all()


@pytest.mark.parametrize(("activation", "alive"), [("gelu", True), ("relu", False)])
def test_a_head_whose_units_are_all_inactive_still_has_a_gradient(activation: Activation, alive: bool) -> None:
    """Without one there is no direction to perturb in, and virtual adversarial training calls that smooth."""
    torch.manual_seed(1)
    encoder = RecurrentEncoder(torch.arange(1, 31), 4, 6, pooling=POOLINGS["last_mean_max"])
    classifier = Classifier(encoder, 2, 5, activation)
    torch.nn.init.constant_(classifier.head[0].bias, -5.0)
    embeddings = classifier.embed(make_tokens()).detach().requires_grad_()
    logits = classifier.classify(embeddings, LENGTHS)
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), embeddings)
    assert (gradient.flatten(1).abs().amax(1) > 0).tolist() == [alive] * len(LENGTHS)
