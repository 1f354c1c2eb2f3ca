"""Semi-supervised text classification by adversarial and virtual adversarial training."""

__version__ = "0.1.0"
