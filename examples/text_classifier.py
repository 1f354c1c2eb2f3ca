"""A text classifier from a handful of labels: fit, predict, save, load, with sizes that train in seconds."""

from textadv import TextClassifier

WORDS = {"praise": ("fine", "lovely", "superb", "great"), "blame": ("dull", "awful", "poor", "weak")}
NOUNS = ("plot", "cast", "score", "ending", "scene", "camera")


def reviews(label: str) -> list[str]:
    """All texts of a label."""
    return [f"the {one} was {word} and so was the {other}" for one in NOUNS for other in NOUNS for word in WORDS[label]]


everything = [(text, label) for label in WORDS for text in reviews(label)]
texts, labels = zip(*everything[::7], strict=True)  # every seventh text has a label
raw, truth = zip(*(pair for pair in everything if pair[0] not in texts), strict=True)

classifier = TextClassifier(
    method="adversarial+vat",
    epsilon=1.0,  # size of the perturbations
    embedding_size=16,
    hidden_size=16,
    pooling="mean",
    steps=40,
    batch_size=16,
    learning_rate=0.02,
    dropout=0.1,
    ema_decay=0.0,
    validate_every=20,
    pretraining_steps=20,  # of the language model, --pretraining.steps
    pretraining_batch_size=8,
    pretraining_window=10,
    pretraining_candidates=20,
    pretraining_validate_every=20,
    trainer_accelerator="cpu",
)
classifier.fit(texts, labels, unlabeled=raw)
print("validation error:", classifier.metrics_["validation_error"])
print("accuracy on the texts without labels:", classifier.score(raw, truth))

classifier.save_pretrained("classifier")
loaded = TextClassifier.from_pretrained("classifier")
print(loaded.classes_, loaded.predict_proba(["the music was superb"]))
print(loaded.predict(["the music was superb", "the acting was awful"]))
