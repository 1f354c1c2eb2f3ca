"""Checkpoints that carry all it takes to use them: weights, settings, tokenizer, class names."""

from textadv.checkpoints.card import CARD as CARD
from textadv.checkpoints.card import FORMAT as FORMAT
from textadv.checkpoints.card import model_card as model_card
from textadv.checkpoints.card import trained_with as trained_with
from textadv.checkpoints.files import BEST as BEST
from textadv.checkpoints.files import LAST as LAST
from textadv.checkpoints.files import PREVIOUS as PREVIOUS
from textadv.checkpoints.files import load_file as load_file
from textadv.checkpoints.files import read_checkpoint as read_checkpoint
from textadv.checkpoints.files import resolve_checkpoint as resolve_checkpoint
from textadv.checkpoints.files import write_checkpoint as write_checkpoint
from textadv.checkpoints.model_folder import WEIGHTS as WEIGHTS
from textadv.checkpoints.model_folder import remove_weights as remove_weights
from textadv.checkpoints.networks import LoadedClassifier as LoadedClassifier
from textadv.checkpoints.networks import load_classifier as load_classifier
from textadv.checkpoints.networks import load_encoder as load_encoder
from textadv.checkpoints.networks import network_weights as network_weights
from textadv.checkpoints.networks import save_classifier as save_classifier
from textadv.checkpoints.resuming import changed_settings as changed_settings
from textadv.checkpoints.resuming import newest_intact as newest_intact
from textadv.checkpoints.resuming import require_same_run as require_same_run
