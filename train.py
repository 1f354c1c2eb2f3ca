"""Train and evaluate: `python train.py --help`."""

from textadv.cli import main

if __name__ == "__main__":
    main()
