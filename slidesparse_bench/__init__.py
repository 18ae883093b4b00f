"""SlideSparse Bench: how fast is this model on this GPU, and if it does not run, why exactly?"""

__version__ = "0.1.0"
