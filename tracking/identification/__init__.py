"""From the observations of a track to an identity: evidence, decision, backfill, explanation."""
