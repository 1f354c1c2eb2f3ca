"""Metrics and prediction: plain functions outside the Trainer."""
