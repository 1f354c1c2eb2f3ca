"""What a classifier relies on, for every encoder alike; the files of the encoders test what is their own."""

from itertools import pairwise

import pytest
import torch
from encoders import ALL, IN_WINDOWS, TRANSFORMERS, documents, make_encoder, special_tokens
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from textadv.adversarial.divergences import cross_entropy, kl_divergence
from textadv.adversarial.gradients import gradients_of
from textadv.adversarial.virtual import closed_form_direction, logit_gradients
from textadv.models.classifier import Classifier

VOCABULARY = 50
FREQUENCIES = torch.arange(1, VOCABULARY + 1)
LENGTHS = torch.tensor([9, 3, 14, 2])
LABELS = torch.tensor([0, 2, 1, 0])

pytestmark = pytest.mark.parametrize("name", ALL)


def classifier(name: str) -> Classifier:
    encoder = make_encoder(name, FREQUENCIES)
    torch.manual_seed(2)
    return Classifier(encoder, num_classes=3, head_size=8).double().eval()


def inside(width: int) -> Tensor:
    return torch.arange(width) < LENGTHS[:, None]


def words(name: str, lengths: Tensor, width: int) -> list[list[bool]]:
    """Which places are neither special tokens nor padding."""
    first = 0 if special_tokens(name).first is None else 1
    return [[first <= place < length - 1 for place in range(width)] for length in lengths.tolist()]


def parts(name: str, document: Tensor) -> list[Tensor]:
    """What a Transformer reads at once of a document."""
    if name != IN_WINDOWS:
        return [document]
    cuts = {9: [1, 3, 5, 8], 3: [1, 2], 14: [1, 4, 7, 10, 13], 2: [1, 1]}[len(document)]
    return [torch.cat([document[:1], document[a:b], document[-1:]]) for a, b in pairwise(cuts)]


def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """In a direction of each document's own."""
    network, tokens = classifier(name), documents(name, LENGTHS, VOCABULARY, extra=2)
    x = network.embed(tokens).detach().requires_grad_()
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def losses(x: Tensor) -> Tensor:
        return cross_entropy(network.classify(x, LENGTHS), LABELS)

    (gradient,) = gradients_of(losses(x), [x])
    step, tolerance = (1e-3, 1e-3) if name == "modernbert" else (1e-5, 1e-6)  # it rotates in float32
    with torch.no_grad():
        slopes = (losses(x + step * direction) - losses(x - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum((1, 2)), slopes, rtol=tolerance, atol=tolerance)
    assert (slopes.abs() > 10 * tolerance).all()
    assert (gradient[~inside(tokens.shape[1])] == 0).all()


def test_a_padded_batch_equals_one_document_at_a_time(name: str) -> None:
    """Logits and all gradients, whatever stands behind a document."""
    network, tokens = classifier(name), documents(name, LENGTHS, VOCABULARY, extra=6)
    x = network.embed(tokens).detach()
    x[~inside(tokens.shape[1])] = torch.nan if name in TRANSFORMERS else 1000.0
    x.requires_grad_()
    batch = network.classify(x, LENGTHS)
    single = torch.cat([network.classify(x[i, None, :n], LENGTHS[i : i + 1]) for i, n in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(batch, single)
    embedding = {id(parameter) for parameter in network.encoder.embedding_parameters()}
    inputs = [x, *(parameter for parameter in network.parameters() if id(parameter) not in embedding)]
    gradients = [torch.autograd.grad(cross_entropy(logits, LABELS).sum(), inputs) for logits in (batch, single)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_only_words_may_be_perturbed(name: str) -> None:
    tokens = documents(name, LENGTHS, VOCABULARY, extra=2)
    mask = make_encoder(name, FREQUENCIES).perturbation_mask(tokens, LENGTHS)
    assert mask.tolist() == words(name, LENGTHS, tokens.shape[1])


def test_the_closed_form_is_the_top_eigenvector_of_the_exact_hessian(name: str) -> None:
    network, lengths = classifier(name), torch.tensor([6 if name == IN_WINDOWS else 4])
    tokens = documents(name, lengths, VOCABULARY)
    x = network.embed(tokens).detach().requires_grad_()
    mask = network.encoder.perturbation_mask(tokens, lengths)
    logits = network.classify(x, lengths)
    closed = closed_form_direction(logits, logit_gradients(logits, x), mask)
    clean, x = logits.detach(), x.detach()

    def divergence(r: Tensor) -> Tensor:
        perturbed = x.masked_scatter(mask[..., None], x[mask] + r.view(-1, x.shape[2]))
        return kl_divergence(clean, network.classify(perturbed, lengths)).sum()

    start = torch.zeros(int(mask.sum()) * x.shape[2], dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
        hessian = torch.autograd.functional.hessian(divergence, start)
    eigenvalues, eigenvectors = torch.linalg.eigh(hessian)
    assert eigenvalues[-1] > 1e-8
    torch.testing.assert_close((closed[mask].flatten() @ eigenvectors[:, -1]).abs(), torch.ones(()).double())


@torch.no_grad()
def test_without_a_perturbation_the_logits_are_those_of_the_texts(name: str) -> None:
    """Those of a Transformer come from what the library's own model makes of the token ids, document by document."""
    network, tokens = classifier(name), documents(name, LENGTHS, VOCABULARY, extra=2)
    if name in TRANSFORMERS:
        from tiny_transformers import tiny

        model = tiny(name.partition(", ")[0]).double()

        def outputs(document: Tensor) -> Tensor:
            return torch.cat([model(input_ids=part[None])[0][0] for part in parts(name, document)])

        rows = zip(tokens, LENGTHS.tolist(), strict=True)
        expected = network.head(torch.stack([outputs(document[:length]).mean(0) for document, length in rows]))
    else:
        expected = network(tokens, LENGTHS)
    assert (expected - expected.roll(1, 0)).abs().min() > 1e-5  # documents differ in them
    for logits in (network(tokens, LENGTHS), network.classify(network.embed(tokens), LENGTHS)):
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_the_table_of_words_holds_what_is_embedded(name: str) -> None:
    encoder, tokens = make_encoder(name, FREQUENCIES).double().eval(), documents(name, LENGTHS, VOCABULARY)
    table = encoder.word_table()
    assert table.shape == (VOCABULARY, encoder.embedding_size)
    torch.testing.assert_close(F.embedding(tokens, table), encoder.embed(tokens))
    special = special_tokens(name)
    ids = {special.padding, special.last, *(() if special.first is None else (special.first,))}
    assert ids <= set(encoder.is_special.nonzero().flatten().tolist())


def test_the_parameters_of_the_embedding_do_not_lie_behind_it(name: str) -> None:
    network, tokens = classifier(name), documents(name, LENGTHS, VOCABULARY)
    parameters = network.encoder.embedding_parameters()
    assert parameters
    loss = cross_entropy(network.classify(network.embed(tokens).detach(), LENGTHS), LABELS).sum()
    assert set(torch.autograd.grad(loss, parameters, allow_unused=True)) == {None}
    loss = cross_entropy(network.classify(network.embed(tokens), LENGTHS), LABELS).sum()
    assert all((gradient != 0).any() for gradient in torch.autograd.grad(loss, parameters))
