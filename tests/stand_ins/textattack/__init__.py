"""As much of TextAttack as `examples/text_attack.py` uses, of the same signatures, for where it is not installed."""

from typing import Any, NamedTuple

import torch


class AttackArgs:
    def __init__(self, num_examples: int = 10, random_seed: int = 765, disable_stdout: bool = False) -> None:
        self.num_examples, self.random_seed = num_examples, random_seed


class Result(NamedTuple):
    original: str
    perturbed: str

    def perturbed_text(self) -> str:
        return self.perturbed


class Attack:
    """Deletes the last letter of one word after another for as long as that lowers the probability of the label."""

    def __init__(self, model_wrapper: Any) -> None:
        self.model_wrapper = model_wrapper

    def scores(self, texts: list[str]) -> torch.Tensor:
        """What a goal function of classification makes of outputs."""
        scores = torch.tensor(self.model_wrapper(texts))
        assert scores.ndim == 2
        assert len(scores) == len(texts)
        assert bool(((scores.sum(dim=1) - 1).abs() < 1e-6).all())
        return scores

    def attack(self, text: str, label: int) -> Result:
        words = text.split()
        gradient = self.model_wrapper.get_grad(text)
        assert len(gradient["gradient"]) == len(gradient["ids"]) == len(self.model_wrapper.tokenize([text])[0])
        for place in range(len(words)):
            changed = [*words[:place], words[place][:-1], *words[place + 1 :]]
            before, after = self.scores([" ".join(words), " ".join(changed)])[:, label].tolist()
            words = changed if after < before else words
        return Result(text, " ".join(words))


class Attacker:
    def __init__(self, attack: Attack, dataset: Any, attack_args: AttackArgs) -> None:
        self.attack, self.dataset, self.arguments = attack, dataset, attack_args

    def attack_dataset(self) -> list[Result]:
        pairs = self.dataset.pairs[: self.arguments.num_examples]
        return [self.attack.attack(text, label) for text, label in pairs]
