"""Pure codecs that dialects share.  No I/O, no time."""
