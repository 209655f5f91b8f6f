"""The chunked loss is the loss, its gradients are the gradients, and the logits never exist."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge.tokens.reader import IGNORED
from lorebridge.train import loss
from lorebridge.train.loss import chunked_cross_entropy, positions_at_once


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 45), st.booleans(), st.integers(0, 2**31))
def test_chunked_cross_entropy_is_cross_entropy(n, chunk, with_ignored, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 6, generator=generator, dtype=torch.float64).float().requires_grad_()
    weight = torch.randn(11, 6, generator=generator).requires_grad_()
    targets = torch.randint(11, (n,), generator=generator)
    if with_ignored:
        targets[torch.rand(n, generator=generator) < 0.4] = IGNORED
    ours = chunked_cross_entropy(hidden, weight, targets, chunk)
    our_gradients = torch.autograd.grad(ours * 0.37, (hidden, weight))
    theirs = F.cross_entropy(hidden @ weight.T, targets, ignore_index=IGNORED, reduction="sum")
    their_gradients = torch.autograd.grad(theirs * 0.37, (hidden, weight))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(our_gradients, their_gradients, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("in_cache", [40, 2**20])
def test_a_batch_of_padding_alone_costs_nothing(monkeypatch, in_cache):
    """A filter may leave the rows of a micro-batch empty."""
    monkeypatch.setattr(loss, "IN_CACHE", in_cache)
    hidden, weight = torch.randn(23, 6, requires_grad=True), torch.randn(11, 6, requires_grad=True)
    summed = chunked_cross_entropy(hidden, weight, torch.full((23,), IGNORED), 10)
    assert summed.item() == 0
    assert all(not gradient.any() for gradient in torch.autograd.grad(summed, (hidden, weight)))


def test_chunked_cross_entropy_under_autocast_is_close_and_finite():
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(64, 32, generator=generator) * 30).requires_grad_()
    weight = torch.randn(100, 32, generator=generator).requires_grad_()
    targets = torch.randint(100, (64,), generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        low = chunked_cross_entropy(hidden, weight, targets, 16)
    low.backward()
    exact = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    assert low.dtype == torch.float32 and hidden.grad.dtype == torch.float32
    assert low.item() == pytest.approx(exact.item(), rel=0.01)


def test_full_logits_never_exist():
    sizes = []
    hidden, weight = torch.randn(64, 8, requires_grad=True), torch.randn(1000, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        chunked_cross_entropy(hidden, weight, torch.randint(1000, (64,)), 4).backward()
    assert max(sizes) < 64 * 1000


@pytest.mark.parametrize("in_cache", [1, 40, 2**20])
def test_pieces_that_fit_a_cache_change_nothing(monkeypatch, in_cache):
    monkeypatch.setattr(loss, "IN_CACHE", in_cache)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(23, 6, generator=generator, requires_grad=True)
    weight = torch.randn(11, 6, generator=generator, requires_grad=True)
    targets = torch.randint(11, (23,), generator=generator)
    ours = chunked_cross_entropy(hidden, weight, targets, 10)
    theirs = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours, (hidden, weight)), torch.autograd.grad(theirs, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_equals_the_loss_of_full_logits_at_a_real_vocabulary():
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(48, 64, generator=generator, requires_grad=True)
    weight = torch.randn(151_936, 64, generator=generator).mul_(0.05).requires_grad_()
    targets = torch.randint(151_936, (48,), generator=generator)
    targets[5:9] = IGNORED
    ours = chunked_cross_entropy(hidden, weight, targets, 20)
    theirs = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    for a, b in zip(
        torch.autograd.grad(ours, (hidden, weight)), torch.autograd.grad(theirs, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_loss_that_was_only_looked_at_stands_in_no_ones_way():
    """The buffer of the logits is kept from call to call, in inference mode, too."""
    hidden, weight, targets = torch.randn(8, 4), torch.randn(9, 4), torch.randint(9, (8,))
    with torch.inference_mode():
        seen = chunked_cross_entropy(hidden, weight, targets, 5)
    total = chunked_cross_entropy(hidden.requires_grad_(), weight.requires_grad_(), targets, 5)
    total.backward()
    assert torch.equal(seen, total.detach()) and hidden.grad is not None


def test_a_certain_or_hopeless_prediction_has_a_finite_loss_and_gradient():
    weight = torch.eye(3).requires_grad_()
    hidden = torch.tensor([[300.0, 0, 0], [0, 300.0, 0]], requires_grad=True)
    total = chunked_cross_entropy(hidden, weight, torch.tensor([0, 0]), 2)
    total.backward()
    assert total.item() == 300
    assert hidden.grad.tolist() == [[0, 0, 0], [-1, 1, 0]]


def test_chunks_are_alike_and_depend_on_no_batch():
    assert positions_at_once(1024, 151_936, "cpu") == 342
    assert positions_at_once(2048, 4096, "cpu") == 2048
    assert positions_at_once(32_768, 151_936, "cuda") == 6554
