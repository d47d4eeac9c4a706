"""One file a question; each prints one JSON line. See NOTES.md for what was measured."""
