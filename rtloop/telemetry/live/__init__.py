"""Running loops as others follow them: found on this host, watched miss by miss."""
