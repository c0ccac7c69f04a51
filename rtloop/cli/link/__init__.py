"""``rtloop link``: one device by hand, one file a command."""
