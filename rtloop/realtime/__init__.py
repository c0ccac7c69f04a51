"""Linux set-up: what a loop's threads ask for, what they were granted, and how to get the rest."""
