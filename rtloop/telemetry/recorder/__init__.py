"""The recorder: a process beside the loops, how it is started, and recovery after a crash."""
