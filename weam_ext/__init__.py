"""Word-exchange aligning pre-training (WEAM): from parallel text to a better encoder."""

from weam_ext.common.errors import InputError

__all__ = ["InputError"]
