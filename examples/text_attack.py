"""A recipe of TextAttack against a classifier of textadv: pip install textattack."""

from textattack import AttackArgs, Attacker
from textattack.attack_recipes import DeepWordBugGao2018
from textattack.datasets import Dataset

import textadv

WORDS = {"praise": ("fine", "lovely", "superb", "great"), "blame": ("dull", "awful", "poor", "weak")}
NOUNS = ("plot", "cast", "score", "ending", "scene", "camera")
reviews = [
    (f"the {noun} was {word} and so was the {other}", label)
    for noun in NOUNS
    for other in NOUNS
    for label, words in WORDS.items()
    for word in words
]
texts, labels = zip(*reviews, strict=True)

classifier = textadv.TextClassifier(
    method="adversarial",
    epsilon=1.0,
    pretrained="none",
    embedding_size=16,
    hidden_size=16,
    pooling="mean",
    steps=60,
    batch_size=16,
    learning_rate=0.02,
    validate_every=20,
    trainer_accelerator="cpu",
)
classifier.fit(texts, labels)

predictor = textadv.Predictor(classifier.loaded_)  # of a checkpoint: textadv.Predictor.load("runs/mine")
model = textadv.TextAttackModel(predictor)
dataset = Dataset([(text, predictor.classes.index(label)) for text, label in reviews[::20]])
attack = DeepWordBugGao2018.build(model)
attacker = Attacker(attack, dataset, AttackArgs(num_examples=len(reviews[::20]), disable_stdout=True))
changed = [result.perturbed_text() for result in attacker.attack_dataset()]

truth = [label for _, label in reviews[::20]]
print("accuracy:", classifier.score([text for text, _ in reviews[::20]], truth))
print("accuracy under attack:", classifier.score(changed, truth))
print(changed[0])
