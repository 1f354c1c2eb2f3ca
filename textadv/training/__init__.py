"""Pretraining and fine-tuning as Lightning modules."""
