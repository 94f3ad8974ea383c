"""Palate: multimodal recommendation, from raw content to recommendations."""
