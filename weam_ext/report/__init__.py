"""Tables, figures, intervals and verdicts from predictions: `python -m weam_ext.report DIR`."""
