"""Zero-shot evaluation of encoders: `python -m weam_ext.transfer`; so far sentence retrieval.

Its records go to `results.jsonl`, which `weam_ext.report` makes tables of.
"""

from weam_ext.transfer.results import RetrievalResult, read_results

__all__ = ["RetrievalResult", "read_results"]
