"""The recording: an MCAP file, written and read back."""
