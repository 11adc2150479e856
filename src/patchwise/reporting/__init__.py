"""One page of HTML from what a run has written. Nothing is computed here."""
