"""The mathematics of adversarial and virtual adversarial training: plain functions over tensors."""
