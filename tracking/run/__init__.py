"""The stages of a tracking run, in the order in which `tracking.pipeline` uses them."""
