"""Models of a policy in fewer bits: what that changes in what it answers, and in its time."""
