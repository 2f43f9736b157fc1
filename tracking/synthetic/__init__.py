"""Synthetic scenes for the demonstration, the tests and the comparison of exported models."""
