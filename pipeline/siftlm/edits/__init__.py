"""Finds what to replace in texts: one method a file, whose replacements a step stores and readers of texts apply."""

from siftlm.edits.protocol import EditSettings as EditSettings
from siftlm.edits.settings import AnyEdit as AnyEdit
from siftlm.edits.spans import edit_schema as edit_schema
from siftlm.edits.spans import edited_columns as edited_columns
from siftlm.edits.spans import replaced as replaced
from siftlm.edits.spans import span_columns as span_columns
